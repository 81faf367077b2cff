# SPDX-License-Identifier: Apache-2.0
"""Restarted at once, again and again: as in the layer host, at level kprobe and beside this systemd."""

import pytest

from tests.host.service.daemon import Unit
from tests.host.service.watched import Watched
from tests.support import live


@pytest.mark.parametrize("restarts", [*(pytest.param(few, marks=pytest.mark.only_in_full) for few in (2, 3)), 10])
def test_restarted_at_once_again_and_again_it_tells_each_kill_once(here: live.Moment, restarts: int) -> None:
    assert live.level() == "kprobe"
    watched = Watched(Unit(), here)
    watched.kill_many()
    for _ in range(restarts):
        watched.restart()
        watched.kill_one()
    watched.check()
