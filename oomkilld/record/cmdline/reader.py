# SPDX-License-Identifier: Apache-2.0
"""Reads the command lines of victims through a helper process, and waits for none longer than DEADLINE_NS.

A helper that does not answer is killed and replaced. An owner whose victims blocked MAX_FAILURES helpers is skipped for
HELD_BACK_NS: a process may lock its own memory map, so that every process that reads it hangs.
"""

from collections.abc import Callable

from oomkilld.host.cgrouppath import owner_key
from oomkilld.host.childprocess import Child
from oomkilld.host.clock import KernelClock
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.cmdline.helper import Helper, HelperGone
from oomkilld.record.kill import CommandLine, KillRecord
from oomkilld.text import PASTEABLE_QUOTE, counted, pasteable, quoted

DEADLINE_NS = 100 * 10**6
# If other kills wait behind it, a kill older than this is not asked about, so that waits do not add up.
ASKED_WITHIN_NS = DEADLINE_NS // 2
MAX_FAILURES = 3
HELD_BACK_NS = 3600 * 10**9
MAX_OWNERS = 64  # whose failures are remembered
START_AGAIN_NS = 60 * 10**9
_SHOWN_CHARACTERS = 120


class _Asked(NamedTuple):
    """The kill that the helper was asked about. ``due_ns`` (CLOCK_MONOTONIC) None: answered, or no longer awaited."""

    thread: int
    kill_boottime_ns: int
    owner: bytes
    due_ns: int | None
    found: CommandLine | None


class VictimReader:
    """Never blocks. ``start`` makes a helper and may raise OSError. ``ticks`` converts a process's start as /proc does.

    ``fileno()`` becomes readable when ``check()`` is needed before ``due_ns``.
    """

    def __init__(
        self, start: Callable[[], Helper], ticks: Callable[[int], int], clock: KernelClock, warn: Callable[[str], None]
    ) -> None:
        self._start = start
        self._ticks = ticks
        self._clock = clock
        self._warn = warn
        self._helper: Child[Helper] = Child()
        # By owner: how many, and when the first one was, or the last one once no more are allowed. The latest is last.
        self._failures: dict[bytes, tuple[int, int]] = {}
        self._asked: _Asked | None = None
        self._obstacle = ""  # why there is no helper
        self._start_again_ns = 0
        self._ended = False
        self._replace()

    @property
    def trouble(self) -> str:
        if self._obstacle:
            return self._obstacle
        held_back = sum(self._held_back(owner) for owner in self._failures)
        return f"victims of {counted(held_back, 'owner')} blocked the helper process" if held_back else ""

    def fileno(self) -> int:
        return self._helper.fileno()

    @property
    def due_ns(self) -> int | None:
        """When to check again (CLOCK_MONOTONIC); None: no answer is awaited."""
        return self._asked.due_ns if self._asked else None

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether ``found()`` can be called without waiting. Asks the helper if that was not done yet."""
        if not self._is_asked(kill):
            self._ask(kill, more=more)
        return not self._is_asked(kill) or self.due_ns is None

    def found(self, kill: KillRecord) -> CommandLine | None:
        """The helper's answer for this kill. None also if none was awaited."""
        return self._asked.found if self._asked and self._is_asked(kill) else None

    def check(self) -> None:
        self._helper.reap()
        now_ns = self._clock.monotonic_ns()
        if self._helper.now is None:
            if not self._ended and now_ns >= self._start_again_ns:
                self._replace()
            return
        try:
            found = self._helper.now.answer()
        except HelperGone:
            self._gone()
        except BlockingIOError:
            if self.due_ns is not None and now_ns >= self.due_ns:
                self._failed(f"did not answer within {DEADLINE_NS // 10**6} ms")
                self._replace()
        else:
            if self._asked:
                self._asked = self._asked._replace(due_ns=None, found=found)

    def end(self) -> None:
        self._drop()
        self._helper.end()
        self._ended = True

    def _is_asked(self, kill: KillRecord) -> bool:
        return self._asked is not None and self._asked[:2] == (kill.victim_tid, kill.kill_boottime_ns)

    def _ask(self, kill: KillRecord, *, more: bool) -> None:
        if self._ended or kill.victim_pid is None or kill.victim_start_boottime_ns is None:
            return
        owner = b"" if kill.victim_cgroup is None else owner_key(kill.victim_cgroup)[0]
        late = more and self._clock.boottime_ns() - kill.kill_boottime_ns > ASKED_WITHIN_NS
        if late or self._held_back(owner):
            return
        if self._asked is not None and self._asked.due_ns is not None:
            # A helper that still owes an answer would give that one first: replace it.
            self._drop()
            self._replace()
        if self._helper.now is None:
            return
        due_ns = self._clock.monotonic_ns() + DEADLINE_NS
        self._asked = _Asked(kill.victim_tid, kill.kill_boottime_ns, owner, due_ns, None)
        try:
            self._helper.now.ask(kill.victim_pid, self._ticks(kill.victim_start_boottime_ns))
        except HelperGone:
            self._gone()

    def _held_back(self, owner: bytes) -> bool:
        count, since_ns = self._failures.get(owner, (0, 0))
        return count >= MAX_FAILURES and self._clock.monotonic_ns() - since_ns < HELD_BACK_NS

    def _gone(self) -> None:
        """Replace the helper, but not again and again."""
        self._failed("exited")
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._start_again_ns:
            self._do_without("the helper process keeps exiting")
        else:
            self._start_again_ns = now_ns + START_AGAIN_NS
            self._replace()

    def _failed(self, how: str) -> None:
        waited_for = self._asked if self.due_ns is not None else None
        self._drop()
        if waited_for is not None:
            self._blame(waited_for.owner, how)

    def _blame(self, owner: bytes, how: str) -> None:
        now_ns = self._clock.monotonic_ns()
        count, since_ns = self._failures.pop(owner, (0, now_ns))
        if now_ns - since_ns >= HELD_BACK_NS:
            count, since_ns = 0, now_ns
        count += 1
        self._failures[owner] = count, now_ns if count == MAX_FAILURES else since_ns
        if len(self._failures) > MAX_OWNERS:
            del self._failures[next(iter(self._failures))]
        if count == MAX_FAILURES:
            shown = quoted(pasteable(owner)[:_SHOWN_CHARACTERS], PASTEABLE_QUOTE)
            self._warn(
                f"Failed to read command lines of victims of {shown} {MAX_FAILURES} times: "
                f"the helper process {how}, ignoring them for an hour"
            )

    def _drop(self) -> None:
        if self._asked:
            self._asked = self._asked._replace(due_ns=None)
        self._helper.drop()

    def _replace(self) -> None:
        try:
            self._helper.become(self._start())
        except OSError as error:
            self._start_again_ns = self._clock.monotonic_ns() + START_AGAIN_NS
            self._do_without(f"cannot start the helper process: {error.strerror}")
        else:
            self._obstacle = ""

    def _do_without(self, obstacle: str) -> None:
        if not self._obstacle:
            self._warn(f"Failed to read command lines of victims: {obstacle}, retrying")
        self._obstacle = obstacle
