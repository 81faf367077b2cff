# SPDX-License-Identifier: Apache-2.0
"""What becomes of a killed process: the values that outcome.py passes on."""

from oomkilld.lighttyping import NamedTuple


class Victim(NamedTuple):
    """A killed process. ``fields``: those of any entry that tell of it, one a line, see entry.victim_fields().

    Some of the kill's record only: hundreds are kept, and a whole one takes more than a kilobyte.
    """

    pid: int
    start_boottime_ns: int | None
    kill_boottime_ns: int
    fields: bytes

    @property
    def process(self) -> tuple[int, int | None]:
        """The process, not only its number, which the kernel gives again."""
        return self.pid, self.start_boottime_ns


class Stuck(NamedTuple):
    """It is still there so long after the kill; ``state`` of its first thread as in /proc/PID/stat, None: not shown."""

    victim: Victim
    after_ns: int
    state: str | None


class Gone(NamedTuple):
    """It has let go of its memory, or has left, so long after the kill; None: it was not seen when."""

    victim: Victim
    after_ns: int | None
