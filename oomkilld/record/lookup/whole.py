# SPDX-License-Identifier: Apache-2.0
"""Whether the log could tell of a kill that is looked for: else nothing follows from that it does not."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.lookup.match import DRIFT_PPM, Clocks

# Around that time, too: a count may be wrong for a moment.
_AROUND_NS = 10 * 10**9


class Whole:
    """``since_usec``: no line that was written since then is lost, as read last (printk's clock); None: not known."""

    def __init__(self) -> None:
        self.since_usec: int | None = None

    def during(self, lines: Iterable[Line], *, from_boot: bool) -> Iterator[Line]:
        """The same, all of the log. ``from_boot``: the first one is the first of this boot."""
        self.since_usec = None
        since_usec = 0 if from_boot else None
        for line in lines:
            if line.after_gap or since_usec is None:
                since_usec = line.usec
            yield line
        self.since_usec = since_usec


class Span(NamedTuple):
    """Kills are looked for from ``first_ns`` on, as the lines' times are; ``whole``: of these none can be lost."""

    first_ns: int
    whole: bool


def span(since_ns: int, begins_usec: int, log_since_usec: int | None, clocks: Clocks) -> Span:
    """Of kills since ``since_ns``, in a journal that begins then (both CLOCK_MONOTONIC); ``log_since_usec``: see Whole.

    Of what was before the journal begins, it had entries perhaps.
    """
    begins_ns = begins_usec * 1000
    # By the log's clock, which may have drifted: rather too early.
    slack_ns = _AROUND_NS + clocks.now_ns * DRIFT_PPM // 10**6
    log_ns = max(0, since_ns - max(0, clocks.shift_ns) - slack_ns)
    is_whole = log_since_usec is not None and log_since_usec * 1000 <= log_ns
    return Span(max(begins_ns - clocks.shift_ns, log_ns) + clocks.asleep_ns, is_whole and begins_ns <= since_ns)
