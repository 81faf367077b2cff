# SPDX-License-Identifier: Apache-2.0
"""Last of this boot, for it cannot be undone: the kernel is locked down."""

from pathlib import Path

from tests.support import live
from tests.vm.guest.service import assert_refuses_to_start


def test_under_lockdown_it_says_so(here: live.Moment) -> None:
    Path("/sys/kernel/security/lockdown").write_text("confidentiality")
    assert_refuses_to_start(here, 69, "the kernel is locked down (confidentiality)")
    assert live.show("oomkilld", "UnitFileState") == "enabled"
