# SPDX-License-Identifier: Apache-2.0
"""The parts that the loop drives, as duties, and the interface of those that entries may wait for."""

from collections.abc import Callable

from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import TYPE_CHECKING, NamedTuple, Protocol
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
from oomkilld.record.stepdown import LevelJudge
from oomkilld.record.unkillable import Unkillables
from oomkilld.service.notify import Notifier

if TYPE_CHECKING:  # see optional.py
    from oomkilld.record.cmdline.reader import VictimReader
    from oomkilld.record.history.recorder import Recorder


class Awaited(Protocol):
    """What entries wait for. ``fileno()`` readable, or ``due_ns`` reached (monotonic; None: none): call ``check()``.

    After ``end()``, no entry waits any more.
    """

    @property
    def due_ns(self) -> int | None: ...
    def fileno(self) -> int: ...
    def check(self) -> None: ...
    def end(self) -> None: ...


class Duty(NamedTuple):
    """``run`` returns at once, and does nothing if nothing is due.

    ``due_ns``: when to run it at the latest (monotonic; None: with the other duties). ``fileno``: readable: run it.
    """

    run: Callable[[], None]
    due_ns: Callable[[], int | None] = lambda: None
    fileno: int | None = None


def duty_of(part: Awaited) -> Duty:
    """The duty to check it."""
    return Duty(part.check, lambda: part.due_ns, part.fileno())


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
    level_judge: LevelJudge
    awaited: tuple[Awaited, ...]
    command_lines: "VictimReader | None"  # also in ``awaited``; None: command lines of victims are not read
    history: "Recorder | None"  # None: no flight recorder
    storage: Storage
    notifier: Notifier
    log: Log
    clock: KernelClock


class InForce(NamedTuple):
    """For the status line: the capture level, and which settings replace an invalid configuration (Order.instead)."""

    level: str
    instead: str = ""
