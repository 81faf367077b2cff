# SPDX-License-Identifier: Apache-2.0
"""When what runs before have sent is in the journal, or lost for good."""

from oomkilld.record.account.unconfirmed import EarlierRuns
from oomkilld.record.deliver.sink import STORED_AFTER_NS
from tests.unit.fakes import FakeClock, FakeJournal


def test_it_is_settled_some_time_after_all_was_read_and_stays_so() -> None:
    clock, journal = FakeClock(), FakeJournal([])
    earlier = EarlierRuns(journal, clock)
    journal.hangs = True
    assert not earlier.settled()
    clock.now_ns = 10 * STORED_AFTER_NS
    assert not earlier.settled()
    # Read it is only from now on, for all that is known.
    journal.hangs = False
    assert not earlier.settled()
    assert earlier.next_look_ns == clock.now_ns + STORED_AFTER_NS
    clock.now_ns += STORED_AFTER_NS - 1
    # What this run sends later stands behind all that.
    journal.hangs = True
    assert not earlier.settled()
    clock.now_ns += 1
    assert earlier.settled()
    clock.now_ns = 0
    assert earlier.settled()


def test_it_waits_for_nothing_that_is_sent_later() -> None:
    clock, journal = FakeClock(), FakeJournal([])
    earlier = EarlierRuns(journal, clock)
    journal.flood()
    assert not earlier.settled()
    journal.flood()
    assert not earlier.settled()
    clock.now_ns = STORED_AFTER_NS
    assert earlier.settled()
