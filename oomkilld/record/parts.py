# SPDX-License-Identifier: Apache-2.0
"""The parts that the loop drives, and the interface of those that entries may wait for."""

from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.account.audit import Audit
from oomkilld.record.account.missed import MissedNotice
from oomkilld.record.account.recall import Recall
from oomkilld.record.deliver.confirm import Confirm
from oomkilld.record.deliver.delivery import Delivery
from oomkilld.record.deliver.sink import Sink
from oomkilld.record.deliver.storage import Storage
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.levelnotice import LevelChange
from oomkilld.record.log import Log
from oomkilld.record.outcome import Outcome
from oomkilld.record.stepdown import Drift
from oomkilld.record.unkillable import Unkillables
from oomkilld.service.notify import Notifier


class Awaited(Protocol):
    """A source of data that entries wait for; see loglines.LogLines."""

    def fileno(self) -> int:
        """Readable: call check()."""

    @property
    def due_ns(self) -> int | None:
        """When to call check() at the latest (monotonic); None: no deadline."""

    def check(self) -> None:
        """Take the data that has arrived, and give up waiting where the deadline has passed."""

    def end(self) -> None:
        """The service ends: let no entry wait any more."""


class AwaitedLines(Awaited, Protocol):
    """See reader.VictimReader."""

    @property
    def trouble(self) -> str:
        """Why some or all command lines of victims are not read at present; empty: all are read."""


class Parts(NamedTuple):
    """Everything that the loop drives."""

    journal: Sink
    tracker: StoreTracker
    delivery: Delivery
    outcome: Outcome
    unkillables: Unkillables
    audit: Audit
    recall: Recall
    confirm: Confirm
    missed_notice: MissedNotice
    level_change: LevelChange
    drift: Drift
    awaited: tuple[Awaited, ...]
    command_lines: AwaitedLines | None  # also in ``awaited``; None: command lines of victims are not read
    storage: Storage
    notifier: Notifier
    log: Log
    clock: KernelClock


class InForce(NamedTuple):
    """For the status line: the capture level, and which settings replace an invalid configuration (Order.instead)."""

    level: str
    instead: str = ""
