# SPDX-License-Identifier: Apache-2.0
"""What led up to a kill: reads the cgroups of the domain once more, right after it, and compares with the samples."""

import os

from oomkilld.lighttyping import NamedTuple
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.enrich.enrich import LedUp
from oomkilld.record.history.growth import LEAST_PAGES, START, START_NS, UNKNOWN, Growth, Point, grew_most, growth_of
from oomkilld.record.history.meminfo import AVAILABLE
from oomkilld.record.history.rings import LONGEST_NS, Rings
from oomkilld.record.history.sampled import Cgroups, Sampled
from oomkilld.record.history.tree import Seen
from oomkilld.record.kill import KillRecord

# How many of those that grew most are named: in the history entry, and of them in the kill's entry.
MOST, MOST_IN_KILL = 5, 3
# The window if nothing shows since when memory grew.
WINDOW_NS = 720 * 10**9
# Later than this after the kill, a reading says nothing about it.
_FRESH_NS = 10 * 10**9

NOTHING_KNOWN = LedUp(UNKNOWN, None, [])


class Place(NamedTuple):
    """A cgroup at the kill. ``column`` and ``cgroup``: where its samples are; None: it has none. ``end`` in pages.

    ``since_ns``: it was created after that time, and used nothing before; None: unknown, or before the samples begin.
    """

    path: bytes
    column: int | None
    cgroup: Sampled | None
    since_ns: int | None
    end: int | None


class Before(NamedTuple):
    """What is known at a decision. ``domain``, ``victim``: None: no cgroup, or nothing is known of it."""

    at_ns: int
    led_up: LedUp
    domain: Place | None
    victim: Place | None
    grown: list[Place]  # the one that grew most first


class Known:
    """What samples and walks show. ``root``: descriptor of the hierarchy. ``is_rooted``: records' paths begin there.

    ``seen``: by the last walk that ended; None: none has yet. ``whole_since_ns``: the machine was not suspended since
    then. ``total``: pages of the machine; None: unknown.
    """

    def __init__(self, rings: Rings, cgroups: Cgroups, root: int, page_bytes: int, *, is_rooted: bool) -> None:
        self.rings = rings
        self.cgroups = cgroups
        self.root = root
        self.page_bytes = page_bytes
        self.is_rooted = is_rooted
        self.seen: Seen | None = None
        self.whole_since_ns = 0
        self.total: int | None = None

    def before(self, kill: KillRecord, cause: Cause, now_ns: int) -> Before:
        """What led up to the decision of this kill."""
        at_ns = kill.kill_boottime_ns if kill.decision_boottime_ns is None else kill.decision_boottime_ns
        domain = kill.domain_cgroup if cause.domain == "cgroup" else b""
        if domain is None or (domain and (kill.domain_cgroup_cut or not self.is_rooted)):
            return Before(at_ns, NOTHING_KNOWN, None, None, [])
        return _Decision(self, kill, cause, domain, (at_ns, now_ns)).before()


class _Decision:
    """``domain``: path of the cgroup that ran out; empty: none, so that all cgroups count."""

    def __init__(self, known: Known, kill: KillRecord, cause: Cause, domain: bytes, times: tuple[int, int]) -> None:
        self._known = known
        self._rings = known.rings
        self._kill = kill
        self._cause = cause
        self._domain = domain
        self._at_ns, self._now_ns = times
        self._rows = known.rings.rows(max(known.whole_since_ns, self._at_ns - LONGEST_NS), self._at_ns)
        self._victim = None if kill.victim_cgroup_cut else kill.victim_cgroup
        self._line = (self._victim or b"") + b"/"  # begins with the path of each cgroup that the victim was in
        self._places: dict[bytes, Place] = {}  # that were looked at closely

    def before(self) -> Before:
        for path in dict.fromkeys((self._victim, self._domain)):
            if path:
                self._look(path)
        domain, victim = self._places.get(self._domain), self._places.get(self._victim or b"")
        growth = self._growth(domain)
        since_ns = self._since(growth)
        if victim is not None and victim.since_ns is not None and self._is_new(victim):
            growth = growth._replace(trend=START)
            since_ns = min(since_ns, victim.since_ns)
        grown = self._grown(since_ns)
        most = grew_most(grown, MOST)
        told = [(path, pages * self._known.page_bytes) for path, pages in most[:MOST_IN_KILL]]
        led_up = LedUp(growth.trend, self._at_ns - since_ns if since_ns < self._at_ns else None, told)
        return Before(self._at_ns, led_up, domain, victim, [self._places[path] for path, _pages in most])

    def _look(self, path: bytes) -> None:
        """Note what is known of the cgroup at that path."""
        found = self._known.cgroups.at(path)
        pages = None if found is None else self._pages(found[1])
        place = None
        if found is not None and self._is_there(found[1]):
            place = self._place(*found, pages)
        elif (since_ns := self._new_since(path)) is not None:
            place = Place(path, None, None, since_ns, self._kill.victim_anon_pages if path == self._victim else None)
        if place is not None and path == self._domain and self._kill.domain_usage_pages is not None:
            place = place._replace(end=self._kill.domain_usage_pages)
        if place is not None:
            self._places[path] = place

    def _pages(self, cgroup: Sampled) -> int | None:
        """Its size now; None: unknown, or it is too late to ask."""
        is_fresh = self._now_ns - self._at_ns <= _FRESH_NS
        return self._known.cgroups.pages(cgroup, self._now_ns) if is_fresh else None

    def _is_there(self, cgroup: Sampled) -> bool:
        """Whether it was not removed before the kill: else another one may be at its path."""
        if cgroup.fd >= 0:
            return True
        started_ns = self._kill.victim_start_boottime_ns
        is_of_victim = cgroup.path != self._victim or started_ns is None or started_ns <= cgroup.read_ns
        return cgroup.left_ns >= self._at_ns and is_of_victim

    def _place(self, column: int, cgroup: Sampled, pages: int | None) -> Place:
        """Its size at the kill is as just read, unless the victim was in it and may have released its memory since."""
        was_in = self._line.startswith(cgroup.path + b"/")
        known = [pages]
        if pages is None or was_in:
            known.append(
                next((size for row in reversed(self._rows) if (size := self._at(row, column)) is not None), None)
            )
        if cgroup.path == self._victim:
            known.append(self._kill.victim_anon_pages)
        end = max((size for size in known if size is not None), default=None)
        return Place(cgroup.path, column, cgroup, cgroup.since_ns, end)

    def _new_since(self, path: bytes) -> int | None:
        """For a cgroup without samples: since when it can exist at most; None: perhaps for long."""
        seen = self._known.seen
        if seen is None or seen.began_ns > self._at_ns or not self._known.is_rooted:
            return None
        try:
            status = os.stat(path[1:], dir_fd=self._known.root, follow_symlinks=False)
        except FileNotFoundError:
            # If it had been there, the walk would have found a place for it, unless it lacked the memory controller.
            left_out = seen.limited_left_out if path == self._domain else seen.left_out
            started_ns = self._kill.victim_start_boottime_ns
            is_older = started_ns is not None and started_ns < seen.began_ns
            return None if left_out or is_older or not seen.is_whole else seen.began_ns
        except (OSError, ValueError):
            return None  # its owner, or that of one above it, has closed it
        return seen.since_ns(status.st_ino)

    def _is_new(self, place: Place | None) -> bool:
        return place is not None and place.since_ns is not None and self._at_ns - place.since_ns <= START_NS

    def _growth(self, domain: Place | None) -> Growth:
        if self._cause.domain == "host":
            return growth_of(self._of_machine(), self._known.total, is_new=False)
        if domain is None:
            return Growth(UNKNOWN, None)
        limit = None if self._cause.limit is None else self._cause.limit // self._known.page_bytes
        return growth_of(self._points(domain), limit, is_new=self._is_new(domain))

    def _of_machine(self) -> list[Point]:
        """Memory in use: all that is not available."""
        total = self._known.total
        if total is None:
            return []
        points = [
            (self._time(row), total - available)
            for row in self._rows
            if (available := self._at(row, AVAILABLE)) is not None
        ]
        # For a single page, the kernel gives up only once there is no page cache left that it could drop.
        free = self._kill.machine_free_pages if self._kill.order == 0 else None
        end = points[-1][1] if points else 0
        return [*points, (self._at_ns, end if free is None else max(end, total - free))] if points else []

    def _points(self, place: Place) -> list[Point]:
        points = []
        if place.since_ns is not None and place.since_ns >= self._known.whole_since_ns:
            points.append((place.since_ns, 0))
        if place.column is not None:
            column = place.column
            points += [(self._time(row), size) for row in self._rows if (size := self._at(row, column)) is not None]
        return points if place.end is None else [*points, (self._at_ns, place.end)]

    def _since(self, growth: Growth) -> int:
        """When the window begins; at the kill: there are no samples."""
        if growth.since_ns is not None:
            return growth.since_ns
        begin_ns = self._time(self._rows[0]) if self._rows else self._at_ns
        return max(begin_ns, self._at_ns - WINDOW_NS)

    def _grown(self, since_ns: int) -> dict[bytes, int]:
        """By how many pages each cgroup in the domain has grown since then; those that grew are noted as places."""
        below = self._domain.rstrip(b"/") + b"/"
        later = [row for row in self._rows if self._time(row) >= since_ns]
        before = [row for row in self._rows if self._time(row) <= since_ns][-1:]
        grown: dict[bytes, int] = {}
        for column, cgroup in self._known.cgroups:
            path = cgroup.path
            if not path.startswith(below) or path in self._places:
                continue
            # Most cgroups do not grow, and need no closer look.
            pages, first = self._pages(cgroup), self._at(before[0], column) if before else None
            is_flat = pages is not None and first is not None and pages - first < LEAST_PAGES
            if (not is_flat or self._line.startswith(path + b"/")) and self._is_there(cgroup):
                self._places[path] = self._place(column, cgroup, pages)
        for path, place in self._places.items():
            if path == self._domain or path.startswith(below):
                grown[path] = self._growth_of(place, [*before, *later], since_ns)
        return grown

    def _growth_of(self, place: Place, rows: list[int], since_ns: int) -> int:
        if place.end is None or place.end < LEAST_PAGES:
            return 0
        if place.since_ns is not None and place.since_ns >= since_ns:
            return place.end
        column = place.column
        if column is None:
            return 0
        first = next((size for row in rows if (size := self._at(row, column)) is not None), None)
        return 0 if first is None else place.end - first

    def _at(self, row: int, column: int) -> int | None:
        return self._rings.pages(row, column)

    def _time(self, row: int) -> int:
        return self._rings.time_ns(row)
