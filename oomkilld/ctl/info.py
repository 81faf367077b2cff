# SPDX-License-Identifier: Apache-2.0
"""The verb ``info``: all facts of the newest kill, or of those that are selected, each with what belongs to it."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator

from oomkilld.ctl import leadup, machinefacts, nothing
from oomkilld.ctl.beside import Beside
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.failures import NOTHING_MATCHED, SHOWN
from oomkilld.ctl.folding import Folder
from oomkilld.ctl.killfacts import Facts, of_kill, process, span
from oomkilld.ctl.listing import LAST, at_usec, in_order, print_json, print_lines, refuse_field, values
from oomkilld.ctl.output import Output
from oomkilld.ctl.related import related
from oomkilld.ctl.say import note
from oomkilld.ctl.selection import Selection, say_aside
from oomkilld.ctl.sheet import Row, Sheet, group
from oomkilld.ctl.source import Source
from oomkilld.ctl.table import missed_text
from oomkilld.ctl.times import Clock
from oomkilld.text import counted

# Options that select kills: with one of these, all that match are shown.
_SELECTING = (
    *("matches", "since", "until", "boot", "lines", "newest", "unit", "user_unit", "slice", "container", "pod"),
    *("event", "source", "host"),
)
_SHEETS = ("kill", "spared", "unkillable")
_MOST_MISSED = 10
_MOST_OTHERS = 10

Entries = Callable[..., Iterator[Entry]]


def run(options: Namespace) -> int:
    """Print the sheets; return the exit status."""
    refuse_field(options)
    source = Source(options)
    selection = Selection(options, source)
    with Output(options) as output:
        if options.field is not None:
            shown = print_lines(output, values(_shown(options, selection.entries), options.field))
        elif options.json not in (None, "off"):
            shown = print_json(options, output, _shown(options, selection.entries))
        else:
            shown = _sheets(options, output, selection, Beside(source, selection.complain))
    selection.warn()
    if shown:
        say_aside(options, selection.aside)
        return SHOWN
    nothing.say(options, selection)
    return NOTHING_MATCHED


def _shown(options: Namespace, entries: Entries) -> Iterator[Entry]:
    """As for a list if the options select anything. Otherwise the newest kill, and what is missing since then."""
    if any(getattr(options, name) not in (None, False, []) for name in _SELECTING):
        return in_order(options, entries, at_usec)
    shown: list[Entry] = []
    newest: Entry | None = None
    reports = since = 0
    for count, entry in enumerate(entries(backward=True), start=1):
        if entry.event == "missed":
            reports += 1
            if reports <= _MOST_MISSED:
                shown.append(entry)
        elif newest is None or entry.usec > newest.usec:
            newest, since = entry, reports
        if newest is not None and count >= LAST:
            break
    if newest is None:
        since = reports
    if since > _MOST_MISSED and not options.quiet:
        note(f"and {since - _MOST_MISSED} more entries about missed kills: see `oomkillctl list --event missed`")
    shown = [*shown[:since], *([] if newest is None else [newest])]
    return iter(shown if options.reverse else shown[::-1])


def _sheets(options: Namespace, output: Output, selection: Selection, beside: Beside) -> int:
    def folded(*, backward: bool) -> Iterator[Entry]:
        """A group kill is one entry: that of the process which the kernel chose."""
        folder = Folder[Entry](folds=True)
        for entry in selection.entries(backward=backward):
            for each in folder.add(entry, entry):
                yield each.row
        for each in folder.rest():
            yield each.row

    sheet, clock, now_usec = Sheet(output), Clock(utc=options.utc), time.time_ns() // 1000
    count = 0
    for entry in _shown(options, folded):
        if count:
            output.line("")
        count += 1
        facts = Facts(entry, clock, now_usec, is_exact=options.full)
        for row in _rows(facts, beside, clock):
            for line in sheet.lines(row):
                output.line(line)
    output.hint("")
    return count


def _rows(facts: Facts, beside: Beside, clock: Clock) -> Iterator[Row]:
    if facts.entry.event not in _SHEETS:
        yield from group(_notice(facts))
        return
    yield from of_kill(facts)
    yield from group(machinefacts.candidates(facts))
    yield from group(machinefacts.filled(facts))
    yield from group(leadup.led_up(facts, beside))
    yield from group(machinefacts.machine(facts))
    tids = {facts.entry.number("OOM_VICTIM_TID")}
    yield from group(_others(beside, facts, tids))
    yield from group(_outcome(beside, facts.entry, clock))
    yield from group(_related(beside, facts.entry, frozenset(tid for tid in tids if tid is not None), clock))
    yield from group(facts.record())


def _notice(facts: Facts) -> Iterator[Row]:
    """An entry that is no kill."""
    entry = facts.entry
    if entry.event == "missed":
        yield Row("Missed", [missed_text(entry)], colour="yellow")
    yield Row("" if entry.event == "missed" else entry.event.capitalize(), facts.text("MESSAGE"), is_sentence=True)
    yield facts.when()
    yield facts.ids()
    if entry.event == "history":
        yield from leadup.history(entry, facts)
    yield from facts.record()


def _others(beside: Beside, facts: Facts, tids: set[int | None]) -> Iterator[Row]:
    """The other victims of the decision; adds their threads to ``tids``."""
    rows: list[Row] = []
    count = 0
    for count, entry in enumerate(beside.decision(facts.entry), start=1):
        tids.add(entry.number("OOM_VICTIM_TID"))
        if count <= _MOST_OTHERS or facts.is_exact:
            resident = entry.number("OOM_VICTIM_RSS_BYTES")
            size = [] if resident is None else [f"{facts.bytes(resident)} resident"]
            spared = ["spared, it was exiting already"] if entry.event == "spared" else []
            rows.append(Row("", [process(entry, "VICTIM"), *size, *spared]))
    if rows:
        yield Row("Others", [f"{counted(count, 'other process', 'other processes')} of the same decision"])
        yield from rows
        if count > len(rows):
            yield Row("", [f"and {count - len(rows)} more"])


def _outcome(beside: Beside, kill: Entry, clock: Clock) -> Iterator[Row]:
    """What became of the victim, as far as an entry says so."""
    label = "Outcome"
    for entry in beside.outcome(kill):
        after = entry.number("OOM_EXIT_AFTER_USEC")
        at = clock.marked(clock.long(entry.received_usec))
        if entry.event == "stuck":
            text = f"{at} {entry.text('MESSAGE')}"
        elif after is None:
            text = f"{at} gone, nobody saw when"
        else:
            text = f"gone {span(after)} after it was killed"
        yield Row(label, [text], is_sentence=True, colour="yellow" if entry.event == "stuck" else None)
        label = ""


def _related(beside: Beside, kill: Entry, tids: frozenset[int], clock: Clock) -> Iterator[Row]:
    label = "Related"
    for each in related(beside, kill, tids):
        yield Row(label, [f"{clock.marked(clock.of_day(each.usec))} {each.who}: {each.text}"], is_sentence=True)
        label = ""
