# SPDX-License-Identifier: Apache-2.0
"""The lines of ``list``: the widths are chosen before the first entry is read, because lines are never collected."""

from argparse import Namespace
from collections.abc import Mapping

from oomkilld.ctl.columns import cut, cut_within, padded
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.output import Output
from oomkilld.ctl.times import Clock
from oomkilld.ctl.whose import domain, limit_bytes, owner
from oomkilld.lighttyping import NamedTuple
from oomkilld.text import counted, human_bytes

UNKNOWN = "-"
_ID, _HOST, _SIZE = 8, 16, 6
_WHOLE_TIME_FROM = 100
_WIDEST_NAME = 40
_NAMES = ("victim", "owner", "domain")
# The least width of each column behind the time and the machine, and how its cells are aligned.
_LEAST = {"pid": 7, "uid": 5, "victim": 8, "owner": 7, "resident": _SIZE, "limit": _SIZE, "domain": 7}
_FORMS = {name: f"{{{name}}}" if name in _NAMES else f"{{{name}:>{size}}}" for name, size in _LEAST.items()}
# Where nothing is cut. TASK_COMM_LEN of the kernel is 16, with the final NUL.
_UNCUT = {"victim": 15, "owner": 24, "domain": 0}
# On a terminal that is too narrow for all. The id is for info, and without the time and the victim a line says nothing.
_LEFT_OUT_FIRST = ("uid", "limit", "pid", "resident", "domain", "owner")


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
        pid=_number(entry, "OOM_VICTIM_PID"),
        uid=_number(entry, "OOM_VICTIM_UID"),
        victim=entry.text("OOM_VICTIM_COMM") or UNKNOWN,
        owner=owner(entry) or UNKNOWN,
        resident=_size(resident),
        limit=_size(limit),
        domain=domain(entry) or UNKNOWN,
        event=entry.event,
        said=_said(entry),
        missed=entry.number("OOM_MISSED") or 0 if entry.event == "missed" else 0,
    )


def _number(entry: Entry, name: str) -> str:
    """Of a process or a user: the kernel's have 32 bits, and a longer text would shift all columns behind it."""
    number = entry.number(name)
    return UNKNOWN if number is None or number >> 32 else str(number)


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
        self._width = output.width
        clock = Clock(utc=options.utc)
        is_long = self._width is None or self._width >= _WHOLE_TIME_FROM
        self._time = clock.long if is_long else clock.short
        self._zone = clock.zone
        of_host = {"host": _HOST} if hosts else {}
        self._widths = {"id": _ID, "time": len(self._time(0)), **of_host, **_LEAST}
        if self._width is None:
            self._widths |= _UNCUT
        else:
            self._fit(self._width)
        self._form = " ".join(_FORMS[name] for name in self._widths if name in _FORMS)

    def _fit(self, width: int) -> None:
        """Leave out columns until the others fit, and divide what is left among the names."""
        widths = self._widths
        for name in _LEFT_OUT_FIRST:
            if _taken(widths) <= width:
                break
            del widths[name]
            self._output.leave_out()
        more = width - _taken(widths)
        if more < 0 and "host" in widths:
            widths["host"] = max(1, _HOST + more)
        names = [name for name in _NAMES if name in widths]
        left = sum(widths[name] for name in names) + max(more, 0)
        widths["victim"] = min(_UNCUT["victim"], max(_LEAST["victim"], left // len(names)))
        left -= widths["victim"]
        if "owner" in widths:
            widths["owner"] = min(_WIDEST_NAME, left // (len(names) - 1))
        if "domain" in widths:
            widths["domain"] = left - widths["owner"]

    def header(self) -> str:
        """The names of the columns."""
        time = f"TIME ({self._zone})" if self._zone else "TIME"
        row = Row("ID", 0, "HOST", "PID", "UID", "VICTIM", "UNIT", "RSS", "LIMIT", "OF")
        return self._output.coloured(self._line(row, time, 0).rstrip(), "underline")

    def line(self, row: Row, more: int = 0, stuck: int = 0) -> str:
        """A line; ``more``: how many others it stands for; ``stuck``: how many of all these victims are still there."""
        time = self._time(row.usec)
        if row.said is None:
            return self._line(row, time, more, stuck)
        text = self._head(row, time) + row.said
        return self._output.coloured(
            text if self._width is None else self._output.noted(text, cut(text, self._width)), "yellow"
        )

    def _head(self, row: Row, time: str) -> str:
        head = f"{row.kill_id:<{_ID}} {time:<{self._widths['time']}} "
        if (columns := self._widths.get("host")) is None:
            return head
        host = row.host if self._width is None else self._output.noted(row.host, cut(row.host, columns))
        return f"{head}{padded(host, columns)} "

    def _line(self, row: Row, time: str, more: int, stuck: int = 0) -> str:
        victim, owner, domain = row.victim, row.owner, row.domain
        others = f"+{more} more" if more else ""
        left = (f"{stuck} stuck" if more else "stuck") if stuck else ""
        if self._width is not None:
            victim = self._output.noted(victim, cut(victim, self._widths["victim"]))
            # What does not fit behind the domain is said at the end of the list only.
            both = " ".join(filter(None, (others, left)))
            others = both if left and self._room(row) - len(both) > _UNCUT["victim"] else others
            owner, domain, others = self._fitting(row, others)
            self._output.noted(row.owner + row.domain, owner + domain)
        elif left:
            others = " ".join(filter(None, (others, left)))
        cells = self._form.format(
            pid=row.pid,
            uid=row.uid,
            victim=padded(victim, self._widths["victim"]),
            owner=padded(owner, self._widths.get("owner", 0)),
            resident=row.resident,
            limit=row.limit,
            domain=domain,
        )
        return self._head(row, time) + cells + (f" {others}" if others else "")

    def _fitting(self, row: Row, others: str) -> tuple[str, str, str]:
        """Where both do not fit, the other victims are more than the unit: the domain still shows where they were."""
        owner, room = self._widths.get("owner", 0), self._room(row)
        if others and room - len(others) > _UNCUT["victim"]:
            return cut_within(row.owner, owner), cut_within(row.domain, room - len(others) - 1), others
        return cut_within(others or row.owner, owner), cut_within(row.domain, room), ""

    def _room(self, row: Row) -> int:
        """For the domain: large numbers take some of it."""
        cells = {"pid": row.pid, "uid": row.uid}
        taken = sum(max(0, len(cell) - _LEAST[name]) for name, cell in cells.items() if name in self._widths)
        return max(1, self._widths.get("domain", 0) - taken)


def _taken(widths: Mapping[str, int]) -> int:
    """With a blank between two columns."""
    return sum(widths.values()) + len(widths) - 1


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
