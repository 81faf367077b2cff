# SPDX-License-Identifier: Apache-2.0
"""Fields of the ``history`` entry of a decision: series of sizes as text, ``seconds:bytes``, from oldest to newest.

Seconds count from the decision on, so those before it are negative. A series has a point for each sample, and for a
cgroup also one at the decision.
"""

from collections.abc import Iterable

from oomkilld import schema
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.enrich.enrich import LedUp
from oomkilld.record.enrich.owner import shown
from oomkilld.record.entry.origin import Origin, Values, common
from oomkilld.record.history.before import Before, Place
from oomkilld.record.history.meminfo import KEYS
from oomkilld.record.history.rings import LONGEST_NS, Rings
from oomkilld.text import human_bytes

_WHERE = {"host": " on this host", "cpuset": " in a cpuset", "mempolicy": " under a memory policy"}
_PRIORITY = 6
_NS = 10**9
# Of a series, so that it fits behind the name of its field. The oldest points are left out.
_MOST_BYTES = schema.MAX_PATH_BYTES


class Report(NamedTuple):
    """A decision that gets an entry. ``boot_realtime_ns``: time of the boot, by the wall clock at the decision.

    ``domain``: see Cause. ``domain_path``: of the cgroup that ran out; None: it was none, or is unknown.
    """

    decision_id: str
    before: Before
    boot_realtime_ns: int
    domain: str | None
    domain_path: bytes | None


def history_entry(report: Report, rings: Rings, now_ns: int, origin: Origin) -> list[bytes]:
    """All fields, with the samples until ``now_ns``."""
    at_ns = report.before.at_ns
    rows = rings.rows(at_ns - LONGEST_NS, now_ns)
    values = _values(report, rings, rows, origin)
    head = common("history", _message(report), schema.MESSAGE_ID_HISTORY, _PRIORITY, origin)
    return schema.format_fields([*head, *values])


def _values(report: Report, rings: Rings, rows: list[int], origin: Origin) -> Values:
    before = report.before
    yield "OOM_DECISION_ID", report.decision_id
    yield "OOM_TIMESTAMP", (report.boot_realtime_ns + before.at_ns) // 1000
    yield "OOM_BOOTTIME_TIMESTAMP", before.at_ns // 1000
    if rows:
        yield "OOM_HISTORY_SINCE_TIMESTAMP", (report.boot_realtime_ns + rings.time_ns(rows[0])) // 1000

    def of(column: int, end: int | None = None) -> str | None:
        points = [(rings.time_ns(row), size) for row in rows if (size := rings.pages(row, column)) is not None]
        at = [] if end is None else [(before.at_ns, end)]
        earlier, later = ([point for point in points if (point[0] > before.at_ns) is late] for late in (False, True))
        return series([*earlier, *at, *later], before.at_ns, origin.page_bytes)

    def of_place(place: Place | None) -> str | None:
        if place is None:
            return None
        if place.column is None or place.cgroup is None or place.cgroup.is_forgotten:
            return series([] if place.end is None else [(before.at_ns, place.end)], before.at_ns, origin.page_bytes)
        return of(place.column, place.end)

    for column, key in enumerate(KEYS):
        yield f"OOM_HISTORY_{key.upper()}", of(column)
    yield "OOM_HISTORY_DOMAIN", of_place(before.domain)
    if before.domain is None or before.victim is None or before.victim.path != before.domain.path:
        yield "OOM_HISTORY_VICTIM", of_place(before.victim)
    for number, place in enumerate(before.grown, start=1):
        yield f"OOM_HISTORY_{number}_CGROUP", place.path
        yield f"OOM_HISTORY_{number}", of_place(place)


def series(points: Iterable[tuple[int, int]], at_ns: int, page_bytes: int) -> str | None:
    """``-24:1048576 -12:2097152 0:4194304``; None: there are no points."""
    texts: list[str] = []
    room = _MOST_BYTES
    for time, pages in reversed([*points]):
        # Only what is not later than the decision is at second 0 or before.
        second = round((time - at_ns) / _NS) if time <= at_ns else -((at_ns - time) // _NS)
        text = f"{second}:{pages * page_bytes}"
        room -= len(text) + 1
        if room < 0:
            break
        texts.append(text)
    return " ".join(reversed(texts)) or None


def _message(report: Report) -> str:
    where = _WHERE.get(report.domain or "", "")
    if report.domain == "cgroup" and report.domain_path is not None:
        where = f" in {shown(report.domain_path)}"
    return f"What led up to the OOM kill{where}: {_grown(report.before.led_up)}"


def _grown(led_up: LedUp) -> str:
    if not led_up.grew or led_up.window_ns is None:
        return f"no cgroup is known to have grown ({led_up.trend})"
    path, size = led_up.grew[0]
    return f"{shown(path)} grew {human_bytes(size)} in {_span(led_up.window_ns // _NS)} ({led_up.trend})"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
