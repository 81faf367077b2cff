# SPDX-License-Identifier: Apache-2.0
"""The verb ``stats``: counts kills, by unit or by something else; or one line for a message at login."""

from argparse import Namespace
from collections.abc import Callable, Iterator

from oomkilld.ctl import nothing, whose
from oomkilld.ctl.columns import cut_within, padded, width
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.failures import NOTHING_MATCHED, SHOWN, NoJournal, NotPermitted
from oomkilld.ctl.output import Output
from oomkilld.ctl.selection import Selection, say_aside, total
from oomkilld.ctl.source import Source
from oomkilld.ctl.table import UNKNOWN
from oomkilld.ctl.times import Clock
from oomkilld.errors import WrongArguments
from oomkilld.text import counted, harmless, human_bytes

_DEFAULT_BY = "unit"
_OF_TIME = ("day", "hour")
_SMALLEST_BAR = 10
_LARGEST_BAR = 40
_SHORTEST_NAME, _LONGEST_NAME = 10, 60
# On a terminal, columns are left out in this order until the names have so much room.
_LEFT_OUT_FIRST, _ENOUGH = ("first", "sum", "last", "max"), 16

KeyOf = Callable[[Entry], str | None]


class Count:
    """The kills of one owner, or whatever they are counted by. Sizes: None, none is known."""

    def __init__(self) -> None:
        self.kills = 0
        self.total_bytes: int | None = None
        self.largest_bytes: int | None = None
        self.first_usec = 1 << 63
        self.last_usec = 0

    def add(self, entry: Entry) -> None:
        """One more."""
        self.kills += 1
        if (resident := entry.number("OOM_VICTIM_RSS_BYTES")) is not None:
            self.total_bytes = (self.total_bytes or 0) + resident
            self.largest_bytes = max(self.largest_bytes or 0, resident)
        self.first_usec = min(self.first_usec, entry.usec)
        self.last_usec = max(self.last_usec, entry.usec)


def run(options: Namespace) -> int:
    """Print the counts; return the exit status."""
    try:
        return _run(options)
    except (NoJournal, NotPermitted) as failure:
        if options.bare and options.quiet:  # a login stays quiet
            return failure.exit_status
        raise


def _run(options: Namespace) -> int:
    by = options.by or _DEFAULT_BY
    key_of = _key_of(by, Clock(utc=options.utc))
    selection = Selection(options, Source(options))
    if options.bare:
        return _bare(options, selection)
    counts: dict[str | None, Count] = {}
    missed = stuck = 0
    victims = selection.stuck()
    for entry in selection.entries():
        if entry.event == "missed":
            missed += entry.number("OOM_MISSED") or 0
        else:
            stuck += victims.holds(entry)
            counts.setdefault(key_of(entry), Count()).add(entry)
    if not counts and not missed:
        with Output(options) as output:
            if options.json == "pretty":
                output.line("[]")
        selection.warn()
        nothing.say(options, selection)
        return NOTHING_MATCHED
    rows = sorted(counts.items(), key=lambda row: _place(by, *row))
    with Output(options) as output:
        if options.json in (None, "off"):
            lines = _table(options, by, rows, output)
        else:
            from oomkilld.ctl import jsonform

            lines = jsonform.lines(_objects(by, rows, missed), options.json)
        for line in lines:
            output.line(line)
        if options.json in (None, "off") and not options.no_legend:
            kills = sum(count.kills for _name, count in rows)
            output.legend(total(kills, stuck), "The counts lack", selection.gaps(missed))
    selection.warn()
    if options.json not in (None, "off"):
        say_aside(options, selection.aside)
    return SHOWN


def _key_of(by: str, clock: Clock) -> KeyOf:
    keys: dict[str, KeyOf] = {
        "unit": lambda entry: entry.text("OOM_VICTIM_USER_UNIT") or entry.text("OOM_VICTIM_UNIT"),
        "container": lambda entry: whose.container(entry, "VICTIM"),
        "pod": lambda entry: whose.pod(entry, "VICTIM"),
        "comm": lambda entry: entry.text("OOM_VICTIM_COMM"),
        "slice": lambda entry: entry.text("OOM_VICTIM_SLICE"),
        "host": lambda entry: entry.shown_host,
        "day": lambda entry: _unless_unknown(clock.day(entry.usec)),
        "hour": lambda entry: _unless_unknown(clock.hour(entry.usec)),
        "domain": whose.domain,
        "source": lambda entry: entry.text("OOM_SOURCE"),
    }
    if by not in keys:
        raise WrongArguments(
            f"--by: found '{harmless(by)}', expected one of {', '.join(keys)}", "see `oomkillctl --help`"
        )
    return keys[by]


def _unless_unknown(time: str) -> str | None:
    return None if time == UNKNOWN else time


# By the name; None: unknown.
Rows = list[tuple[str | None, Count]]


def _place(by: str, name: str | None, count: Count) -> tuple[int, str]:
    """By time, or the most kills first."""
    return (count.first_usec if by in _OF_TIME else -count.kills), name or UNKNOWN


def _objects(by: str, rows: Rows, missed: int) -> Iterator[object]:
    for name, count in rows:
        yield {
            by: name,
            "kills": count.kills,
            "resident_bytes_total": count.total_bytes,
            "resident_bytes_largest": count.largest_bytes,
            "first_usec": count.first_usec,
            "last_usec": count.last_usec,
        }
    if missed:
        yield {by: None, "missed": missed}


# The head of each column, as wide as its cells, and what makes a cell.
Columns = dict[str, tuple[str, Callable[[Count], str]]]


def _columns(time_of: Callable[[int], str], zone: str) -> Columns:
    size = len(time_of(0))
    return {
        "kills": (f"{'KILLS':>6}", lambda count: f"{count.kills:>6}"),
        "sum": (f"{'RSS SUM':>8}", lambda count: f"{_size(count.total_bytes):>8}"),
        "max": (f"{'RSS MAX':>8}", lambda count: f"{_size(count.largest_bytes):>8}"),
        "first": (f"{'FIRST':<{size}}", lambda count: f"{time_of(count.first_usec):<{size}}"),
        "last": (f"{f'LAST{zone}':<{size}}", lambda count: f"{time_of(count.last_usec):<{size}}"),
    }


def _taken(columns: Columns) -> int:
    """With the blank before each."""
    return sum(1 + len(head) for head, _cell in columns.values())


def _fitting(clock: Clock, zone: str, output: Output, wanted: int) -> Columns:
    """Those that leave the names the ``wanted`` room on the terminal."""
    columns = _columns(clock.long, zone)
    if output.width is None or _taken(columns) + wanted <= output.width:
        return columns
    columns = _columns(clock.short, zone)
    for name in _LEFT_OUT_FIRST:
        if _taken(columns) + wanted <= output.width:
            break
        del columns[name]
        output.leave_out()
    return columns


def _table(options: Namespace, by: str, rows: Rows, output: Output) -> Iterator[str]:
    if not rows:
        return
    clock = Clock(utc=options.utc)
    zone = f" ({clock.zone})" if clock.zone else ""
    title = by.upper() + (zone if by in _OF_TIME else "")
    longest = max(width(name) for name in (title, *(name or UNKNOWN for name, _count in rows)))
    columns = _fitting(clock, zone, output, longest if by in _OF_TIME else min(longest, _ENOUGH))
    name_width, bar_width = longest, 0
    if output.width is not None:
        left = output.width - _taken(columns)
        name_width = min(longest, max(_SHORTEST_NAME, min(_LONGEST_NAME, left)))
        bar_width = min(left - name_width - 1, _LARGEST_BAR)
    most = max(count.kills for _name, count in rows)
    if not options.no_legend:
        head = " ".join([padded(title, name_width), *(head for head, _cell in columns.values())])
        yield output.coloured(head.rstrip(), "underline")
    for name, count in rows:
        known = name or UNKNOWN
        shown = known if output.width is None else output.noted(known, cut_within(known, name_width))
        line = " ".join([padded(shown, name_width), *(cell(count) for _head, cell in columns.values())])
        if bar_width >= _SMALLEST_BAR:
            line += " " + output.coloured("█" * max(1, round(count.kills / most * bar_width)), "red")
        yield line.rstrip()


def _size(size: int | None) -> str:
    return UNKNOWN if size is None else human_bytes(size)


def _bare(options: Namespace, selection: Selection) -> int:
    """One line; none if there is nothing to report, so that a login stays quiet."""
    last: Entry | None = None
    kills = missed = 0
    for entry in selection.entries():
        if entry.event == "missed":
            missed += entry.number("OOM_MISSED") or 0
        else:
            kills += 1
            last = entry if last is None or entry.usec >= last.usec else last
    missed += selection.aside
    if kills or missed:
        with Output(options) as output:
            output.line(_sentence(options, kills, missed, last))
    selection.warn()
    return SHOWN if kills or missed else NOTHING_MATCHED


def _sentence(options: Namespace, kills: int, missed: int, last: Entry | None) -> str:
    text = counted(kills, "OOM kill")
    if last is not None:
        owner = whose.owner(last)
        name = (last.text("OOM_VICTIM_COMM") or UNKNOWN) + (f" ({owner})" if owner else "")
        text += f", the last at {Clock(utc=options.utc).long(last.usec)}: {name}"
    return text + (f"; {missed} more without an entry" if missed else "") + "; see `oomkillctl list`"
