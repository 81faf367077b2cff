# SPDX-License-Identifier: Apache-2.0
"""What the loop drives, and what entries may have to wait for."""

from oomkilld.host.clock import Clock
from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.account.audit import Audit
from oomkilld.record.account.backfill import Recall
from oomkilld.record.account.missed import MissedNotice
from oomkilld.record.deliver.confirm import Confirm
from oomkilld.record.deliver.delivery import Delivery
from oomkilld.record.deliver.sink import Turns
from oomkilld.record.deliver.storage import Storage
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.levelnotice import LevelChange
from oomkilld.record.log import Log
from oomkilld.record.outcome import Outcome
from oomkilld.record.stepdown import Drift
from oomkilld.record.unkillable import Unkillables
from oomkilld.service.notify import Notifier


class Awaited(Protocol):
    """See loglines.LogLines."""

    def fileno(self) -> int:
        """Readable: check() is needed."""

    @property
    def deadline_ns(self) -> int | None:
        """When check() is needed at the latest (monotonic); None: it is not."""

    def check(self) -> None:
        """Take what has come, and give up what is too late."""

    def end(self) -> None:
        """From now on nothing is waited for."""


class AwaitedLines(Awaited, Protocol):
    """See reader.VictimReader."""

    @property
    def trouble(self) -> str:
        """Why some or all command lines of victims are not read now, or nothing."""


class Parts(NamedTuple):
    """What the loop drives."""

    journal: Turns
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
    command_lines: AwaitedLines | None  # None: no entry waits for one
    storage: Storage
    notifier: Notifier
    log: Log
    clock: Clock


class InForce(NamedTuple):
    """For the status line: the capture level, and ``instead`` of Order."""

    level: str
    instead: str = ""
