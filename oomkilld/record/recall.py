# SPDX-License-Identifier: Apache-2.0
"""Has kills that were counted but not seen looked for in the kernel's log, and gives those found to the journal.

A process of its own looks, see recall/main.py: the log and the journal may take long to read, and much memory, and the
kills that are seen go their way meanwhile. It reads the log first; and the journal once all that had been seen by then
is stored there, so that none is taken for one without an entry.
"""

import marshal
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from oomkilld.record.books import Books
from oomkilld.record.cgroupfs import MonotonicClock
from oomkilld.record.decode import KillRecord
from oomkilld.record.delivery import Delivery
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
_LOOK_NS = 20 * 10**6
# After a failure: memory may be short right now.
_AGAIN_NS = (5 * 10**9, 30 * 10**9, 120 * 10**9)
_BATCH = 64
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from oomkilld.recall.main import main; sys.exit(main())"


class Asked(NamedTuple):
    """How many kills are looked for, how many are taken at once, and what ids are made of."""

    kills: int
    at_most: int
    boot_id: bytes
    page_bytes: int


# Its other messages: (KILL, the record's values, how many more of the kernel's count are this one), and at last
# (END, the kernel's names of constraints by number, how many kills have no entry; how many of before the log was read
# have one, and how often the kernel counted these once more).
KILL, END = "kill", "end"


class Looker(Protocol):
    """The process; see Process."""

    def fileno(self) -> int:
        """Readable: there is a message, or it has ended."""

    def receive(self) -> bytes:
        """Its next message; empty: it has ended. Raises BlockingIOError."""

    def go_on(self) -> None:
        """The journal may be read now."""

    def kill(self) -> None:
        """It need not be dead at once: see reaped()."""

    def reaped(self) -> bool:
        """Whether it is dead and put away."""


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
        with suppress(OSError):  # if it has ended already, that is received
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

    def kill(self) -> None:
        """See Looker."""
        self._socket.close()
        os.kill(self._pid, signal.SIGKILL)

    def reaped(self) -> bool:
        """See Looker."""
        return os.waitpid(self._pid, os.WNOHANG)[0] == self._pid


def _spawn(theirs: socket.socket) -> int:
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-I", "-c", _BOOTSTRAP, package_root]
    # Not a copy of this process: that would need its memory once more.
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET)]
    return os.posix_spawn(
        sys.executable, command, os.environ, file_actions=actions, setsigdef=(signal.SIGINT, signal.SIGTERM)
    )


class FoundKills:
    """Kills found in the log, as a source for delivery; a position counts them. See source.KeptSource.

    ``books`` know of each entry at once: a run that is killed then is followed by one that does not look for it.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._before = books.totals
        self.kills: list[tuple[KillRecord, int]] = []
        self.consumer_position = 0
        self.freed = Counts()

    def peek(self, position: int) -> Item | None:
        """The kill at that place."""
        return Item(self.kills[position][0], position + 1) if position < len(self.kills) else None

    def sent_before(self, _incarnation: Incarnation) -> Sent | None:
        """None was."""
        return None

    def sent(self, sent: Sent, _incarnation: Incarnation) -> None:
        """So many have an entry."""
        before, repeats = self._before, self._repeats(sent.position)
        stored, stored_repeats = self.freed.entries, self._repeats(self.consumer_position)
        self._books.commit(
            self._books.totals._replace(
                recalled=before.recalled + sent.counts.entries,
                recalled_repeats=before.recalled_repeats + repeats,
                recalling=sent.counts.entries - stored,
                recalling_repeats=repeats - stored_repeats,
            )
        )

    def free(self, position: int, freed: Counts) -> None:
        """So many have one that is stored."""
        totals = self._books.totals
        self._books.commit(
            totals._replace(
                recalling=totals.recalling - (freed.entries - self.freed.entries),
                recalling_repeats=totals.recalling_repeats
                - (self._repeats(position) - self._repeats(self.consumer_position)),
            )
        )
        self.consumer_position, self.freed = position, freed

    def leave(self, _left: int) -> int:
        """They are in the log."""
        return 0

    def add_known(self, kills: int, repeats: int) -> None:
        """So many more have an entry, of a run whose books are gone."""
        self._books.commit(
            self._books.totals._replace(
                recalled=self._before.recalled + kills, recalled_repeats=self._before.recalled_repeats + repeats
            )
        )
        self._before = self._books.totals

    def _repeats(self, position: int) -> int:
        return sum(repeats for _kill, repeats in self.kills[:position])


class Progress(NamedTuple):
    """Of what is seen: everything until ``drained_ns`` (monotonic) is sent, up to where, and up to where it is stored.

    ``drained_ns`` None: never. ``entries`` and ``repeats``: what was counted of both in this boot, at most.
    """

    drained_ns: int | None
    position: int
    stored: int
    entries: int
    repeats: int


class Recalled(NamedTuple):
    """It is done, or it was in vain; ``more``: it is worth looking again."""

    more: bool


class Recall:
    """``start`` makes the process that looks for so many kills; ``deliver`` what gives the found ones to the journal.

    ``fileno()`` becomes readable when ``check()`` is needed before ``next_check_ns``.
    """

    def __init__(
        self,
        start: Callable[[int], Looker],
        deliver: Callable[[FoundKills, Sequence[str]], Delivery],
        books: Books,
        clock: MonotonicClock,
        warn: Callable[[str], None],
    ) -> None:
        self._start = start
        self._deliver = deliver
        self._books = books
        self._clock = clock
        self._warn = warn
        self._epoll = select.epoll()
        self.busy = False
        self._wanted = self._attempts = 0
        self._again_ns: int | None = None
        self._looker: Looker | None = None
        self._dying: list[Looker] = []
        self._log_read_ns: int | None = None
        self._gone_on = False
        self._then: Progress | None = None  # all that was seen when the log was read
        self._deadline_ns = self._look_ns = self._retry_ns = 0
        self._found = FoundKills(books)
        self._without_entry = 0
        self._delivery: Delivery | None = None

    def fileno(self) -> int:
        """To wait for the process."""
        return self._epoll.fileno()

    @property
    def next_check_ns(self) -> int | None:
        """When to check again (monotonic); None: when something has come."""
        if self._again_ns is not None:
            return self._again_ns
        if self._looker is not None:
            if self._log_read_ns is None or self._gone_on:
                return self._deadline_ns
            return self._look_ns if self._then is None else None
        if self._delivery is None:
            return None
        settle_ns = self._delivery.next_settle_ns
        return self._retry_ns if settle_ns is None else max(settle_ns, self._retry_ns)

    def begin(self, kills: int) -> None:
        """Look for so many."""
        self.busy = True
        self._wanted, self._attempts = kills, 0
        self._try()

    def check(self, progress: Progress) -> Recalled | None:
        """Go on; what came of it in the end, None before."""
        self._dying = [looker for looker in self._dying if not looker.reaped()]
        if self._again_ns is not None and self._clock.monotonic_ns() >= self._again_ns:
            self._try()
        if self._looker is not None:
            self._listen(self._looker, progress)
        if not self.busy or self._again_ns is not None or self._looker is not None:
            return None
        if self._delivery is not None and not self._give(self._delivery):
            return None
        if self._delivery is not None:
            self._books.commit(self._books.totals._replace(compared=1))
        self.busy, self._delivery = False, None
        return Recalled(more=self._found.freed.entries > 0 and len(self._found.kills) < self._without_entry)

    def end(self) -> None:
        """There is no more time."""
        self.busy = False
        self._put_away()
        self._epoll.close()

    def _try(self) -> None:
        self._attempts += 1
        self._again_ns = self._log_read_ns = self._then = None
        self._gone_on = False
        self._found, self._delivery, self._without_entry = FoundKills(self._books), None, 0
        self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS
        try:
            self._looker = self._start(self._wanted)
        except OSError as error:
            self._fail(f"no process for it can be started: {error.strerror}")
        else:
            self._epoll.register(self._looker.fileno(), select.EPOLLIN)

    def _listen(self, looker: Looker, progress: Progress) -> None:
        """Take what it has told until now."""
        try:
            while self._looker is not None:
                self._let_go_on(looker, progress)
                self._take(looker.receive())
        except BlockingIOError:
            due = self._log_read_ns is None or self._gone_on
            if due and self._clock.monotonic_ns() >= self._deadline_ns:
                self._fail(f"it took longer than {DEADLINE_NS // 10**9} s")

    def _let_go_on(self, looker: Looker, progress: Progress) -> None:
        if self._log_read_ns is None or self._gone_on:
            return
        if self._then is None:
            self._look_ns = self._clock.monotonic_ns() + _LOOK_NS
            # Else a kill may have come after that, whose line was read.
            if progress.drained_ns is not None and progress.drained_ns >= self._log_read_ns:
                self._then = progress
        if self._then is not None and progress.stored >= self._then.position:
            looker.go_on()
            self._gone_on = True
            self._deadline_ns = self._clock.monotonic_ns() + DEADLINE_NS

    def _take(self, message: bytes) -> None:
        if not message:
            self._fail("the process that does it ended")
        elif message == LOG_IS_READ:
            self._log_read_ns = self._clock.monotonic_ns()
        else:
            try:
                self._take_told(*marshal.loads(message))
            except (ValueError, TypeError, EOFError) as error:
                # Its program may be newer than this one: it is read from the disk at each start.
                self._fail(f"what was told cannot be understood ({error})")

    def _take_told(self, kind: str, values: Sequence[Any], *counts: int) -> None:
        """A kill, or the end. Raises ValueError, TypeError."""
        if kind == KILL:
            (repeats,) = counts
            self._found.kills.append((KillRecord._make(values), repeats))
            return
        without_entry, known, known_repeats = counts
        self._without_entry = without_entry
        self._add_known(known, known_repeats)
        if self._found.kills:
            self._delivery = self._deliver(self._found, values)
        self._put_away()

    def _add_known(self, known: int, repeats: int) -> None:
        """Entries that the books do not know of are none that are missing. From here on there may be others."""
        if self._then is not None and not self._books.totals.compared:
            left = self._wanted - sum(1 + repeats for _kill, repeats in self._found.kills)
            kills = max(0, min(known - self._then.entries, left))
            self._found.add_known(kills, max(0, min(repeats - self._then.repeats, left - kills)) if kills else 0)
        # One that is sent, and then the service is killed before it is written down.
        self._books.commit(self._books.totals._replace(compared=0 if self._found.kills else 1))

    def _fail(self, why: str) -> None:
        self._put_away()
        self._found = FoundKills(self._books)
        what = f"looking for kills in the kernel's log failed: {why}"
        if self._attempts <= len(_AGAIN_NS):
            self._warn(f"{what}, trying again")
            self._again_ns = self._clock.monotonic_ns() + _AGAIN_NS[self._attempts - 1]
        else:
            self._warn(f"{what}, ignoring")

    def _put_away(self) -> None:
        if self._looker is not None:
            self._epoll.unregister(self._looker.fileno())
            self._looker.kill()
            self._dying.append(self._looker)
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
