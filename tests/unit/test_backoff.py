# SPDX-License-Identifier: Apache-2.0
"""When it is tried again to send what journald did not take."""

from oomkilld.record.backoff import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, BackOff
from oomkilld.record.sink import JournalBusy, JournalRefused

SECOND = 10**9


def test_one_that_takes_nothing_is_tried_less_and_less_often() -> None:
    back_off, now_ns = BackOff(), 0
    waited = []
    for _ in range(10):
        back_off.refused(JournalRefused("gone"), now_ns)
        waited.append((back_off.retry_ns - now_ns) / SECOND)
        now_ns = back_off.retry_ns
    assert waited[:3] == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
    assert waited[-1] == LAST_RETRY_SECONDS
    # A service that starts with a full queue has its turn some times in the first second.
    assert sum(waited[:4]) < 1
    assert back_off.taken(now_ns) == now_ns / SECOND


def test_what_was_not_waited_for_is_tried_again_in_the_next_turn() -> None:
    back_off = BackOff()
    back_off.refused(JournalBusy("full"), SECOND)
    assert (back_off.reason, back_off.retry_ns) == ("full", 0)
    back_off.refused(JournalRefused("full"), 2 * SECOND)
    assert back_off.retry_ns == 2 * SECOND + int(FIRST_RETRY_SECONDS * SECOND)


def test_after_progress_it_begins_anew() -> None:
    back_off = BackOff()
    for _ in range(5):
        back_off.refused(JournalRefused("full"), 0)
    assert back_off.taken(3 * SECOND) == 3
    assert (back_off.reason, back_off.retry_ns) == (None, 0)
    back_off.refused(JournalRefused("full"), 4 * SECOND)
    assert back_off.retry_ns == 4 * SECOND + int(FIRST_RETRY_SECONDS * SECOND)
