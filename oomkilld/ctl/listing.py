# SPDX-License-Identifier: Apache-2.0
"""The verb ``list``: a line per kill. What is missing is listed, too: a list that hides it lies."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import islice

from oomkilld.ctl import nothing
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.failures import NOTHING_MATCHED, SHOWN
from oomkilld.ctl.fieldnames import require
from oomkilld.ctl.folding import Folded, Folder
from oomkilld.ctl.options import ALL
from oomkilld.ctl.output import Output
from oomkilld.ctl.selection import Selection, say_aside, total
from oomkilld.ctl.source import Source
from oomkilld.ctl.table import Row, Table, oneline, row_of
from oomkilld.ctl.times import Clock
from oomkilld.lighttyping import TypeVar
from oomkilld.text import harmless

# Among so many, the newest kill is looked for: one that the service caught up with is recorded after later ones.
LAST = 64

Item = TypeVar("Item")


def run(options: Namespace) -> int:
    """Print the list; return the exit status."""
    refuse_field(options)
    source = Source(options)
    selection = Selection(options, source)
    with Output(options) as output:
        if options.field is not None:
            shown = print_lines(output, values(in_order(options, selection.entries, at_usec), options.field))
        elif options.json not in (None, "off"):
            shown = print_json(options, output, in_order(options, selection.entries, at_usec))
        elif options.oneline:
            clock = Clock(utc=options.utc)
            entries = in_order(options, selection.entries, at_usec)
            shown = print_lines(output, (oneline(entry, clock) for entry in entries))
        else:
            shown = _table(options, output, selection, Table(options, output, hosts=source.names_machines()))
    selection.warn()
    if shown:
        if options.field is not None or options.oneline or options.json not in (None, "off"):
            say_aside(options, selection.aside)
        return SHOWN
    nothing.say(options, selection)
    return NOTHING_MATCHED


def refuse_field(options: Namespace) -> None:
    """Raises WrongArguments if ``-F`` names no field."""
    if options.field is not None:
        require(options.field, f"{options.typed['field']}: found '{harmless(options.field)}'", "a field's name")


def at_usec(entry: Entry) -> int:
    """When it happened."""
    return entry.usec


def in_order(
    options: Namespace, items: "Callable[..., Iterator[Item]]", usec_of: Callable[[Item], int]
) -> Iterator[Item]:
    """All items, or the newest; the newest last, or first. ``items(backward=…)``: generates them as recorded."""
    if options.newest:
        last = [*islice(items(backward=True), LAST)]
        return iter([max(last, key=usec_of)] if last else [])
    newest = None if options.lines is None else min(options.lines, ALL)
    if options.reverse:
        return islice(items(backward=True), newest)
    if newest in (None, ALL):
        return items(backward=False)
    return reversed([*islice(items(backward=True), newest)])


def print_lines(output: Output, lines: Iterator[str]) -> int:
    """Print them; return how many."""
    count = 0
    for count, line in enumerate(lines, start=1):  # noqa: B007 # the last one counts
        output.line(line)
    return count


def values(entries: Iterator[Entry], field: str) -> Iterator[str]:
    """Each value once."""
    found: set[str] = set()
    for entry in entries:
        value = entry.text(field)
        if value is not None and value not in found:
            found.add(value)
            yield value


def print_json(options: Namespace, output: Output, entries: Iterator[Entry]) -> int:
    """Print whole entries; return how many."""
    from oomkilld.ctl import jsonform

    count = 0

    def objects() -> Iterator[object]:
        nonlocal count
        for entry in entries:
            count += 1
            yield jsonform.fields(entry)

    print_lines(output, jsonform.lines(objects(), options.json))
    return count


def _table(options: Namespace, output: Output, selection: Selection, table: Table) -> int:
    kills = missed = stuck = lines = 0
    victims = selection.stuck()

    def folded(*, backward: bool) -> Iterator[Folded[Row]]:
        folder = Folder[Row](folds=not options.all_members)
        for entry in selection.entries(backward=backward):
            yield from folder.add(entry, row_of(entry), is_stuck=victims.holds(entry))
        yield from folder.rest()

    rows = in_order(options, folded, lambda each: each.row.usec)
    for lines, each in enumerate(rows, start=1):  # the last one counts
        if lines == 1 and not options.no_legend:
            output.line(table.header())
        output.line(table.line(each.row, each.more, each.stuck))
        kills += (1 + each.more) * (each.row.event == "kill")
        missed += each.row.missed
        stuck += each.stuck
    if lines and not options.no_legend:
        output.legend(total(kills, stuck), "The list lacks", selection.gaps(missed))
    return lines
