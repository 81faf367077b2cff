# SPDX-License-Identifier: Apache-2.0
"""What others wrote about a kill at that time: the kernel, systemd, and systemd-oomd.

Only fields that journald itself adds say who wrote an entry: anyone can send the rest.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from oomkilld.ctl.beside import ORIGIN, Beside, id_of
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.reader import Reader
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kernlog import grammar
from oomkilld.text import harmless

# Messages of systemd (sd-messages.h), about a unit: the OOM killer killed a process of it, it failed, its process
# exited, its restart is scheduled.
_OF_UNITS = (
    *("fe6faa94e7774663a0da52717891d8ef", "d9b373ed55a64feb8242e02dbe79a49c"),
    *("98e322203f7a4ed290d09fe03c09fe15", "5eb03494b6584870a536b337290809b3"),
)
_OF_OOMD = "d989611b15e44c9dbf31e3c81256e4ed"
_SECOND_USEC = 1_000_000
# systemd learns of the kill from the kernel, and before it writes of another one; the clocks may differ a little.
_BEFORE_USEC = _SECOND_USEC
# systemd-oomd tells what it does before that has an effect.
_OOMD_BEFORE_USEC = 10 * _SECOND_USEC
# A unit fails when its last process has ended, by default within 90 s (DefaultTimeoutStopSec=).
_AFTER_USEC = 120 * _SECOND_USEC
_KERNEL_BEFORE_USEC = 5 * _SECOND_USEC
_KERNEL_AFTER_USEC = 10 * _SECOND_USEC
_MOST = 10
_MOST_KERNEL_LINES = 5000
_GROUP = b"Tasks in /"
_REAPED = b"oom_reaper: reaped process %d ("


class Related(NamedTuple):
    """``text``: safe for a terminal. ``usec``: when journald received it."""

    usec: int
    who: str
    text: str


def related(beside: Beside, kill: Entry, chosen_tids: frozenset[int]) -> list[Related]:
    """At most a few of each, the oldest first. ``chosen_tids``: threads of all victims of the decision."""
    found: list[Related] = []
    for of_whom in (_of_kernel, _of_systemd, _of_oomd):
        reader = beside.reader(kill)
        if reader is None:
            continue
        with suppress(OSError):  # what follows damage cannot be found
            for each in of_whom(reader, kill, chosen_tids):
                found.append(each)  # noqa: PERF402 # what was found before the damage counts
    return sorted(found, key=lambda each: each.usec)


def _within(reader: Reader, begin_usec: int, end_usec: int) -> Iterator[int]:
    """Moves over what was received then; yields when."""
    reader.to_time(max(begin_usec, 0))
    while reader.next() and (at := reader.received_usec()) <= end_usec:
        yield at


def _origin(kill: Entry) -> list[tuple[str, str]]:
    return [(name, found) for name in ORIGIN if (found := id_of(kill, name)) is not None]


def _of_systemd(reader: Reader, kill: Entry, _tids: frozenset[int]) -> Iterator[Related]:
    """About the units: of the victim's, about the run in which it was."""
    about = [*_origin(kill), *(("MESSAGE_ID", message_id) for message_id in _OF_UNITS)]
    of_system = [("_PID", "1"), ("_UID", "0")]
    unit, domain, user_unit = (kill.text(f"OOM_{name}") for name in ("VICTIM_UNIT", "DOMAIN_UNIT", "VICTIM_USER_UNIT"))
    alternatives = []
    if unit:
        run = id_of(kill, "OBJECT_SYSTEMD_INVOCATION_ID")
        of_run = [] if run is None else [("INVOCATION_ID", run)]
        alternatives.append([*about, *of_system, ("UNIT", unit), *of_run])
    if domain and domain != unit:
        alternatives.append([*about, *of_system, ("UNIT", domain)])
    if unit and user_unit:
        of_user = [("_SYSTEMD_UNIT", unit), ("_SYSTEMD_USER_UNIT", "init.scope"), ("USER_UNIT", user_unit)]
        alternatives.append([*about, *of_user])
    if alternatives:
        reader.require(*alternatives)
        yield from _first(reader, "systemd", kill.usec - _BEFORE_USEC, kill.usec + _AFTER_USEC)


def _of_oomd(reader: Reader, kill: Entry, _tids: frozenset[int]) -> Iterator[Related]:
    reader.require([*_origin(kill), ("_SYSTEMD_UNIT", "systemd-oomd.service"), ("MESSAGE_ID", _OF_OOMD)])
    yield from _first(reader, "systemd-oomd", kill.usec - _OOMD_BEFORE_USEC, kill.usec + _AFTER_USEC)


def _first(reader: Reader, who: str, begin_usec: int, end_usec: int) -> Iterator[Related]:
    for at in islice(_within(reader, begin_usec, end_usec), _MOST):
        yield Related(at, who, _text(reader.field("MESSAGE")))


def _of_kernel(reader: Reader, kill: Entry, tids: frozenset[int]) -> Iterator[Related]:
    tid = kill.number("OOM_VICTIM_TID")
    if tid is None:
        return
    reader.require([*_origin(kill), ("_TRANSPORT", "kernel")])
    invoked: list[Related] = []
    header: list[Related] = []
    times = _within(reader, kill.usec - _KERNEL_BEFORE_USEC, kill.usec + _KERNEL_AFTER_USEC)
    for count, at in enumerate(times, start=1):
        line = reader.field("MESSAGE") or b""
        shown = Related(at, "kernel", _text(line))
        if grammar.invoked(line) is not None:
            invoked = [shown]
        elif grammar.is_chosen(line):
            # Of many headers, the kernel prints the first ones only: this one may be of another decision.
            header = [*invoked, shown] if _chosen_tid(line) in tids else []
        elif line.startswith(_GROUP) and header:
            header.append(shown)
        elif (killed := grammar.killed(line)) is not None and killed.tid == tid:
            yield from (*header, shown)
            header = []
        elif line.startswith(_REAPED % tid):
            yield shown
            return
        if count == _MOST_KERNEL_LINES:
            return


def _chosen_tid(line: bytes) -> int | None:
    """``…,task=java,pid=42,uid=0``: the name of the task may look like the rest, so the end is read."""
    _before, word, rest = line.rpartition(b",pid=")
    tid, _comma, _uid = rest.partition(b",uid=")
    return int(tid) if word and tid.isdigit() and len(tid) < 20 else None


def _text(message: bytes | None) -> str:
    return harmless((message or b"").decode(errors="surrogateescape"))
