# SPDX-License-Identifier: Apache-2.0
"""What led up to a kill: what grew, how, and samples of memory before it, as the flight recorder took them."""

import re
from collections.abc import Iterator
from itertools import islice

from oomkilld.ctl.beside import Beside
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.killfacts import Facts, span
from oomkilld.ctl.sheet import Row

_GREW = range(1, 4)
_TRENDS = {
    "start": "created shortly before the kill",
    "spike": "most of it within seconds",
    "leak": "steadily",
    "plateau": "at the limit for long, without growth",
}
_MEMINFO = (
    *(("MEMAVAILABLE", "available"), ("MEMFREE", "free"), ("ANONPAGES", "anonymous"), ("CACHED", "cached")),
    *(("SHMEM", "shared or tmpfs"), ("SUNRECLAIM", "slab in use"), ("SWAPFREE", "free swap"), ("DIRTY", "dirty")),
)
_ALWAYS = 1  # of these
_SERIES = range(1, 6)
_POINT = re.compile(r"(-?[0-9]{1,9}):([0-9]{1,20})")
_SECOND_USEC = 1_000_000


def led_up(facts: Facts, beside: Beside) -> Iterator[Row]:
    """Of a kill."""
    entry, label = facts.entry, "Grew"
    window = entry.number("OOM_GREW_WINDOW_USEC")
    within = [] if window is None else [f"in {span(window)}"]
    for number in _GREW:
        path, size = entry.text(f"OOM_GREW_{number}_CGROUP"), entry.number(f"OOM_GREW_{number}_BYTES")
        if path is not None and size is not None:
            yield Row(label, [f"{facts.bytes(size):>7} {path}", *within])
            label, within = "", []
    if (trend := entry.text("OOM_TREND")) is not None:
        yield Row("Trend", [trend, *([_TRENDS[trend]] if trend in _TRENDS else [])])
    # Of a decision there is one; a sender may claim any number.
    for each in islice(beside.history(entry), 1):
        yield from history(each, facts)


def history(entry: Entry, facts: Facts) -> Iterator[Row]:
    """Of each series the first size, and the one at the kill."""
    label = "Samples"
    for what, name in _named(entry, is_exact=facts.is_exact):
        points = [(int(at), int(size)) for at, size in _POINT.findall(entry.text(name) or "")]
        points = [point for point in points if point[0] <= 0]
        if len(points) > 1:
            (begin, first), (_end, last) = points[0], points[-1]
            sizes = f"{facts.bytes(first)} → {facts.bytes(last)}"
            yield Row(label, [f"{sizes} {what}", f"in {span(-begin * _SECOND_USEC)}"])
            label = ""


def _named(entry: Entry, *, is_exact: bool) -> Iterator[tuple[str, str]]:
    """Each series in words, and its field."""
    for key, what in _MEMINFO if is_exact else _MEMINFO[:_ALWAYS]:
        yield f"{what} on this host", f"OOM_HISTORY_{key}"
    yield "what ran out", "OOM_HISTORY_DOMAIN"
    yield "the victim's cgroup", "OOM_HISTORY_VICTIM"
    for number in _SERIES:
        path = entry.text(f"OOM_HISTORY_{number}_CGROUP")
        if path is not None:
            yield path, f"OOM_HISTORY_{number}"
