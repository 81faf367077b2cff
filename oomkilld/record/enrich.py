# SPDX-License-Identifier: Apache-2.0
"""Adds to a kill what only user space can tell: the machine's state right after, and whose everything was."""

import time

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.cause import Cause
from oomkilld.record.contents import Contents, ContentsReader
from oomkilld.record.decode import KillRecord
from oomkilld.record.detail import Detail
from oomkilld.record.identify import Identifier, Identity
from oomkilld.record.procfs import ProcReader
from oomkilld.record.rows import LoadAverage, MeminfoRow, Stall
from oomkilld.record.wanted import Wanted, kept

# Later than this after the kill, a reading says nothing about it.
MAX_SAMPLE_DELAY_NS = 10 * 10**9


class Clock(Protocol):
    """The kernel's clocks, in nanoseconds."""

    def boottime_ns(self) -> int:
        """Since boot, including suspend: the clock of the records."""

    def realtime_ns(self) -> int:
        """Since 1970."""

    def monotonic_ns(self) -> int:
        """For deadlines."""


class KernelClock:
    """The real clocks. ``boottime_offset_ns``: of this time namespace, which the kernel's records know nothing of."""

    def __init__(self, boottime_offset_ns: int = 0) -> None:
        self._boottime_offset_ns = boottime_offset_ns

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME of the machine."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._boottime_offset_ns

    def realtime_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()


class Sample(NamedTuple):
    """State of the machine after a kill. None or empty: not to be read, too late to mean anything, or not wanted."""

    delay_ns: int
    boot_realtime_ns: int  # the wall clock's time of the boot, by the wall clock of now
    load_average: LoadAverage | None
    meminfo: dict[str, MeminfoRow]
    pressure: dict[str, dict[str, Stall]]  # by resource and kind
    vmstat: dict[str, int]


class ShownCommandLines(NamedTuple):
    """Arguments separated by spaces, secrets hidden. None: not known, or not wanted."""

    trigger: bytes | None
    victim: bytes | None


NO_COMMAND_LINES = ShownCommandLines(None, None)


class CommandLines(Protocol):
    """See cmdline.CommandLines."""

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether ``shown()`` need not be waited for; ``more``: others wait behind it."""

    def shown(self, kill: KillRecord) -> ShownCommandLines:
        """Of this kill."""


class Context(NamedTuple):
    """All that user space adds to a kill. None: not known, or there is none."""

    sample: Sample
    trigger: Identity | None
    victim: Identity | None
    domain: Identity | None  # the cgroup whose limit was hit
    invocation_id: bytes | None  # of the victim's unit
    contents: Contents | None  # of the domain, right after
    reduced: bool  # one of a flood: only what matters most is told
    command_lines: ShownCommandLines = NO_COMMAND_LINES


class _Found(NamedTuple):
    """What was read last, of which domain (None: the machine) and for which decision."""

    domain: bytes | None
    decision: tuple[int | None, ...]
    read_boottime_ns: int
    contents: Contents

    def tells_nothing_of(self, decision: tuple[int | None, ...], killed_boottime_ns: int) -> bool:
        """It was read before that kill, for another decision."""
        return self.decision != decision and self.read_boottime_ns < killed_boottime_ns


class Enricher:
    """Puts the context of a kill together. ``command_lines`` None: they are not wanted."""

    def __init__(
        self,
        sampler: "Sampler",
        identifier: Identifier,
        contents: ContentsReader,
        detail: Detail,
        command_lines: CommandLines | None = None,
    ) -> None:
        self._sampler = sampler
        self._identifier = identifier
        self._contents = contents
        self._detail = detail
        self._command_lines = command_lines
        self._found: _Found | None = None

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether nothing is waited for before ``context()``; ``more``: others wait behind it."""
        return self._command_lines is None or self._command_lines.ready(kill, more=more)

    def context(self, kill: KillRecord, cause: Cause) -> Context:
        """Look now, at what changes soonest first. What cannot be read costs only its fields."""
        reduced = self._detail.reduced(kill, cause)
        sample = self._sampler.sample(kill, reduced=reduced)
        fresh = sample.delay_ns <= MAX_SAMPLE_DELAY_NS
        read_ns = kill.kill_boottime_ns + sample.delay_ns
        contents = self._contents_of(kill, cause, read_ns) if fresh and not reduced else None
        trigger, victim, domain = self._identifier.of_kill(kill)
        return Context(
            sample=sample,
            trigger=trigger,
            victim=victim,
            domain=domain,
            invocation_id=self._identifier.invocation_of(victim, kill) if fresh else None,
            contents=contents,
            reduced=reduced,
            command_lines=self._command_lines.shown(kill) if self._command_lines else NO_COMMAND_LINES,
        )

    def _contents_of(self, kill: KillRecord, cause: Cause, read_ns: int) -> Contents | None:
        """Once for a decision: of a group the first kill is the one that tells most, and one reading serves all.

        And once for the kills in one domain that waited for it: a newer reading tells less of them.
        """
        domain = None if cause.domain == "host" else kill.domain_cgroup
        # Of a path that is cut, there is another one's group.
        if cause.domain != "host" and (domain is None or kill.domain_cgroup_cut):
            return None
        decision = (kill.trigger_tid, kill.decision_boottime_ns, kill.decision_logged_usec)
        found = self._found
        if found is None or found.domain != domain or found.tells_nothing_of(decision, kill.kill_boottime_ns):
            contents = self._contents.read(domain, first=(kill.victim_cgroup, kill.trigger_cgroup))
            self._found = found = _Found(domain, decision, read_ns, contents)
        return found.contents


class Sampler:
    """Takes the sample for a kill; ``wanted`` are the rows to keep."""

    def __init__(self, proc: ProcReader, clock: Clock, wanted: Wanted) -> None:
        self._proc = proc
        self._clock = clock
        self._wanted = wanted
        self._read: dict[bool, tuple[int, Sample]] = {}  # the last one, reduced or not, and when

    def sample(self, kill: KillRecord, *, reduced: bool = False) -> Sample:
        """Of right after the kill; ``reduced``: the load average only. What cannot be read costs only its fields.

        One reading serves all kills that waited for it: it is nearer to them than a new one, and what waits gets less.
        """
        killed_ns = kill.kill_boottime_ns
        last = self._read.get(reduced)
        if last is not None and 0 <= last[0] - killed_ns <= MAX_SAMPLE_DELAY_NS:
            return last[1]._replace(delay_ns=last[0] - killed_ns)
        now_ns = self._clock.boottime_ns()
        nothing = Sample(max(0, now_ns - killed_ns), self._clock.realtime_ns() - now_ns, None, {}, {}, {})
        if nothing.delay_ns > MAX_SAMPLE_DELAY_NS:
            return nothing
        reading = self._load_only(nothing) if reduced else self._whole(nothing)
        self._read[reduced] = now_ns, reading
        return reading

    def _load_only(self, nothing: Sample) -> Sample:
        return nothing._replace(load_average=self._load_average())

    def _whole(self, nothing: Sample) -> Sample:
        return nothing._replace(
            load_average=self._load_average(),
            meminfo=self._meminfo(),
            pressure=kept(self._proc.pressure(), self._wanted.pressure),
            vmstat=self._vmstat(),
        )

    def open_files(self) -> None:
        """Now, rather than at the first kill, when there may be no room. What is not to be had is asked for again."""
        self._load_average()
        self._meminfo()
        self._proc.pressure()
        self._vmstat()

    def without_row(self, keys: list[str]) -> list[str]:
        """Of these keys those that this kernel's /proc/meminfo has not."""
        rows = self._proc.meminfo()
        return [key for key in keys if key not in rows]

    def _load_average(self) -> LoadAverage | None:
        try:
            return self._proc.load_average()
        except (OSError, ValueError):
            return None

    def _meminfo(self) -> dict[str, MeminfoRow]:
        try:
            return kept(self._proc.meminfo(), self._wanted.meminfo)
        except (OSError, ValueError):
            return {}

    def _vmstat(self) -> dict[str, int]:
        try:
            return kept(self._proc.vmstat(), self._wanted.vmstat)
        except OSError:
            return {}
