# SPDX-License-Identifier: Apache-2.0
"""The machine's state right after a kill."""

from oomkilld.host.clock import KernelClock
from oomkilld.host.procformats import LoadAverage, MeminfoRow, Stall
from oomkilld.host.procfs import ProcReader
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.enrich.rows import Wanted, kept
from oomkilld.record.kill import KillRecord

# Later than this after the kill, a reading says nothing about it.
MAX_SAMPLE_DELAY_NS = 10 * 10**9


class Sample(NamedTuple):
    """State of the machine after a kill. None or empty: unreadable, too late to mean anything, or not wanted."""

    delay_ns: int
    boot_realtime_ns: int  # time of the boot, by the current wall clock
    load_average: LoadAverage | None
    meminfo: dict[str, MeminfoRow]
    pressure: dict[str, dict[str, Stall]]  # by resource and kind
    vmstat: dict[str, int]


class Sampler:
    """Takes the sample for a kill; ``wanted`` are the rows to keep."""

    def __init__(self, proc: ProcReader, clock: KernelClock, wanted: Wanted) -> None:
        self._proc = proc
        self._clock = clock
        self._wanted = wanted
        self._read: dict[bool, tuple[int, Sample]] = {}  # the last one of each kind, reduced or not, and when

    def sample(self, kill: KillRecord, *, reduced: bool = False) -> Sample:
        """The state right after the kill; ``reduced``: the load average only. A failed read costs only its own fields.

        One reading serves all kills that waited for it: it is closer to them than a new one, and the queue shrinks.
        """
        killed_ns = kill.kill_boottime_ns
        last = self._read.get(reduced)
        if last is not None and 0 <= last[0] - killed_ns <= MAX_SAMPLE_DELAY_NS:
            return last[1]._replace(delay_ns=last[0] - killed_ns)
        now_ns = self._clock.boottime_ns()
        nothing = Sample(max(0, now_ns - killed_ns), self._clock.realtime_ns() - now_ns, None, {}, {}, {})
        if nothing.delay_ns > MAX_SAMPLE_DELAY_NS:
            return nothing
        reading = nothing._replace(load_average=self._load_average()) if reduced else self._whole(nothing)
        self._read[reduced] = now_ns, reading
        return reading

    def _whole(self, nothing: Sample) -> Sample:
        return nothing._replace(
            load_average=self._load_average(),
            meminfo=self._meminfo(),
            pressure=kept(self._proc.pressure(), self._wanted.pressure),
            vmstat=self._vmstat(),
        )

    def open_files(self) -> None:
        """Open the files now: at the first kill there may be no room. A failed open is tried again later."""
        self._load_average()
        self._meminfo()
        self._proc.pressure()
        self._vmstat()

    def without_row(self, keys: list[str]) -> list[str]:
        """Those of ``keys`` that this kernel's /proc/meminfo lacks."""
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
