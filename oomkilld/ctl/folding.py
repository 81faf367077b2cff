# SPDX-License-Identifier: Apache-2.0
"""Makes one row of all kills of a group kill, while the entries stream by."""

from collections import deque
from collections.abc import Iterator

from oomkilld.ctl.entry import Entry, Origin
from oomkilld.lighttyping import Generic, TypeVar

# A group's entries follow each other; kills of other cgroups may be between them.
_OTHERS_BETWEEN = 64
_APART_USEC = 5_000_000
_WAITING = 1000

Row = TypeVar("Row")
Group = tuple[Origin, str | None, bytes]


class Folded(Generic[Row]):
    """A row, and how many further kills it stands for; ``stuck``: of all of them, how many victims are still there."""

    __slots__ = ("at", "is_of_chosen", "key", "more", "row", "stuck", "usec")

    def __init__(self, row: Row, key: Group | None, usec: int, at: int, *, is_of_chosen: bool) -> None:
        self.row = row
        self.key = key
        self.usec = usec
        self.at = at
        self.is_of_chosen = is_of_chosen
        self.more = 0
        self.stuck = 0


class Folder(Generic[Row]):
    """Takes rows, and returns them in the same order, as soon as no further kill of their group is expected."""

    def __init__(self, *, folds: bool) -> None:
        self._folds = folds
        self._groups: dict[Group, Folded[Row]] = {}
        self._waiting: deque[Folded[Row]] = deque()
        self._at = 0

    def add(self, entry: Entry, row: Row, *, is_stuck: bool = False) -> Iterator[Folded[Row]]:
        """The rows that are complete now."""
        self._at += 1
        key = group_of(entry) if self._folds else None
        is_of_chosen = "OOM_VICTIM_BADNESS" in entry.fields
        group = None if key is None else self._groups.get(key)
        if group is None:
            group = Folded(row, key, entry.received_usec, self._at, is_of_chosen=is_of_chosen)
            if key is not None:
                self._groups[key] = group
            self._waiting.append(group)
        else:
            group.more += 1
            group.usec, group.at = entry.received_usec, self._at
            if is_of_chosen and not group.is_of_chosen:
                group.row, group.is_of_chosen = row, True
        group.stuck += is_stuck
        while self._waiting and self._is_complete(self._waiting[0], entry.received_usec):
            yield self._taken()

    def rest(self) -> Iterator[Folded[Row]]:
        """All rows that are left."""
        while self._waiting:
            yield self._taken()

    def _is_complete(self, first: Folded[Row], now_usec: int) -> bool:
        return (
            first.key is None
            or self._at - first.at > _OTHERS_BETWEEN
            or abs(now_usec - first.usec) > _APART_USEC
            or len(self._waiting) > _WAITING
        )

    def _taken(self) -> Folded[Row]:
        first = self._waiting.popleft()
        if first.key is not None:
            self._groups.pop(first.key, None)
        return first


def group_of(entry: Entry) -> Group | None:
    """The decision of a kill that may be one of several, and where it was made. None: it is the only one."""
    if entry.fields.get("OOM_EVENT") != b"kill" or entry.fields.get("OOM_GROUP_KILL") == b"0":
        return None
    decision = entry.fields.get("OOM_DECISION_ID")
    return (entry.origin, entry.text("_BOOT_ID"), decision) if isinstance(decision, bytes) else None
