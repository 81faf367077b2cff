# SPDX-License-Identifier: Apache-2.0
"""The texts of packaging/oomkilld.catalog, and entries of each kind without every field that may be absent."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from oomkilld import recordlayout, schema
from oomkilld.host.kubelet import PodDirectory
from oomkilld.record.enrich.cause import Cause, cause_of
from oomkilld.record.enrich.enrich import Context
from oomkilld.record.enrich.memcgusage import Contents
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.sample import Sample
from oomkilld.record.entry.killentry import kill_entry, victim_fields
from oomkilld.record.entry.notices import gone_entry, level_entry, missed_entry, stuck_entry
from oomkilld.record.history.before import NOTHING_KNOWN, Before
from oomkilld.record.history.entry import Report, history_entry
from oomkilld.record.history.rings import HOST, Rings
from oomkilld.record.kill import Gone, KillRecord, Stuck, Victim
from oomkilld.record.unkillable import unkillable_entry
from tests.unit.records import ORIGIN, kill_of

CATALOG = Path(__file__).parents[2] / "packaging/oomkilld.catalog"
PASTED = re.compile(r"@(\w+)@")
_IDENTIFIER = Identifier(PodDirectory(), lambda _unit, _kill: None, lambda _tid, _ns: None)
_SAMPLE = Sample(0, 0, None, {}, {}, {})

Fields = dict[str, str]


def texts() -> dict[str, str]:
    """By MESSAGE_ID, as journalctl shows them: without pasted fields."""
    lines = [line for line in CATALOG.read_text().splitlines() if not line.startswith("#")]
    _nothing, *parts = re.split(r"^-- ([0-9a-f]{32})$", "\n".join(lines), flags=re.MULTILINE)
    return {parts[at]: parts[at + 1].strip("\n") for at in range(0, len(parts), 2)}


def shown(text: str, entry: Mapping[str, str]) -> str:
    """``text`` with the fields of ``entry`` pasted. Fails if one is absent: journalctl would show its bare name."""
    lacking = {name for name in PASTED.findall(text) if name not in entry}
    assert not lacking, f"the text for OOM_EVENT={entry['OOM_EVENT']} pastes what this entry lacks: {lacking}: {entry}"
    return PASTED.sub(lambda found: entry[found[1]], text)


def entries() -> Iterator[Fields]:
    """Entries as the service makes them: of each kind with every field, and without optional ones."""
    for kill in _kills():
        for of_the_kind in (kill, kill._replace(spared=1)):
            yield _entry(of_the_kind)
            yield _entry(of_the_kind, reduced=True)
        yield _unkillable(kill)
        if kill.victim_pid is not None:  # else it is not watched, see outcome.py
            victim = _victim(kill)
            for state in ("D", None):
                yield _fields(stuck_entry(Stuck(victim, 10**10, state), ORIGIN))
            for after_ns in (10**10, None):
                yield _fields(gone_entry(Gone(victim, after_ns), ORIGIN))
    yield _fields(missed_entry(1, 2, "ring-full", ORIGIN))
    yield _fields(missed_entry(1, 1, "before-first-start", ORIGIN))
    report = Report("0" * 32, Before(9, NOTHING_KNOWN, None, None, []), 0, None, None)
    yield _fields(history_entry(report, Rings(HOST), 9, ORIGIN))
    yield _fields(level_entry("kprobe", {}, ORIGIN))
    yield _fields(level_entry(None, {"kprobe": "none here"}, ORIGIN))


def _kills() -> Iterator[KillRecord]:
    """A kill with every fact, kills without one of them, one without any, and one from a kernel log with few lines."""
    facts = (*recordlayout.fact_bits(), *recordlayout.TEXTS)
    yield kill_of()
    yield from (kill_of(unknown=(fact,)) for fact in facts)
    least = kill_of(unknown=facts)
    yield least
    yield least._replace(victim_pid=None, trigger_pid=None, trigger_tid=None, logged_usec=1)


def _entry(kill: KillRecord, *, reduced: bool = False) -> Fields:
    return _fields(kill_entry(kill, *_cause_and_context(kill, reduced=reduced), ORIGIN))


def _unkillable(kill: KillRecord) -> Fields:
    return _fields(unkillable_entry(kill, *_cause_and_context(kill, reduced=False), ORIGIN))


def _cause_and_context(kill: KillRecord, *, reduced: bool) -> tuple[Cause, Context]:
    trigger, victim, domain = _IDENTIFIER.of_kill(kill)
    contents = Contents({"anon": 1}, [(b"/a", 1)]) if domain else None
    context = Context(_SAMPLE, trigger, victim, domain, invocation_id=None, contents=contents, reduced=reduced)
    return cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes), context


def _victim(kill: KillRecord) -> Victim:
    assert kill.victim_pid is not None
    told = victim_fields(f"{name}={value}".encode() for name, value in _entry(kill).items())
    return Victim(kill.victim_pid, kill.victim_start_boottime_ns, kill.kill_boottime_ns, told)


def _fields(raw: list[bytes]) -> Fields:
    return dict(field.decode().split("=", 1) for field in raw)


def mentioned(text: str) -> set[str]:
    """Fields that the text names or pastes."""
    return set(re.findall(r"\bOOM_\w+", text)) & {field.name for field in schema.FIELDS}
