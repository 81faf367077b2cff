# SPDX-License-Identifier: Apache-2.0
"""Reports once that the capture level has changed, or is not the best one at the first start."""

from collections.abc import Callable

from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.record.entry.notices import why_not_better
from oomkilld.service.handover import Order


def is_change(order: Order) -> bool:
    """Whether to report it: not at a first start in this boot at the best level, or at the configured one."""
    if order.level_before is None:
        return bool(order.arming.level_failures)
    return order.arming.level != order.level_before


def first_line(order: Order) -> str:
    """The run's first log line; says why no better level is used, unless the entry about a change does."""
    reasons = "" if is_change(order) else why_not_better(order.arming.level_failures)
    return f"recording OOM kills at level {order.arming.level}{reasons}"


class LevelChange:
    """``fields``: the entry; None: the level is the same. ``remember`` is called once it is sent, or not needed."""

    def __init__(self, sink: Sink, fields: list[bytes] | None, remember: Callable[[], None]) -> None:
        self._sink = sink
        self._fields = fields
        self._remember = remember
        self._settled = False

    def report(self) -> None:
        """Send the entry; if journald does not take it, the next call tries again."""
        if self._settled:
            return
        if self._fields is not None:
            try:
                self._sink.send(self._fields)
            except JournalRefused:
                return
        self._remember()
        self._settled = True
