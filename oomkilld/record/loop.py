# SPDX-License-Identifier: Apache-2.0
"""The event loop: waits for kills, exits of stuck victims, child processes, deadlines and the signal to stop.

In each turn it runs all duties, in order. The tuple in ``Loop.__init__`` is everything that the service does.
"""

import os
import select
import signal
from contextlib import suppress

from oomkilld.record.account.recall import Progress
from oomkilld.record.deliver.backoff import BackOff
from oomkilld.record.deliver.sink import JournalBusy, JournalRefused
from oomkilld.record.parts import Duty, InForce, Parts, duty_of
from oomkilld.schema import RECORD_REJECTED
from oomkilld.stderr import ERR, WARNING, say
from oomkilld.text import counted

TICK_SECONDS = 12.0
STATUS_SECONDS = 1.0
# Longest time for sending the last kills. The service promises to stop within one second; the rest is for cleaning up.
STOP_SECONDS = 0.5
# Most records per turn, during normal work and at the end.
_BATCH, _LAST_BATCH = 64, 8
_NS = 10**9


class Loop:
    """Runs until SIGTERM or SIGINT. ``source_fd`` becomes readable with every kill."""

    def __init__(self, parts: Parts, source_fd: int, in_force: InForce, watchdog_seconds: float | None) -> None:
        self._parts = parts
        self._source_fd = source_fd
        self._in_force = in_force
        self._tick_seconds = min(TICK_SECONDS, (watchdog_seconds or 60.0) / 3)
        self._tick_due_ns = self._status_from_ns = 0
        self._status = ""
        self._back_off = BackOff(parts.log.warning)
        self._backlog = True  # whether the source may hold records not sent yet
        self._drained_ns: int | None = None  # all kills seen until then (monotonic) are sent
        self._stopping = False
        self._wake_fd, self._wake_write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # _free stands before _confirm: the next run sends again what a crash leaves in the ring, also if it counts as
        # confirmed.
        self._duties = (
            Duty(parts.journal.begin_turn),
            *map(duty_of, parts.awaited),
            Duty(parts.tracker.settle, lambda: parts.tracker.due_ns),
            Duty(self._free),
            Duty(self._confirm, lambda: parts.confirm.due_ns, parts.confirm.fileno()),
            Duty(parts.missed_notice.note_stored),
            Duty(self._deliver, self._deliver_due_ns),
            duty_of(parts.outcome),
            Duty(self._report_unkillable),
            Duty(self._record_history, self._history_due_ns, parts.history.fileno() if parts.history else None),
            Duty(self._audit, lambda: parts.audit.due_ns),
            Duty(self._recall, lambda: parts.recall.due_ns, parts.recall.fileno()),
            Duty(self._check_level),
            Duty(self._tick, lambda: self._tick_due_ns),
            Duty(self._report_status, self._status_due_ns),
        )
        self._epoll = select.epoll()
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        for duty in self._duties:
            if duty.fileno is not None:
                self._epoll.register(duty.fileno, select.EPOLLIN)
        self._listen()

    def run(self) -> None:
        """Every part is ready: send READY=1, work until the signal to stop, drain the source, send the last status."""
        signal.set_wakeup_fd(self._wake_write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        # Settings take effect at a restart. A stray SIGHUP must not end the service.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        while not self._stopping:
            for duty in self._duties:
                duty.run()
            self._wait()
        self._drain_to_the_end()

    def close(self) -> None:
        """Close the epoll object and the pipe."""
        self._epoll.close()
        os.close(self._wake_fd)
        os.close(self._wake_write_fd)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _wait(self) -> None:
        due_ns = min(due_ns for duty in self._duties if (due_ns := duty.due_ns()) is not None)
        # epoll counts in whole milliseconds. One more ensures that the deadline has passed when it returns.
        timeout = max(0.0, (due_ns - self._now()) / _NS + 0.001) if due_ns else 0.0
        for fd, _events in self._epoll.poll(timeout):
            if fd == self._wake_fd:
                os.read(self._wake_fd, 512)
            elif self._parts.history and fd == self._parts.history.fileno():
                self._parts.history.stirred()
        # Look at the source after every wake-up: the kernel wakes no reader for a victim's release.
        self._backlog = True

    def _free(self) -> None:
        if self._parts.delivery.free_stored():
            self._backlog = True

    def _confirm(self) -> None:
        if absent := self._parts.confirm.check():
            self._parts.audit.look_for(absent)

    def _deliver(self) -> None:
        try:
            if self._now() >= self._back_off.retry_ns:
                self._drain()
        finally:
            self._parts.audit.keep()

    def _deliver_due_ns(self) -> int | None:
        if self._back_off.reason is not None:
            return self._back_off.retry_ns
        return 0 if self._backlog else None

    def _report_unkillable(self) -> None:
        if self._back_off.reason is None:  # kills take precedence
            self._parts.unkillables.tell_waiting()

    def _record_history(self) -> None:
        if self._parts.history:
            self._parts.history.check(may_send=self._back_off.reason is None)

    def _history_due_ns(self) -> int | None:
        return self._parts.history.due_ns if self._parts.history else None

    def _audit(self) -> None:
        if (due_ns := self._parts.audit.due_ns) is not None and self._now() >= due_ns:
            self._compare()

    def _compare(self) -> None:
        self._parts.audit.check()
        self._parts.missed_notice.report(self._missed())

    def _recall(self) -> None:
        audit, recall, delivery = self._parts.audit, self._parts.recall, self._parts.delivery
        if audit.gap and not recall.busy:
            recall.begin(audit.to_look_for(), audit.since_ns)
        stored = delivery.stored_position if self._parts.confirm.settled else None
        entries = delivery.counts.entries + audit.recalled()
        progress = Progress(self._drained_ns, delivery.position, stored, entries, audit.repeats())
        if recalled := recall.check(progress):
            audit.count_missing(more=recalled.more, whole=recalled.whole)
            self._parts.missed_notice.report(self._missed())

    def _check_level(self) -> None:
        audit = self._parts.audit
        if self._parts.level_judge.finds_unreliable(
            self._parts.delivery.counts.refused, audit.not_seen_here, audit.seen_here
        ):
            self._stopping = True  # main() then starts the service again at the level below

    def _drain(self) -> None:
        if not self._backlog:
            return
        began_ns, taken = self._now(), self._parts.delivery.taken
        try:
            self._backlog = self._parts.delivery.drain(_BATCH)
        except JournalRefused as error:
            if self._parts.delivery.taken != taken:
                self._end_back_off()
            self._refused(error)
            return
        if not self._backlog and not self._parts.delivery.waiting:
            until_ns = self._parts.audit.seen_until_ns
            self._drained_ns = began_ns if until_ns is None else until_ns
        self._end_back_off()

    def _end_back_off(self) -> None:
        """End the back-off: journald accepts entries again."""
        if self._back_off.reason is not None:
            self._back_off.taken(self._now())
            self._listen()

    def _refused(self, error: JournalRefused) -> None:
        if self._back_off.reason is None:
            # The ring stays readable: level-triggered, epoll would spin; edge-triggered, it might never wake.
            self._epoll.unregister(self._source_fd)
        self._back_off.refused(error, self._now())

    def _listen(self) -> None:
        # Edge-triggered, because records that are sent but not freed yet keep the ring readable.
        self._epoll.register(self._source_fd, select.EPOLLIN | select.EPOLLET)

    def _tick(self) -> None:
        if self._now() < self._tick_due_ns:
            return
        self._parts.level_change.report()
        self._back_off.tell(self._now())
        self._parts.storage.look()
        self._compare()
        self._parts.outcome.report()
        # If the service manager's socket is full, send again soon: others may be flooding it, too.
        taken = self._parts.notifier.send("WATCHDOG=1", f"STATUS={self._status}")
        self._tick_due_ns = self._now() + int((self._tick_seconds if taken else STATUS_SECONDS) * _NS)

    def _missed(self) -> dict[str, int]:
        return {
            **self._parts.audit.missed(),
            RECORD_REJECTED: self._parts.delivery.counts.rejected,
        }

    def recorded(self) -> int:
        """Number of kills with an entry, since the ledger was begun."""
        return self._parts.delivery.counts.entries + self._parts.audit.recalled()

    def _status_due_ns(self) -> int | None:
        return self._status_from_ns if self._status != self._status_text() else None

    def _report_status(self) -> None:
        if (due_ns := self._status_due_ns()) is None or self._now() < due_ns:
            return
        text = self._status_text()
        # The first status reports READY=1, and is repeated until the service manager takes it.
        ready = [] if self._status else ["READY=1"]
        if self._parts.notifier.send(*ready, f"STATUS={text}") or not ready:
            self._status = text
        self._status_from_ns = self._now() + int(STATUS_SECONDS * _NS)

    def _status_text(self) -> str:
        kills = self.recorded()
        repeats = self._parts.audit.repeats()
        missing = sum(self._missed().values())
        level, instead = self._in_force
        text = f"Level {level}: {counted(kills, 'kill')} recorded, {counted(repeats, 'repeat')}, {missing} missing"
        if self._parts.audit.gap:
            text += f"; searching the kernel log for {counted(self._parts.audit.gap, 'kill', 'kills')}"
        if self._back_off.reason:
            text += f"; waiting for journald: {self._back_off.reason}"
        if self._parts.storage.trouble:
            text += f"; {self._parts.storage.trouble}"
        if self._parts.command_lines and self._parts.command_lines.trouble:
            text += f"; command lines of victims are not read: {self._parts.command_lines.trouble}"
        if instead:
            text += f"; the configuration is invalid: recording with {instead}"
        return text

    def _drain_to_the_end(self) -> None:
        self._parts.notifier.send("STOPPING=1")
        deadline_ns = self._now() + int(STOP_SECONDS * _NS)
        for awaited in self._parts.awaited:
            awaited.end()
        self._parts.recall.end()
        self._parts.confirm.end()
        self._parts.audit.begin_to_end()
        try:
            more = True
            while more and self._now() < deadline_ns:
                self._parts.journal.begin_turn()
                with suppress(JournalBusy):
                    more = self._parts.delivery.drain(_LAST_BATCH)
        except JournalRefused:
            pass  # reported below
        self._back_off.tell(self._now(), ended=True)
        self._parts.outcome.end()
        if self._parts.history:
            self._parts.history.end()
        # leave() reads the rest of the source. At level kmsg, only kills that were read count as seen in audit.end().
        left, lost = self._parts.delivery.leave()
        self._parts.audit.end()
        missed = self._missed()
        self._parts.journal.begin_turn()
        if not self._parts.missed_notice.report(missed):
            say(
                ERR,
                "Failed to report all missed kills: journald takes no entries, the next start in this boot reports "
                f"those left ({counted(sum(missed.values()), 'kill has', 'kills have')} no entry since boot)",
            )
        self._parts.journal.wait_until_read()
        self._parts.missed_notice.end()
        status = self._status_text()
        if lost:
            status += f", {lost} lost at the end"
        elif left:
            status += f", {counted(left, 'waits', 'wait')} for the next run"
            waiting = counted(left, "kill waits", "kills wait")
            say(WARNING, f"{waiting} for the next run in this boot; a stop without a restart discards their records")
        if looked_for := self._parts.audit.gap:
            missing = counted(looked_for, "missing kill")
            say(WARNING, f"the next start in this boot will search the kernel log for {missing}")
        self._parts.notifier.send(f"STATUS={status}")

    def _now(self) -> int:
        return self._parts.clock.monotonic_ns()
