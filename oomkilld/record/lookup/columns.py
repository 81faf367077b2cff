# SPDX-License-Identifier: Apache-2.0
"""Kills by the hundred thousand, at 32 or 40 bytes each: only the values that matching needs."""

from array import array
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

from oomkilld.record.kernlog.report import UNKNOWN
from oomkilld.record.kill import KillRecord
from oomkilld.record.lookup.loggedkills import Logged
from oomkilld.record.lookup.match import Recorded
from oomkilld.record.lookup.protocol import ID_BYTES
from oomkilld.text import printable


class LoggedColumns:
    """Kills in the log, by position. ``repeats``: only of those that have any."""

    def __init__(self) -> None:
        self.times_ns = array("q")
        self.usecs = array("q")
        self.tids = array("q")
        self._names = array("q")
        self.repeats: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.tids)

    def add(self, logged: Logged) -> None:
        kill = logged.kill
        assert kill.logged_usec is not None
        if logged.repeats:
            self.repeats[len(self)] = logged.repeats
        self.times_ns.append(kill.kill_boottime_ns)
        self.usecs.append(kill.logged_usec)
        self.tids.append(kill.victim_tid)
        self._names.append(hash(printable(kill.victim_comm or b"")))

    def kill(self, at: int) -> KillRecord:
        """The kept values of a kill; a hash of the name, as digits, stands for the name."""
        return UNKNOWN._replace(
            victim_tid=self.tids[at],
            victim_comm=b"%d" % self._names[at],
            kill_boottime_ns=self.times_ns[at],
            logged_usec=self.usecs[at],
        )


class RecordedColumns:
    """Kills that have entries."""

    def __init__(self) -> None:
        self.ids = bytearray()
        self.tids = array("q")
        self.times_ns = array("q")
        self._names = array("q")
        self._nameless: set[int] = set()

    @classmethod
    def of(cls, kills: Iterable[Recorded]) -> Self:
        """Skip those whose values this service cannot have sent."""
        columns = cls()
        for each in kills:
            with suppress(ValueError):
                columns._add(each)
        return columns

    def __len__(self) -> int:
        return len(self.tids)

    def _add(self, recorded: Recorded) -> None:
        kill_id = bytes.fromhex(recorded.kill_id)
        if len(kill_id) != ID_BYTES or not 0 <= recorded.tid < 1 << 32 or not 0 <= recorded.boottime_ns < 1 << 63:
            raise ValueError
        if recorded.comm is None:
            self._nameless.add(len(self))
        self.ids += kill_id
        self.tids.append(recorded.tid)
        self.times_ns.append(recorded.boottime_ns)
        self._names.append(hash(recorded.comm))

    def id(self, at: int) -> str:
        return self.ids[at * ID_BYTES : (at + 1) * ID_BYTES].hex()

    def recorded(self, at: int) -> Recorded:
        """The kept values; a hash stands for the name, see LoggedColumns.kill()."""
        comm = None if at in self._nameless else str(self._names[at])
        return Recorded(self.id(at), self.tids[at], comm, self.times_ns[at])
