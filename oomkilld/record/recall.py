# SPDX-License-Identifier: Apache-2.0
"""Has kills that were counted but not seen looked for in the kernel's log, and gives those found to the journal.

A process of its own looks, see recall/main.py: the log and the journal may take long to read, and much memory, and the
kills that are seen go their way meanwhile. It reads the log first; and the journal once all that had been seen by then
is stored there, so that none is taken for one without an entry.
"""

import marshal
import os
import select
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from oomkilld.record.decode import KillRecord
from oomkilld.record.delivery import Delivery
from oomkilld.record.enrich import Clock
from oomkilld.record.ring import Item
from oomkilld.record.sink import Incarnation, JournalRefused
from oomkilld.record.source import Counts, Sent

# The process finds its end of the socket there.
SOCKET = 3
LOG_IS_READ = b"log"
_GO_ON = b"+"
_MESSAGE_BYTES = 64 << 10
# For the whole log of a boot; and so many kills at a time, which are kept in memory meanwhile.
DEADLINE_NS = 60 * 10**9
AT_MOST = 512
_RETRY_NS = 250 * 10**6
_BATCH = 64
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from oomkilld.recall.main import main; sys.exit(main())"


class Asked(NamedTuple):
    """How many kills are looked for, how many are taken at once, whose entries count, what ids are made of."""

    kills: int
    at_most: int
    service_pid: int
    boot_id: bytes
    page_bytes: int


# Its other messages: (KILL, the record's values, how many more of the kernel's count are this one), and at last
# (END, the kernel's names of constraints by number, how many kills have no entry; how many have one, and how often the
# kernel counted these once more).
KILL, END = "kill", "end"


class Recalled(NamedTuple):
    """Of the kernel's count: kills that have an entry now, and those that are no entry of their own.

    ``more``: it is worth looking again.
    """

    kills: int
    repeats: int
    more: bool


class Looker(Protocol):
    """The process; see Process."""

    def fileno(self) -> int:
        """Readable: there is a message, or it has ended."""

    def receive(self) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError."""

    def go_on(self) -> None:
        """The journal may be read now."""

    def end(self) -> None:
        """Kill it, if it is still there, and put it away."""


class Process:
    """See Looker. Raises OSError where there is no room for it."""

    def __init__(self, asked: Asked) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._pid = _spawn(theirs)
            except OSError:
                self._socket.close()
                raise
        self._socket.setblocking(False)
        self._socket.send(marshal.dumps(tuple(asked)))

    def fileno(self) -> int:
        """See Looker."""
        return self._socket.fileno()

    def receive(self) -> bytes:
        """See Looker."""
        try:
            return self._socket.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def go_on(self) -> None:
        """See Looker."""
        with suppress(OSError):  # it has ended, and that is received
            self._socket.send(_GO_ON)

    def end(self) -> None:
        """See Looker."""
        self._socket.close()
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


def _spawn(theirs: socket.socket) -> int:
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-I", "-c", _BOOTSTRAP, package_root]
    # Not a copy of this process: that would need its memory once more.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET)]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsigdef=(2, 15))


class FoundKills:
    """Kills found in the log, as a source for delivery; a position counts them. See source.KeptSource."""

    def __init__(self) -> None:
        self.kills: list[tuple[KillRecord, int]] = []
        self.consumer_position = 0
        self.sent_position = 0
        self.freed = Counts()

    def peek(self, position: int) -> Item | None:
        """The kill at that place."""
        return Item(self.kills[position][0], position + 1) if position < len(self.kills) else None

    def sent_before(self, _incarnation: Incarnation) -> Sent | None:
        """None was."""
        return None

    def sent(self, sent: Sent, _incarnation: Incarnation) -> None:
        """So many have an entry."""
        self.sent_position = sent.position

    def free(self, position: int, freed: Counts) -> None:
        """So many have one that is stored."""
        self.consumer_position, self.freed = position, freed

    def leave(self, _left: int) -> int:
        """They are in the log."""
        return 0


class Progress(NamedTuple):
    """Of what is seen: whether all is sent for now, up to where, and up to where its entries are stored.

    ``entries`` and ``repeats``: what is counted of both in this boot. There may be more in the journal: of a run whose
    books are gone.
    """

    drained: bool
    position: int
    stored: int
    entries: int
    repeats: int


class Recall:
    """``start`` makes the process that looks for so many kills; ``deliver`` what gives the found ones to the journal.

    ``fileno()`` becomes readable when ``check()`` is needed before ``next_check_ns``.
    """

    def __init__(
        self,
        start: Callable[[int], Looker],
        deliver: Callable[[FoundKills, Sequence[str]], Delivery],
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self._start = start
        self._deliver = deliver
        self._clock = clock
        self._warn = warn
        self._epoll = select.epoll()
        self.busy = False
        self._looker: Looker | None = None
        self._log_is_read = self._gone_on = False
        self._wait_for: int | None = None  # all that was seen when the log was read
        self._deadline_ns = self._retry_ns = 0
        self._found = FoundKills()
        self._without_entry = self._known = self._known_repeats = 0
        self._delivery: Delivery | None = None

    def fileno(self) -> int:
        """To wait for the process."""
        return self._epoll.fileno()

    @property
    def next_check_ns(self) -> int | None:
        """When to check again (monotonic); None: when something has come."""
        if self._looker is not None:
            return None if self._log_is_read and not self._gone_on else self._deadline_ns
        if self._delivery is None:
            return None
        settle_ns = self._delivery.next_settle_ns
        return self._retry_ns if settle_ns is None else max(settle_ns, self._retry_ns)

    def begin(self, kills: int) -> None:
        """Look for so many."""
        self.busy = True
        self._log_is_read = self._gone_on = False
        self._wait_for = None
        self._found, self._delivery = FoundKills(), None
        self._without_entry = self._known = self._known_repeats = 0
        self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS
        try:
            self._looker = self._start(kills)
        except OSError as error:
            self._warn(f"kills that were not seen are not looked for in the kernel's log: {error.strerror}, ignoring")
        else:
            self._epoll.register(self._looker.fileno(), select.EPOLLIN)

    def check(self, progress: Progress) -> Recalled | None:
        """Go on; what came of it in the end, None before."""
        if not self.busy or (self._looker is not None and not self._listen(self._looker, progress)):
            return None
        if self._delivery is not None and not self._give(self._delivery):
            return None
        self.busy = False
        taken = len(self._found.kills)
        return self._recalled(self._found.freed, taken, more=0 < taken < self._without_entry)

    def end(self) -> Recalled:
        """There is no more time: what has an entry by now."""
        self.busy = False
        self._put_away()
        self._epoll.close()
        counts = self._delivery.counts if self._delivery else Counts()
        return self._recalled(counts, self._found.sent_position, more=False)

    def _recalled(self, counts: Counts, position: int, *, more: bool) -> Recalled:
        repeats = sum(repeats for _kill, repeats in self._found.kills[:position]) if counts.entries else 0
        return Recalled(counts.entries + self._known, repeats + self._known_repeats, more)

    def _listen(self, looker: Looker, progress: Progress) -> bool:
        """Whether it has told all, or will tell no more."""
        try:
            while self._looker is not None:
                self._let_go_on(looker, progress)
                self._take(looker.receive(), progress)
        except BlockingIOError:
            due = not self._log_is_read or self._gone_on
            if not due or self._clock.monotonic_ns() < self._deadline_ns:
                return False
            self._fail(f"it took longer than {DEADLINE_NS // 10**9} s")
        return True

    def _let_go_on(self, looker: Looker, progress: Progress) -> None:
        if not self._log_is_read or self._gone_on:
            return
        if self._wait_for is None and progress.drained:
            self._wait_for = progress.position
        if self._wait_for is not None and progress.stored >= self._wait_for:
            looker.go_on()
            self._gone_on = True
            self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS

    def _take(self, message: bytes, progress: Progress) -> None:
        if not message:
            self._fail("the process that does it ended")
        elif message == LOG_IS_READ:
            self._log_is_read = True
        else:
            kind, values, *counts = marshal.loads(message)
            if kind == KILL:
                self._found.kills.append((KillRecord._make(values), *counts))
                return
            self._without_entry, known, known_repeats = counts
            self._known = max(0, known - progress.entries)
            self._known_repeats = max(0, known_repeats - progress.repeats) if self._known else 0
            if self._found.kills:
                self._delivery = self._deliver(self._found, values)
            self._put_away()

    def _fail(self, why: str) -> None:
        self._warn(f"looking for kills in the kernel's log failed: {why}, ignoring")
        self._found = FoundKills()
        self._put_away()

    def _put_away(self) -> None:
        if self._looker is not None:
            self._epoll.unregister(self._looker.fileno())
            self._looker.end()
            self._looker = None

    def _give(self, delivery: Delivery) -> bool:
        """Whether all have entries that are stored."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._retry_ns:
            return False
        try:
            delivery.settle()
            more = delivery.drain(_BATCH)
        except JournalRefused:
            more = True
        self._retry_ns = now_ns + _RETRY_NS if more else 0
        return self._found.consumer_position == len(self._found.kills)
