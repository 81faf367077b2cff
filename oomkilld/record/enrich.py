# SPDX-License-Identifier: Apache-2.0
"""Adds to a kill what only user space can tell: the machine's state right after, and whose everything was."""

import time
from typing import NamedTuple, Protocol

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
        self._decision: tuple[int | None, ...] | None = None  # that ``_found`` is of
        self._found: Contents | None = None

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether nothing is waited for before ``context()``; ``more``: others wait behind it."""
        return self._command_lines is None or self._command_lines.ready(kill, more=more)

    def context(self, kill: KillRecord, cause: Cause) -> Context:
        """Look now, at what changes soonest first. What cannot be read costs only its fields."""
        reduced = self._detail.reduced(kill, cause)
        sample = self._sampler.sample(kill, reduced=reduced)
        fresh = sample.delay_ns <= MAX_SAMPLE_DELAY_NS
        contents = self._contents_of(kill, cause) if fresh and not reduced else None
        victim = self._identifier.identify(kill.victim_cgroup)
        return Context(
            sample=sample,
            trigger=self._identifier.identify(kill.trigger_cgroup),
            victim=victim,
            domain=self._identifier.identify(kill.domain_cgroup),
            invocation_id=self._identifier.invocation_of(victim) if fresh else None,
            contents=contents,
            reduced=reduced,
            command_lines=self._command_lines.shown(kill) if self._command_lines else NO_COMMAND_LINES,
        )

    def _contents_of(self, kill: KillRecord, cause: Cause) -> Contents | None:
        """Once for a decision: of a group the first kill is the one that tells most, and one reading serves all."""
        if cause.domain != "host" and kill.domain_cgroup is None:
            return None
        decision = (kill.trigger_tid, kill.decision_boottime_ns, kill.decision_logged_usec)
        if decision != self._decision:
            self._decision = decision
            path = None if cause.domain == "host" else kill.domain_cgroup
            self._found = self._contents.read(path, first=(kill.victim_cgroup, kill.trigger_cgroup))
        return self._found


class Sampler:
    """Takes the sample for a kill; ``wanted`` are the rows to keep."""

    def __init__(self, proc: ProcReader, clock: Clock, wanted: Wanted) -> None:
        self._proc = proc
        self._clock = clock
        self._wanted = wanted

    def sample(self, kill: KillRecord, *, reduced: bool = False) -> Sample:
        """Read now; ``reduced``: the load average only. A file that cannot be read costs only its fields."""
        now_ns = self._clock.boottime_ns()
        delay_ns = max(0, now_ns - kill.kill_boottime_ns)
        nothing = Sample(delay_ns, self._clock.realtime_ns() - now_ns, None, {}, {}, {})
        if delay_ns > MAX_SAMPLE_DELAY_NS:
            return nothing
        if reduced:
            return nothing._replace(load_average=self._load_average())
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
