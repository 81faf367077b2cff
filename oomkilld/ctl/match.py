# SPDX-License-Identifier: Apache-2.0
"""Which entries are wanted: MATCH as coredumpctl tells them apart, and the options that select.

Several values of one kind are alternatives; different kinds must all hold. What compares whole values is also given to
sd_journal, which finds such entries by its index.
"""

import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator

from oomkilld.ctl.fieldnames import require
from oomkilld.ctl.times import last_usec_of, usec_of
from oomkilld.errors import WrongArguments
from oomkilld.host.cgrouppath import is_unit_name
from oomkilld.lighttyping import NamedTuple
from oomkilld.text import harmless, printable

EVENTS = ("kill", "spared", "unkillable", "stuck", "gone", "missed", "level", "history")
DEFAULT_EVENTS = frozenset(("kill", "missed"))
LEVELS = ("kprobe", "fentry", "tracepoint", "kmsg")
SENT_BY_ROOT = (("_UID", "0"), ("SYSLOG_IDENTIFIER", "oomkilld"))
# Kinds of a MATCH; of FIELD=VALUE it is the field's name.
ID, NAME, PID, POD, UNIT = "id", "name", "pid", "pod", "unit"
_ID = re.compile(r"[0-9a-fA-F]{8,64}")
_POD_UID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_COMM_BYTES = 15  # TASK_COMM_LEN of the kernel, without the final NUL
_ROLES = ("VICTIM", "DOMAIN")


class Term(NamedTuple):
    """``how``: the value is ``whole``, or ``begins`` so, or ``differs`` from the begin; or is ``like`` a pattern."""

    field: str
    value: str
    how: str = "whole"

    def holds(self, value: str | None) -> bool:
        """Whether the field's value, None: absent, is as wanted."""
        if value is None or self.how == "differs":
            return self.how == "differs" and not (value or "").startswith(self.value)
        if self.how == "whole":
            return value == self.value
        if self.how == "begins":
            return value.startswith(self.value)
        from fnmatch import fnmatchcase

        return fnmatchcase(value, self.value)


# Alternatives, of each of which all terms must hold.
Alternatives = tuple[tuple[Term, ...], ...]


class Query(NamedTuple):
    """``events``: None for all. ``conditions``: all must hold. Times in microseconds; None: no bound."""

    events: frozenset[str] | None
    conditions: tuple[Alternatives, ...]
    since_usec: int | None
    until_usec: int | None
    hosts: tuple[str, ...]

    def holds(self, value_of: Callable[[str], str | None]) -> bool:
        """Whether an entry meets all conditions; ``value_of``: its value of a field."""
        return all(
            any(all(term.holds(value_of(term.field)) for term in terms) for terms in alternatives)
            for alternatives in self.conditions
        )

    def is_in_time(self, usec: int) -> bool:
        """Whether something that happened then is wanted."""
        return (self.since_usec is None or usec >= self.since_usec) and (
            self.until_usec is None or usec <= self.until_usec
        )

    def is_of_host(self, host: str | None, shown: str | None) -> bool:
        """Whether a machine is wanted, by its name or by the text that a list shows; patterns are for the name only.

        A sender may claim any name, and the text has it.
        """
        return any(wanted in (host, shown) or Term("_HOSTNAME", wanted, "like").holds(host) for wanted in self.hosts)

    def found_by_index(self, boot: str | None) -> Iterator[list[list[tuple[str, str]]]]:
        """What Reader.require() can find. Entries about missed kills fit any victim, so they remain."""
        events = [("OOM_EVENT", event) for event in self.events or ()]
        yield [[*SENT_BY_ROOT, *events, *([("_BOOT_ID", boot)] if boot else [])]]
        for alternatives in self.conditions:
            found = [[(term.field, term.value) for term in terms if term.how == "whole"] for terms in alternatives]
            if all(found):
                yield [*found, [("OOM_EVENT", "missed")]]


def query(options: Namespace, events: frozenset[str] | None = DEFAULT_EVENTS) -> Query:
    """What the options and matches select; ``events``: without ``--event``. Raises WrongArguments."""
    by_kind: dict[str, list[tuple[Term, ...]]] = {}
    for word in options.matches:
        kind, alternatives = _match(word)
        by_kind.setdefault(kind, []).extend(alternatives)
    for option, alternatives_of in _SELECTING.items():
        for value in getattr(options, option):
            by_kind.setdefault(f"--{option}", []).extend(alternatives_of(value))
    since = None if options.since is None else usec_of(options.since, options.typed["since"])
    until = None if options.until is None else last_usec_of(options.until, options.typed["until"])
    if since is not None and until is not None and since > until:
        raise WrongArguments(f"{options.typed['since']} is later than {options.typed['until']}", "swap them")
    named = getattr(options, "event", None)
    return Query(
        events if named is None else _events(named),
        tuple(tuple(alternatives) for alternatives in by_kind.values()),
        since,
        until,
        tuple(options.host),
    )


def _events(text: str) -> frozenset[str] | None:
    names = text.split(",")
    if names == ["all"]:
        return None
    for name in names:
        if name not in EVENTS:
            raise WrongArguments(
                f"--event: found '{harmless(name)}', expected one of {', '.join(EVENTS)}, or 'all'",
                "separate several by commas",
            )
    return frozenset(names)


def _match(word: str) -> tuple[str, Iterable[tuple[Term, ...]]]:
    """The kind of a MATCH, and its alternatives."""
    if "=" in word:
        field, _equals, value = word.partition("=")
        require(field, f"found '{harmless(word)}'", "FIELD=VALUE")
        return field, [(Term(field, value),)]
    if word == "":
        raise WrongArguments("found an empty MATCH", "see `oomkillctl --help`")
    if _ID.fullmatch(word):
        ids = ("OOM_KILL_ID", "OOM_DECISION_ID", *(f"OOM_{role}_CONTAINER_ID" for role in _ROLES))
        return ID, [(Term(field, word.lower(), "begins"),) for field in ids]
    if _POD_UID.fullmatch(word):
        return POD, [(Term(f"OOM_{role}_POD_UID", word.lower()),) for role in _ROLES]
    if "/" in word:
        word = word.rstrip("/").rpartition("/")[2]
    elif word.isascii() and word.isdigit():
        return PID, [(Term("OOM_VICTIM_PID", str(int(word))),)]
    elif is_unit_name(word.encode(errors="surrogateescape")):
        return UNIT, [*_unit(word), *_user_unit(word)]
    return NAME, [*_process(word), *((Term(f"OOM_{role}_POD_NAME", word),) for role in _ROLES)]


def kind_of(word: str) -> str:
    """The kind of a MATCH that query() accepts."""
    return _match(word)[0]


def _process(name: str) -> Iterator[tuple[Term, ...]]:
    """By its program, or by its thread's name, which the kernel cuts."""
    raw = name.encode(errors="surrogateescape")
    cut = raw[:_COMM_BYTES]
    whole, begin = printable(raw), printable(cut)
    yield (Term("OOM_VICTIM_EXE_NAME", whole),)
    # The name of the program may show that another one was cut.
    yield (Term("OOM_VICTIM_COMM", begin), *([] if cut == raw else [Term("OOM_VICTIM_EXE_NAME", begin, "differs")]))
    if whole != name:  # it may be copied from such a field
        yield (Term("OOM_VICTIM_EXE_NAME", name),)
        yield (Term("OOM_VICTIM_COMM", name),)


def _is_pattern(text: str) -> bool:
    return re.search(r"[*?\[]", text) is not None


def _like(kind: str, value: str) -> list[tuple[Term, ...]]:
    how = "like" if _is_pattern(value) else "whole"
    return [(Term(f"OOM_{role}_{kind}", value, how),) for role in _ROLES]


def _with_suffix(name: str, suffix: str) -> str:
    """As journalctl completes a unit's name."""
    return name if is_unit_name(name.encode(errors="surrogateescape")) or _is_pattern(name) else name + suffix


def _unit(name: str) -> list[tuple[Term, ...]]:
    """A slice is a unit, too, and has a field of its own."""
    is_of_slices = name.endswith(".slice") or _is_pattern(name)
    return [*_like("UNIT", _with_suffix(name, ".service")), *(_like("SLICE", name) if is_of_slices else ())]


def _user_unit(name: str) -> list[tuple[Term, ...]]:
    return _like("USER_UNIT", _with_suffix(name, ".service"))


def _slice(name: str) -> list[tuple[Term, ...]]:
    return _like("SLICE", _with_suffix(name, ".slice"))


def _container(value: str) -> list[tuple[Term, ...]]:
    by_id = [(Term(f"OOM_{role}_CONTAINER_ID", value.lower(), "begins"),) for role in _ROLES]
    return [*_like("CONTAINER_NAME", value), *(by_id if value else [])]


def _pod(value: str) -> list[tuple[Term, ...]]:
    """A name, a uid, or namespace/name, as the list shows it."""
    namespace, slash, name = value.partition("/")
    if slash:
        pairs = zip(_like("POD_NAMESPACE", namespace), _like("POD_NAME", name), strict=True)
        return [(*of_namespace, *of_name) for of_namespace, of_name in pairs]
    return [*_like("POD_NAME", value), *_like("POD_UID", value)]


def _source(value: str) -> list[tuple[Term, ...]]:
    if value not in LEVELS:
        raise WrongArguments(
            f"--source: found '{harmless(value)}', expected one of {', '.join(LEVELS)}", "see oomkilld(8)"
        )
    return [(Term("OOM_SOURCE", value),)]


_SELECTING: dict[str, Callable[[str], list[tuple[Term, ...]]]] = {
    "unit": _unit,
    "user_unit": _user_unit,
    "slice": _slice,
    "container": _container,
    "pod": _pod,
    "source": _source,
}
