# SPDX-License-Identifier: Apache-2.0
"""Whether the log must have a line of each kill that is searched: otherwise a missing line proves nothing."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.lookup.match import DRIFT_PPM, Clocks

# The search begins this much earlier: a count may be wrong for a moment.
_AROUND_NS = 10 * 10**9


class Whole:
    """``since_usec``: no line since then was lost, as of the last reading (printk's clock); None: unknown."""

    def __init__(self) -> None:
        self.since_usec: int | None = None

    def during(self, lines: Iterable[Line], *, from_boot: bool) -> Iterator[Line]:
        """Yields ``lines``, which must be the whole log. ``from_boot``: they begin with the first line of this boot."""
        self.since_usec = None
        since_usec = 0 if from_boot else None
        for line in lines:
            if line.after_gap or since_usec is None:
                since_usec = line.usec
            yield line
        self.since_usec = since_usec


class Span(NamedTuple):
    """Where to search: from ``first_ns`` on, by the lines' times. ``whole``: no line since then can be lost."""

    first_ns: int
    whole: bool


def span(since_ns: int, begins_usec: int, log_since_usec: int | None, clocks: Clocks) -> Span:
    """Where to search for kills since ``since_ns``, in a journal from ``begins_usec`` on (both CLOCK_MONOTONIC).

    Kills before the journal begins may have had entries. ``log_since_usec``: see Whole.
    """
    begins_ns = begins_usec * 1000
    # The log's clock may have drifted: begin too early rather than too late.
    slack_ns = _AROUND_NS + clocks.now_ns * DRIFT_PPM // 10**6
    log_ns = max(0, since_ns - max(0, clocks.shift_ns) - slack_ns)
    is_whole = log_since_usec is not None and log_since_usec * 1000 <= log_ns
    return Span(max(begins_ns - clocks.shift_ns, log_ns) + clocks.asleep_ns, is_whole and begins_ns <= since_ns)
