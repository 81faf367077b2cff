# SPDX-License-Identifier: Apache-2.0
"""Quick restarts as in the layer host, at level kprobe and under this systemd."""

import pytest

from tests.host.service.daemon import Unit
from tests.host.service.watched import Watched
from tests.support import live


@pytest.mark.parametrize("restarts", [*(pytest.param(few, marks=pytest.mark.only_in_full) for few in (2, 3)), 10])
def test_after_quick_restarts_each_kill_has_one_entry(here: live.Moment, restarts: int) -> None:
    assert live.level() == "kprobe"
    watched = Watched(Unit(), here)
    watched.kill_many()
    for _ in range(restarts):
        watched.restart()
        watched.kill_one()
    watched.check()
