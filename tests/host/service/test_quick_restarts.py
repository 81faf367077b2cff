# SPDX-License-Identifier: Apache-2.0
"""However soon it is stopped and started again, each kill has one entry, and what is counted never falls."""

import pytest

from tests.host.service.watched import Watched


@pytest.mark.parametrize("restarts", [2, 3, 10])
def test_restarted_at_once_again_and_again_it_tells_each_kill_once(watched: Watched, restarts: int) -> None:
    watched.kill_many()
    for restart in range(restarts):
        watched.restart()
        if restarts == 3:
            watched.kill_one()
        if restart == 7:
            watched.kill_many()
    watched.check()
