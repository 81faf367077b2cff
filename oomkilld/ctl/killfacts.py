# SPDX-License-Identifier: Apache-2.0
"""The facts of a kill as a person asks for them: what was killed, whose limit it was, who asked for memory."""

from collections.abc import Iterator

from oomkilld.ctl import whose
from oomkilld.ctl.entry import Entry
from oomkilld.ctl.sheet import Row, group
from oomkilld.ctl.times import Clock
from oomkilld.host.cgrouppath import is_unit_name
from oomkilld.text import as_name, counted, human_bytes, quoted

_BY_HAND = -1  # OOM_ORDER of sysrq-f
_SECOND_USEC = 1_000_000
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_ALLOCATING_TASK = "oom_kill_allocating_task"
_HEADLINES = {"kill": "Killed", "spared": "Spared", "unkillable": "None Killed"}


class Facts:
    """``is_exact``: with exact bytes, and with what only few people ask for. ``now_usec``: to say how long ago."""

    def __init__(self, entry: Entry, clock: Clock, now_usec: int, *, is_exact: bool) -> None:
        self.entry = entry
        self._clock = clock
        self._now_usec = now_usec
        self.is_exact = is_exact

    def size(self, name: str, what: str) -> list[str]:
        """``30.6M resident``; nothing if the field is absent."""
        number = self.entry.number(name)
        return [] if number is None else [f"{self.bytes(number)} {what}".rstrip()]

    def bytes(self, number: int) -> str:
        """``30.6M``, with ``is_exact`` also in bytes."""
        return human_bytes(number) + (f" ({number})" if self.is_exact else "")

    def text(self, name: str, before: str = "", after: str = "") -> list[str]:
        """One item; nothing if the field is absent."""
        value = self.entry.text(name)
        return [] if value is None else [f"{before}{value}{after}"]

    def when(self) -> Row:
        """When it happened, and how long ago that is."""
        usec = self.entry.usec
        at = self._clock.marked(self._clock.long(usec))
        passed = (self._now_usec - usec) // _SECOND_USEC
        return Row("When", [at + (f" ({_about(passed)} ago)" if passed >= 0 else "")])

    def ids(self) -> Row:
        """Of the kill, and with ``is_exact`` also of its decision."""
        return Row("ID", [*self.text("OOM_KILL_ID"), *(self.text("OOM_DECISION_ID", "decision ") * self.is_exact)])

    def victim(self) -> Iterator[Row]:
        """What was killed."""
        entry = self.entry
        resident = self.size("OOM_VICTIM_RSS_BYTES", "resident")
        headline = _HEADLINES[entry.event]
        who = [process(entry, "VICTIM")] if entry.event != "unkillable" else ["the kernel found no process to kill"]
        yield Row(headline, [*who, *resident], colour="bold")
        yield self.when()
        yield self.ids()
        yield from self._owner("VICTIM")
        yield Row("User", self.text("OOM_VICTIM_UID"))
        yield Row("Program", self.text("OOM_VICTIM_EXE_NAME"))
        yield Row("Command Line", self.text("OOM_VICTIM_CMDLINE"))
        yield Row("Parent", self._parent("VICTIM"))
        yield Row("Started", self._started())
        if self.is_exact:
            yield Row("Thread", self.text("OOM_VICTIM_TID"))
        yield Row("Own PID", self._own_pid("VICTIM"))
        yield Row("Memory", [item for name, what in _MEMORY for item in self.size(f"OOM_VICTIM_{name}_BYTES", what)])
        points = [*self.text("OOM_VICTIM_BADNESS", "badness ", " pages")]
        yield Row("Score", [*points, *self.text("OOM_VICTIM_OOM_SCORE_ADJ", "oom_score_adj ")])

    def limit(self) -> Iterator[Row]:
        """Whose limit was reached, and how much of it was in use."""
        name = whose.domain(self.entry)
        if name is None:
            return
        yield Row("Limit of", [self._domain(name), *self._above()])
        yield self._usage("Usage", "OOM_DOMAIN_USAGE_BYTES", whose.limit_bytes(self.entry))
        yield self._usage("Swap", "OOM_DOMAIN_SWAP_USAGE_BYTES", self.entry.number("OOM_DOMAIN_SWAP_LIMIT_BYTES"))
        yield Row("Peak", self.size("OOM_DOMAIN_PEAK_BYTES", ""))
        yield Row("High", self.size("OOM_DOMAIN_HIGH_BYTES", "(memory.high)"))
        yield Row("Tasks", self.text("OOM_DOMAIN_TASKS"))
        yield Row("So far", self._so_far())

    def asker(self) -> Iterator[Row]:
        """Who asked for memory."""
        entry = self.entry
        order = entry.number("OOM_ORDER")
        items = self.size("OOM_ORDER_BYTES", "")
        wanted = [f"for {items[0]}"] if items else []
        if self.is_exact:
            wanted += self.text("OOM_ORDER", "order ")
        wanted += self.text("OOM_GFP_FLAGS")
        if order == _BY_HAND:
            yield Row("Asked by", ["hand (sysrq-f)"])
            return
        if entry.number("OOM_TRIGGER_PID") is None and entry.text("OOM_TRIGGER_COMM") is None:
            return
        pid = entry.number("OOM_TRIGGER_PID")
        is_victim = pid is not None and pid == entry.number("OOM_VICTIM_PID")
        who = process(entry, "TRIGGER")
        yield Row("Asked by", [f"{who}, the victim itself" if is_victim else who, *wanted])
        if not is_victim:
            parent = [f"parent {parent}" for parent in self._parent("TRIGGER")]
            user, program = self.text("OOM_TRIGGER_UID", "user "), self.text("OOM_TRIGGER_EXE_NAME", "program ")
            yield Row("", [*user, *program, *parent])
            yield Row("", self.text("OOM_TRIGGER_CMDLINE", "command line "))
        if _ALLOCATING_TASK in (entry.text("OOM_REASON") or ""):
            yield Row("", [f"the kernel kills whoever asks ({_ALLOCATING_TASK})"])

    def record(self) -> Iterator[Row]:
        """How the kill was recorded."""
        entry = self.entry
        items = self.text("OOM_SOURCE", "at level ")
        if "OOM_TIMESTAMP" in entry.fields and (late := entry.received_usec - entry.usec) >= 0:
            items.append(f"{span(late)} after the kill")
        if entry.text("OOM_DETAIL") == "reduced":
            items.append("in a flood, with less detail")
        yield Row("Recorded", items)
        yield Row("Host", [host] if (host := entry.shown_host) else [])
        yield Row("Kernel", self.text("OOM_KERNEL_RELEASE"))
        if self.is_exact:
            yield Row("Boot", self.text("_BOOT_ID"))

    def _owner(self, role: str) -> Iterator[Row]:
        pod, container = whose.pod(self.entry, role), whose.container(self.entry, role)
        yield Row("Pod", ([pod] if pod else []) + (self.text(f"OOM_{role}_POD_UID", "uid ") * self.is_exact))
        runtime = self.text(f"OOM_{role}_CONTAINER_RUNTIME")
        name = self.text(f"OOM_{role}_CONTAINER_NAME")
        yield Row("Container", [*name, container, *runtime] if container else [])
        yield Row("User Unit", self.text(f"OOM_{role}_USER_UNIT"))
        yield Row("Unit", self.text(f"OOM_{role}_UNIT"))
        yield Row("Slice", self.text(f"OOM_{role}_SLICE"))
        yield Row("Session", self.text(f"OOM_{role}_SESSION"))
        yield Row("In Machine", self.text(f"OOM_{role}_MACHINE"))
        yield Row("Cgroup", self.text(f"OOM_{role}_CGROUP"))
        inner, runtime = whose.inner_container(self.entry, role), self.text(f"OOM_{role}_INNER_CONTAINER_RUNTIME")
        yield Row("Inside", [f"container {inner}", *runtime, "as its owner names it"] if inner else [])

    def _parent(self, role: str) -> list[str]:
        pid = self.entry.text(f"OOM_{role}_PARENT_PID")
        return [] if pid is None else [with_name(pid, self.entry.text(f"OOM_{role}_PARENT_COMM"))]

    def _own_pid(self, role: str) -> list[str]:
        own = self.entry.text(f"OOM_{role}_NS_PID")
        return [] if own in (None, self.entry.text(f"OOM_{role}_PID")) else [f"{own} in its PID namespace"]

    def _started(self) -> list[str]:
        age, start = self.entry.number("OOM_VICTIM_AGE_USEC"), self.entry.number("OOM_VICTIM_START_TIMESTAMP")
        return ([] if start is None else [self._clock.marked(self._clock.long(start))]) + (
            [] if age is None else [f"{span(age)} before it was killed"]
        )

    def _domain(self, name: str) -> str:
        kind = self.entry.text("OOM_DOMAIN")
        if kind == "host":
            return "the whole machine"
        path = self.entry.text("OOM_DOMAIN_CGROUP")
        return name if path in (None, name) else f"{name} (cgroup {path})"

    def _above(self) -> list[str]:
        domain, victim = self.entry.text("OOM_DOMAIN_CGROUP"), self.entry.text("OOM_VICTIM_CGROUP")
        owner = whose.owner(self.entry)
        is_above = domain and victim and owner and victim.startswith(domain.rstrip("/") + "/")
        return [f"an ancestor of {owner}"] if is_above and owner != whose.owner(self.entry, "DOMAIN") else []

    def _so_far(self) -> list[str]:
        """How often something happened to the domain; what never did is left out."""
        items = []
        for event, one, more in _EVENTS:
            count = self.entry.number(f"OOM_DOMAIN_EVENTS_{event}")
            if count is not None and count > 0:
                items.append(counted(count, one, more))
        return items

    def _usage(self, label: str, name: str, limit: int | None) -> Row:
        usage = self.entry.number(name)
        if limit is None:
            return Row(label, [] if usage is None else [f"{self.bytes(usage)} in use, without a limit"])
        if usage is None:
            return Row(label, [f"a limit of {self.bytes(limit)}"])
        share = usage / limit if limit > 0 else None
        # Rounded down: it is 100% only if nothing was left.
        percent = [f"{usage * 100 // limit}%"] if limit > 0 else []
        return Row(label, [f"{self.bytes(usage)} of {self.bytes(limit)}", *percent], share=share)


_MEMORY = (
    *(("RSS_ANON", "anonymous"), ("RSS_FILE", "of files"), ("RSS_SHMEM", "shared"), ("SWAP", "swapped out")),
    *(("PGTABLES", "page tables"), ("TOTAL_VM", "address space")),
)
_EVENTS = (
    ("MAX", "time at its limit", "times at its limit"),
    ("HIGH", "time above memory.high", "times above memory.high"),
    ("OOM_KILL", "OOM kill", "OOM kills"),
)


def process(entry: Entry, role: str) -> str:
    """``4242 (java, app.service)``; of a process whose number is unknown, its thread."""
    pid = entry.text(f"OOM_{role}_PID")
    if pid is None:
        tid = entry.text(f"OOM_{role}_TID")
        pid = "a process" if tid is None else f"thread {tid}"
    owner = whose.owner(entry, role)
    return with_name(pid, entry.text(f"OOM_{role}_COMM"), *([] if owner is None else [owner]))


def with_name(pid: str, name: str | None, *more: str) -> str:
    """``4242 (java, app.service)``: a process by its number, and what else is known of it."""
    words = [*([] if name is None else [_process_name(name)]), *more]
    return f"{pid} ({', '.join(words)})" if words else pid


def _process_name(name: str) -> str:
    """In quotes if it could be read as more than a name, as in MESSAGE."""
    return quoted(name) if is_unit_name(name.encode(errors="replace")) else as_name(name)


def span(usec: int) -> str:
    """``35 ms``, ``2.5 s``, ``3 hours``."""
    if usec < 1000:
        return f"{usec} µs"
    if usec < _SECOND_USEC:
        return f"{usec / 1000:.3g} ms"
    return f"{usec / _SECOND_USEC:.3g} s" if usec < 100 * _SECOND_USEC else _about(usec // _SECOND_USEC)


def _about(seconds: int) -> str:
    """In the largest unit of which there are two."""
    size, name = next((unit for unit in _UNITS if seconds >= 2 * unit[0]), _UNITS[-1])
    number = seconds // size
    return f"{number} {name}{'s' * (number != 1)}"


def of_kill(facts: Facts) -> Iterator[Row]:
    """The groups that stand before what filled the limit."""
    yield from group(facts.victim())
    yield from group(facts.limit())
    yield from group(facts.asker())
