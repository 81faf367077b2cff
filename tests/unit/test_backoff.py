# SPDX-License-Identifier: Apache-2.0
"""When the service retries after journald refused an entry."""

from itertools import pairwise

from oomkilld.record.deliver.backoff import FIRST_RETRY_NS, LAST_RETRY_NS, QUIET_NS, BackOff
from oomkilld.record.deliver.sink import JournalBusy, JournalRefused

SECOND = 10**9


def test_retries_become_rarer_while_journald_takes_nothing() -> None:
    said: list[str] = []
    back_off, now_ns = BackOff(said.append), SECOND
    tried = []
    while now_ns < 61 * SECOND:
        back_off.refused(JournalRefused("gone"), now_ns)
        now_ns = back_off.retry_ns
        tried.append(now_ns - SECOND)
    # If others flood journald, many retries come before an entry is late. If it hangs, retries are few.
    assert sum(after_ns < SECOND for after_ns in tried) >= 20
    assert sum(after_ns >= 30 * SECOND for after_ns in tried) <= 17
    waited = [later - earlier for earlier, later in pairwise(tried)]
    assert waited == sorted(waited)
    assert (waited[0], waited[-1]) == (FIRST_RETRY_NS, LAST_RETRY_NS)
    back_off.taken(now_ns)
    assert said == [
        f"journald took no entries for {(now_ns - SECOND) / SECOND:.1f} s (gone), sending waiting entries now"
    ]


def test_a_send_that_did_not_wait_is_retried_in_the_next_turn() -> None:
    back_off = BackOff(print)
    back_off.refused(JournalBusy("full"), SECOND)
    assert (back_off.reason, back_off.retry_ns) == ("full", 0)
    back_off.refused(JournalRefused("full"), SECOND + 1)
    assert back_off.retry_ns == SECOND + 1 + FIRST_RETRY_NS


def test_progress_resets_the_delay() -> None:
    back_off = BackOff(print)
    back_off.refused(JournalRefused("full"), 0)
    back_off.refused(JournalRefused("full"), 60 * SECOND)
    assert back_off.retry_ns == 60 * SECOND + LAST_RETRY_NS
    back_off.taken(62 * SECOND)
    assert (back_off.reason, back_off.retry_ns) == (None, 0)
    back_off.refused(JournalRefused("full"), 63 * SECOND)
    assert back_off.retry_ns == 63 * SECOND + FIRST_RETRY_NS


def test_repeated_refusals_are_logged_once_and_counted_at_the_end() -> None:
    said: list[str] = []
    back_off, now_ns = BackOff(said.append), 0

    def hang(ns: int) -> None:
        nonlocal now_ns
        back_off.refused(JournalRefused("full"), now_ns)
        now_ns += ns
        back_off.taken(now_ns)
        back_off.tell(now_ns)

    first = "journald took no entries for {} s (full), sending waiting entries now"
    for _ in range(7):
        hang(SECOND)
        hang(SECOND // 2)
    assert said == [first.format("1.0")]
    now_ns += QUIET_NS
    back_off.tell(now_ns)
    back_off.tell(now_ns)
    assert said[1:] == ["journald took no entries 6 more times, for 6.0 s in total, before it took them"]
    hang(2 * SECOND)
    assert said[2:] == [first.format("2.0")]
    hang(3 * SECOND)
    back_off.tell(now_ns, ended=True)
    assert said[3:] == ["journald took no entries 1 more time, for 3.0 s in total, before it took them"]
    hang(SECOND)
    now_ns += QUIET_NS
    back_off.tell(now_ns)
    assert said[4:] == [first.format("1.0")]
