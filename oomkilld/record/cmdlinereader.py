# SPDX-License-Identifier: Apache-2.0
"""Has the command lines of victims read by a helper, and waits for none longer than DEADLINE_NS.

One that does not answer is killed and replaced; after MAX_FAILURES no command line is recorded any more.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from oomkilld.record.cgroupfs import MonotonicClock
from oomkilld.record.child import Child, Killable
from oomkilld.record.cmdlinehelper import HelperGone
from oomkilld.record.decode import CommandLine, KillRecord

DEADLINE_NS = 100 * 10**6
MAX_FAILURES = 3


class Reading(Killable, Protocol):
    """A helper; see cmdlinehelper.Helper."""

    def ask(self, pid: int, start_ticks: int) -> None:
        """Raises HelperGone."""

    def answer(self) -> CommandLine | None:
        """Raises BlockingIOError (not yet) and HelperGone."""


class _Asked(NamedTuple):
    """For what kill it was asked; ``due_ns`` (monotonic) None: answered, or not waited for any more."""

    thread: int
    kill_boottime_ns: int
    due_ns: int | None
    found: CommandLine | None


class VictimReader:
    """Never waits. ``start`` makes a helper and may raise OSError; ``ticks``: of a process's start, as /proc tells it.

    ``fileno()`` becomes readable when ``check()`` is needed before ``deadline_ns``.
    """

    def __init__(
        self,
        start: Callable[[], Reading],
        ticks: Callable[[int], int],
        clock: MonotonicClock,
        warn: Callable[[str], None],
    ) -> None:
        self._start = start
        self._ticks = ticks
        self._clock = clock
        self._warn = warn
        self._helper: Child[Reading] = Child()
        self._failures = 0
        self._asked: _Asked | None = None
        self.trouble = ""  # why no command line is recorded any more
        self._replace()

    def fileno(self) -> int:
        """To wait for an answer."""
        return self._helper.fileno()

    @property
    def deadline_ns(self) -> int | None:
        """When to check again (monotonic); None when nothing is waited for."""
        return self._asked.due_ns if self._asked else None

    def ready(self, kill: KillRecord) -> bool:
        """Whether nothing is to be waited for before ``found()``. Asks, when that was not done yet."""
        if self._helper.now is None or kill.victim_pid is None or kill.victim_start_boottime_ns is None:
            return True
        if self._asked is None or self._asked[:2] != (kill.victim_tid, kill.kill_boottime_ns):
            if self._asked is not None and self._asked.due_ns is not None:
                # What was sent last is looked at again: the answer still to come is another's.
                self._drop()
                self._replace()
                if self._helper.now is None:
                    return True
            due_ns = self._clock.monotonic_ns() + DEADLINE_NS
            self._asked = _Asked(kill.victim_tid, kill.kill_boottime_ns, due_ns, None)
            try:
                self._helper.now.ask(kill.victim_pid, self._ticks(kill.victim_start_boottime_ns))
            except HelperGone:
                self._failed("has ended")
        return self._asked.due_ns is None

    def found(self, kill: KillRecord) -> CommandLine | None:
        """What the helper answered for this kill. None too when it was not waited for."""
        asked = self._asked
        return asked.found if asked and asked[:2] == (kill.victim_tid, kill.kill_boottime_ns) else None

    def check(self) -> None:
        """Take the answer if there is one; give up waiting when it is time."""
        self._helper.reap()
        if self._helper.now is None:
            return
        try:
            found = self._helper.now.answer()
        except HelperGone:
            self._failed("has ended")
        except BlockingIOError:
            if self.deadline_ns is not None and self._clock.monotonic_ns() >= self.deadline_ns:
                self._failed(f"gave no answer within {DEADLINE_NS // 10**6} ms")
        else:
            if self._asked:
                self._asked = self._asked._replace(due_ns=None, found=found)

    def end(self) -> None:
        """From now on nothing is waited for."""
        self._drop()
        self._helper.end()

    def _failed(self, how: str) -> None:
        self._drop()
        self._failures += 1
        if self._failures < MAX_FAILURES:
            self._replace()
        else:
            self._switch_off(f"the process that reads them {how}, the last of {MAX_FAILURES}")

    def _drop(self) -> None:
        if self._asked:
            self._asked = self._asked._replace(due_ns=None)
        self._helper.drop()

    def _replace(self) -> None:
        try:
            self._helper.become(self._start())
        except OSError as error:
            self._switch_off(f"no process to read them can be started: {error.strerror}")

    def _switch_off(self, reason: str) -> None:
        self.trouble = reason
        self._warn(f"command lines are not recorded any more until the service is started again: {reason}, ignoring")
