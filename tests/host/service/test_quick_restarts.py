# SPDX-License-Identifier: Apache-2.0
"""However quickly it is restarted, each kill has one entry, and no counter ever falls."""

import pytest

from tests.host.service.watched import Watched


@pytest.mark.parametrize("restarts", [2, 3, 10])
def test_after_quick_restarts_each_kill_has_one_entry(watched: Watched, restarts: int) -> None:
    watched.kill_many()
    for restart in range(restarts):
        watched.restart()
        if restarts == 3:
            watched.kill_one()
        if restart == 7:
            watched.kill_many()
    watched.check()
