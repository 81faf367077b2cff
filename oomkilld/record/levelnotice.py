# SPDX-License-Identifier: Apache-2.0
"""Says in the journal, once, that the capture level is another than before, or not the best at the first start."""

from collections.abc import Callable

from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.record.entry.notices import why_not_better
from oomkilld.service.handover import Order


def is_change(order: Order) -> bool:
    """Whether it is to be said: not of a first start in this boot at the best level, or at the one that is set."""
    if order.level_before is None:
        return bool(order.arming.level_failures)
    return order.arming.level != order.level_before


def first_line(order: Order) -> str:
    """Of a run: with why no better level is taken, unless the entry of a change says that."""
    reasons = "" if is_change(order) else why_not_better(order.arming.level_failures)
    return f"recording OOM kills at level {order.arming.level}{reasons}"


class LevelChange:
    """``fields``: the entry; None: the level is the same. ``remember`` is called when that is settled."""

    def __init__(self, sink: Sink, fields: list[bytes] | None, remember: Callable[[], None]) -> None:
        self._sink = sink
        self._fields = fields
        self._remember = remember
        self._settled = False

    def report(self) -> None:
        """What journald does not take is said the next time."""
        if self._settled:
            return
        if self._fields is not None:
            try:
                self._sink.send(self._fields)
            except JournalRefused:
                return
        self._remember()
        self._settled = True
