# SPDX-License-Identifier: Apache-2.0
"""The lines of ``list``: the widths are chosen before the first entry is read, because lines are never collected."""

from argparse import Namespace

from oomkilld.ctl.columns import cut, cut_within, padded
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.output import Output
from oomkilld.ctl.times import Clock
from oomkilld.ctl.whose import domain, limit_bytes, owner
from oomkilld.lighttyping import NamedTuple
from oomkilld.text import counted, human_bytes

UNKNOWN = "-"
_ID, _PID, _UID, _SIZE = 8, 7, 5, 6
_VICTIM = range(8, 16)  # TASK_COMM_LEN of the kernel is 16, with the final NUL
_WHOLE_TIME_FROM = 100
_WIDEST_NAME = 40
_HOST = 16


class Row(NamedTuple):
    """What a line shows. ``said``: of an event that has no columns of its own."""

    kill_id: str
    usec: int
    host: str
    pid: str
    uid: str
    victim: str
    owner: str
    resident: str
    limit: str
    domain: str
    event: str = "kill"
    said: str | None = None
    missed: int = 0


def row_of(entry: Entry) -> Row:
    """The row of an entry."""
    limit = limit_bytes(entry)
    resident = entry.number("OOM_VICTIM_RSS_BYTES")
    return Row(
        kill_id=(entry.text("OOM_KILL_ID") or UNKNOWN)[:_ID],
        usec=entry.usec,
        host=entry.shown_host or UNKNOWN,
        pid=entry.text("OOM_VICTIM_PID") or UNKNOWN,
        uid=entry.text("OOM_VICTIM_UID") or UNKNOWN,
        victim=entry.text("OOM_VICTIM_COMM") or UNKNOWN,
        owner=owner(entry) or UNKNOWN,
        resident=_size(resident),
        limit=_size(limit),
        domain=domain(entry) or UNKNOWN,
        event=entry.event,
        said=_said(entry),
        missed=entry.number("OOM_MISSED") or 0 if entry.event == "missed" else 0,
    )


def _size(size: int | None) -> str:
    """At most six columns: ``1000.0M`` is ``1000M``."""
    text = UNKNOWN if size is None else human_bytes(size)
    return text if len(text) <= _SIZE else text[:-3] + text[-1]


def _said(entry: Entry) -> str | None:
    event = entry.event
    if event == "kill":
        return None
    if event == "missed":
        return missed_text(entry)
    return f"{event}: {entry.text('MESSAGE') or UNKNOWN}"


def missed_text(entry: Entry) -> str:
    """``3 kills without an entry (ring-full)``."""
    reason = entry.text("OOM_MISSED_REASON") or "unknown reason"
    return f"{counted(entry.number('OOM_MISSED') or 0, 'kill')} without an entry ({reason})"


class Table:
    """Formats rows for a width; None: names are not cut, and columns may shift. ``hosts``: whether to name machines."""

    def __init__(self, options: Namespace, output: Output, *, hosts: bool) -> None:
        self._output = output
        width = output.width
        clock = Clock(utc=options.utc)
        self._is_long = width is None or width >= _WHOLE_TIME_FROM
        self._time = clock.long if self._is_long else clock.short
        self._zone = clock.zone
        self._time_width = len(self._time(0))
        self._hosts = hosts
        self._is_cut = width is not None
        self._width = width or 0
        self._victim, self._owner, self._domain = self._names(width)

    def _names(self, width: int | None) -> tuple[int, int, int]:
        """Widths of victim, owner and domain."""
        if width is None:
            return _VICTIM[-1], 24, 1
        others = (_ID, self._time_width, _PID, _UID, _SIZE, _SIZE) + ((_HOST,) if self._hosts else ())
        left = max(width - sum(others) - len(others) - 2, 3)
        victim = max(1, min(_VICTIM[-1], max(_VICTIM[0], left // 3), left - 2))
        named = min(_WIDEST_NAME, (left - victim) // 2)
        return victim, named, left - victim - named

    def header(self) -> str:
        """The names of the columns."""
        time = f"TIME ({self._zone})" if self._zone else "TIME"
        row = Row("ID", 0, "HOST", "PID", "UID", "VICTIM", "UNIT", "RSS", "LIMIT", "OF")
        return self._output.coloured(self._line(row, time, 0).rstrip(), "underline")

    def line(self, row: Row, more: int = 0, stuck: int = 0) -> str:
        """A line; ``more``: how many others it stands for; ``stuck``: how many of all these victims are still there."""
        if row.said is None:
            return self._line(row, self._time(row.usec), more, stuck)
        head = f"{row.kill_id:<{_ID}} {self._time(row.usec):<{self._time_width}} {self._host(row)}"
        text = head + row.said
        return self._output.coloured(
            self._output.noted(text, cut(text, self._width)) if self._is_cut else text, "yellow"
        )

    def _host(self, row: Row) -> str:
        if not self._hosts:
            return ""
        host = self._output.noted(row.host, cut(row.host, _HOST)) if self._is_cut else row.host
        return padded(host, _HOST) + " "

    def _line(self, row: Row, time: str, more: int, stuck: int = 0) -> str:
        victim, owner, domain = row.victim, row.owner, row.domain
        others = f"+{more} more" if more else ""
        left = (f"{stuck} stuck" if more else "stuck") if stuck else ""
        if self._is_cut:
            victim = self._output.noted(victim, cut(victim, self._victim))
            # What does not fit behind the domain is said at the end of the list only.
            both = " ".join(filter(None, (others, left)))
            others = both if left and self._domain - len(both) > _VICTIM[-1] else others
            owner, domain, others = self._fitting(owner, domain, others)
            self._output.noted(row.owner + row.domain, owner + domain)
        elif left:
            others = " ".join(filter(None, (others, left)))
        head = f"{row.kill_id:<{_ID}} {time:<{self._time_width}} {self._host(row)}{row.pid:>{_PID}} {row.uid:>{_UID}} "
        names = f"{padded(victim, self._victim)} {padded(owner, self._owner)} "
        return f"{head}{names}{row.resident:>{_SIZE}} {row.limit:>{_SIZE}} {domain}" + (f" {others}" if others else "")

    def _fitting(self, owner: str, domain: str, others: str) -> tuple[str, str, str]:
        """Where both do not fit, the other victims are more than the unit: the domain still shows where they were."""
        if others and self._domain - len(others) > _VICTIM[-1]:
            return cut_within(owner, self._owner), cut_within(domain, self._domain - len(others) - 1), others
        return cut_within(others or owner, self._owner), cut_within(domain, self._domain), ""


def oneline(entry: Entry, clock: Clock) -> str:
    """The line that BCC's oomkill prints."""
    at = clock.of_day(entry.usec)
    if entry.event != "kill":
        return f"{at} {_said(entry)}"
    shown = {
        name: entry.text(f"OOM_{name}") or UNKNOWN
        for name in ("TRIGGER_PID", "TRIGGER_COMM", "VICTIM_PID", "VICTIM_COMM", "TOTAL_PAGES", "LOADAVG")
    }
    return (
        f'{at} Triggered by PID {shown["TRIGGER_PID"]} ("{shown["TRIGGER_COMM"]}"), OOM kill of PID '
        f'{shown["VICTIM_PID"]} ("{shown["VICTIM_COMM"]}"), {shown["TOTAL_PAGES"]} pages, loadavg: {shown["LOADAVG"]}'
    )
