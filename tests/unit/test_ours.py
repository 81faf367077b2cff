# SPDX-License-Identifier: Apache-2.0
"""Which entries of uid 0 this service sent."""

import pytest

from oomkilld.host.ours import Ours, unit_in

CONTAINER = "/system.slice/docker-" + "a" * 64 + ".scope"


@pytest.mark.parametrize(
    ("own", "unit", "cgroup", "sent"),
    [
        ("oomkilld.service", "oomkilld.service", "/system.slice/oomkilld.service", True),
        ("oomkilld.service", "docker-1.scope", CONTAINER, False),
        ("oomkilld.service", "session-3.scope", "/user.slice/user-0.slice/session-3.scope", False),
        ("oomkilld.service", "xoomkilld.service", None, False),
        # The sender had ended; or journald knew it, in a container whose runtime makes no units.
        ("oomkilld.service", None, None, True),
        ("oomkilld.service", None, "/docker/" + "a" * 64, False),
        # packaging/try, before or after this service.
        ("oomkilld.service", "oomkilld-try-42.service", "/system.slice/oomkilld-try-42.service", True),
        ("oomkilld-try-42.service", "oomkilld.service", None, True),
        ("oomkilld-try-42.service", "oomkilld-try-42.service", None, True),
        ("oomkilld.service", "oomkilld-try-42.scope", None, False),
        # Started by hand, in a session and without systemd.
        ("session-3.scope", "session-3.scope", None, True),
        ("session-3.scope", "session-4.scope", None, False),
        (None, None, "/anything", True),
        (None, None, None, True),
        (None, "docker.service", None, False),
    ],
)
def test_entries_of_another_unit_are_not_ours(
    own: str | None, unit: str | None, cgroup: str | None, sent: bool
) -> None:
    assert Ours(own).sent(unit, cgroup) is sent


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        (b"0::/system.slice/oomkilld.service\n", "oomkilld.service"),
        (b"9:memory:/x\n1:name=systemd:/system.slice/oomkilld.service\n0::/y.service\n", "oomkilld.service"),
        (b"0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
        (b"0::/\n", None),
        (b"4:memory:/a:b.service\n", None),
        (b"", None),
    ],
)
def test_the_unit_comes_from_systemds_hierarchy(cgroups: bytes, unit: str | None) -> None:
    assert unit_in(cgroups) == unit
