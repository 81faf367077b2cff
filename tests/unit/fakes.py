# SPDX-License-Identifier: Apache-2.0
"""What stands for the ring, the journal and the clock in unit tests."""

from collections.abc import Sequence

from oomkilld.record.decode import KillRecord, Release
from oomkilld.record.ring import Item
from oomkilld.record.sink import Incarnation, JournalRefused


class FakeRing:
    """Records of 10 positions each; logs when it is told to free."""

    def __init__(self, events: list[str], *records: bytes | None) -> None:
        self.records = list(records)
        self.consumer_position = 0
        self.events = events

    def peek(self, position: int) -> Item | None:
        index = position // 10
        return Item(self.records[index], position + 10) if index < len(self.records) else None

    def free(self, position: int) -> None:
        self.events.append(f"free {position}")
        self.consumer_position = position


class FakeJournal:
    """Takes entries until told to refuse."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.refuses = False
        self.hangs = False
        self.started = 1

    def send(self, fields: Sequence[bytes]) -> None:
        if self.refuses:
            raise JournalRefused("its queue is full")
        self.events.append(b" ".join(fields).decode())

    def incarnation(self) -> Incarnation:
        return ("", self.started)

    def unread(self) -> bool:
        return self.hangs


class FakeHandler:
    """Tells what is done; ``reasons``: why a kill cannot be true."""

    def __init__(self) -> None:
        self.reasons: dict[KillRecord, str] = {}
        self.told: list[KillRecord | Release] = []

    def untrue(self, kill: KillRecord) -> str | None:
        return self.reasons.get(kill)

    def render(self, kill: KillRecord) -> list[bytes]:
        return [b"sent %d" % kill.victim_pid]

    def sent(self, kill: KillRecord) -> None:
        self.told.append(kill)

    def released(self, release: Release) -> None:
        self.told.append(release)


class FakeClock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    boottime_ns = realtime_ns = monotonic_ns
