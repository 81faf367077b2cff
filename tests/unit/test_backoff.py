# SPDX-License-Identifier: Apache-2.0
"""When it is tried again to send what journald did not take."""

from itertools import pairwise

from oomkilld.record.backoff import FIRST_RETRY_NS, LAST_RETRY_NS, BackOff
from oomkilld.record.sink import JournalBusy, JournalRefused

SECOND = 10**9


def test_one_that_takes_nothing_is_tried_less_and_less_often() -> None:
    back_off, now_ns = BackOff(), SECOND
    tried = []
    while now_ns < 61 * SECOND:
        back_off.refused(JournalRefused("gone"), now_ns)
        now_ns = back_off.retry_ns
        tried.append(now_ns - SECOND)
    # Others flood it: there are many turns before an entry is late. It hangs: there are few.
    assert sum(after_ns < SECOND for after_ns in tried) >= 20
    assert sum(after_ns >= 30 * SECOND for after_ns in tried) <= 17
    waited = [later - earlier for earlier, later in pairwise(tried)]
    assert waited == sorted(waited)
    assert (waited[0], waited[-1]) == (FIRST_RETRY_NS, LAST_RETRY_NS)
    assert back_off.taken(now_ns) == (now_ns - SECOND) / SECOND


def test_what_was_not_waited_for_is_tried_again_in_the_next_turn() -> None:
    back_off = BackOff()
    back_off.refused(JournalBusy("full"), SECOND)
    assert (back_off.reason, back_off.retry_ns) == ("full", 0)
    back_off.refused(JournalRefused("full"), SECOND + 1)
    assert back_off.retry_ns == SECOND + 1 + FIRST_RETRY_NS


def test_after_progress_it_begins_anew() -> None:
    back_off = BackOff()
    back_off.refused(JournalRefused("full"), 0)
    back_off.refused(JournalRefused("full"), 60 * SECOND)
    assert back_off.retry_ns == 60 * SECOND + LAST_RETRY_NS
    assert back_off.taken(62 * SECOND) == 62
    assert (back_off.reason, back_off.retry_ns) == (None, 0)
    back_off.refused(JournalRefused("full"), 63 * SECOND)
    assert back_off.retry_ns == 63 * SECOND + FIRST_RETRY_NS
