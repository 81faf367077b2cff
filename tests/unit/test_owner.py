# SPDX-License-Identifier: Apache-2.0
"""Who answers for a control group: one user or unit is one, whatever groups it makes."""

import pytest

from oomkilld.record.owner import owner_key

POD = "/kubepods.slice/kubepods-pod01234567_89ab_cdef_0123_456789abcdef.slice"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (None, ""),
        ("/", "/"),
        ("/user.slice/user-1001.slice/user@1001.service/app.slice/a.scope", "user-1001.slice"),
        ("/user.slice/user-1001.slice/session-3.scope/user-1002.slice", "user-1001.slice"),
        ("/system.slice/nginx.service/user.slice/user-1001.slice", "nginx.service"),
        ("/system.slice/nginx.service/a/b", "nginx.service"),
        (f"{POD}/cri-containerd-{'0' * 64}.scope", "01234567-89ab-cdef-0123-456789abcdef"),
        ("/process_api/storm-0", "/process_api"),
    ],
)
def test_the_owner(path: str | None, owner: str) -> None:
    assert owner_key(None if path is None else path.encode()) == owner.encode()
