# SPDX-License-Identifier: Apache-2.0
"""The resident stage: takes over from stage ``arm``, puts the parts together and runs the loop."""

import os
from collections.abc import Callable, Sequence

from oomkilld.errors import SteppedDown
from oomkilld.host.clock import KernelClock
from oomkilld.host.kubelet import PodDirectory
from oomkilld.host.procfs import ProcReader
from oomkilld.host.syscall import name_process
from oomkilld.lighttyping import NoReturn
from oomkilld.record import levelnotice, optional
from oomkilld.record.account.audit import Audit
from oomkilld.record.account.foundkills import FoundKills
from oomkilld.record.account.missed import MissedNotice
from oomkilld.record.account.recall import AT_MOST, Means, Recall
from oomkilld.record.capture.decode import KILL_BYTES
from oomkilld.record.capture.impossible import Judge
from oomkilld.record.capture.open import Capture, open_capture
from oomkilld.record.complete import Completer
from oomkilld.record.deliver.checkpoint import Kept, KeptSource, go_on_with
from oomkilld.record.deliver.confirm import Confirm, Evidence
from oomkilld.record.deliver.delivery import Delivery, Target
from oomkilld.record.deliver.journal import Journal
from oomkilld.record.deliver.storage import Files, Storage
from oomkilld.record.deliver.tracker import StoreTracker
from oomkilld.record.enrich.enrich import CommandLines, Enricher, Optional
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.invocation import Invocations
from oomkilld.record.enrich.memcgusage import ContentsReader
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.rows import Wanted, wanted
from oomkilld.record.enrich.sample import Sampler
from oomkilld.record.entry.notices import gone_entry, level_entry, missed_entry, stuck_entry
from oomkilld.record.entry.origin import Origin
from oomkilld.record.kernlog.kmsg import DevKmsg
from oomkilld.record.kill import Gone, Stuck, kill_id, logged_kill_id
from oomkilld.record.levelnotice import LevelChange
from oomkilld.record.log import INFO, Log, log_fields
from oomkilld.record.loglines import LogLines
from oomkilld.record.lookup.inquiry import Process
from oomkilld.record.lookup.protocol import Asked, AskedStored
from oomkilld.record.loop import Loop
from oomkilld.record.outcome import Outcome
from oomkilld.record.parts import InForce, Parts
from oomkilld.record.pipeline import Beside, Pipeline
from oomkilld.record.process import memory, privileges
from oomkilld.record.process.exit import run_guarded
from oomkilld.record.processes import KernelProcesses
from oomkilld.record.state.ledger import Ledger, ledger_in_memory, open_ledger
from oomkilld.record.state.sentids import open_sent_ids, sent_ids_in_memory
from oomkilld.record.stepdown import LevelJudge
from oomkilld.record.unkillable import Unkillables
from oomkilld.service import rundir
from oomkilld.service.handover import Order, receive
from oomkilld.service.notify import Notifier, watchdog_seconds
from oomkilld.stderr import ERR, say, stderr_is_journal
from oomkilld.text import counted


def main() -> None:
    """Raises OomkilldError."""
    order, fds = receive()
    run_guarded(lambda: _record(order, fds), kept=order.kept)


def _record(order: Order, fds: dict[str, int]) -> None:
    name_process(b"oomkilld")
    proc = ProcReader()
    boottime_offset_ns = proc.boottime_offset_ns()
    clock = KernelClock(boottime_offset_ns)
    capture = open_capture(order.arming, fds, clock, os.sysconf("SC_PAGESIZE"))
    stored_before = Files().state()
    # Sent at any log level: this line shows since when kills are recorded, and opens libsystemd's socket.
    journal = Journal(log_fields(INFO, levelnotice.first_line(order)))
    log = Log(order.recording.log_priority, journal if stderr_is_journal() else None)
    origin = _origin(order, capture.constraints)
    kept = _kept(order, origin, log)
    ledger = kept.ledger
    rows = wanted(order.recording.meminfo, order.recording.statistics)
    sampler = _sampler(order, proc, clock, rows, log)

    def tell_outcome(found: Stuck | Gone) -> None:
        journal.send(stuck_entry(found, origin) if isinstance(found, Stuck) else gone_entry(found, origin))

    processes = KernelProcesses(proc, boottime_offset_ns)
    outcome = Outcome(tell_outcome, processes, clock, log.warning, every_exit=order.recording.outcome == "all")
    invocations = Invocations(clock)
    kernel_log, reader = privileges.open_log(), _log_reader(capture, origin, log)
    history = optional.recorder(order.recording, clock, origin, journal, log)
    # Processes started from here on inherit the restrictions.
    for reason in privileges.drop():
        log.info(f"the sandbox is incomplete: {reason}")
    if processes.hidden():
        log.warning("Failed to see processes of other users: /proc hides them (hidepid), recording less about victims")
    command_lines, victim_reader = optional.command_lines(order.recording, proc, processes, clock, log)
    identifier = Identifier(PodDirectory(), invocations.of, processes.name_of)
    # Entries of unkillable domains are rare, so none is reduced.
    never_reduced = Enricher(sampler, identifier, ContentsReader(clock, stat_keys=rows.stat), Detail(0, 1))
    beside = Beside(outcome, Unkillables(never_reduced, origin, journal), log.warning)
    lines = LogLines(reader, clock, origin, beside.unkillables.add, log.warning) if reader else None

    def pipeline(of: Origin, detail: Detail, cmdlines: CommandLines | None, lines: LogLines | None) -> Pipeline:
        judge = Judge(proc, clock, of.page_bytes, len(of.constraints))
        contents = ContentsReader(clock, stat_keys=rows.stat)
        enricher = Enricher(sampler, identifier, contents, detail, Optional(cmdlines, history))
        return Pipeline(judge, Completer(processes, lines), enricher, of, beside)

    def deliver_found(found: FoundKills, constraints: Sequence[str]) -> Delivery:
        of_log = origin._replace(level="kmsg", constraints=constraints)
        of_found = pipeline(of_log, Detail(order.recording.reduce_from, remembered=AT_MOST), None, None)
        return Delivery(found, target, of_found, log.warning)

    def render_missed(missed: int, total: int, reason: str) -> list[bytes]:
        return missed_entry(missed, total, reason, origin)

    tracker = StoreTracker(journal, clock)
    confirm = Confirm(_evidence(kept, origin), tracker, ledger, clock, log.warning)
    target = Target(journal, tracker, confirm)
    source = KeptSource(capture.source, kept, lambda kill: kill_id(kill, origin.boot_id), outlives=order.kept)
    # A record may be read again while it is in the ring, so remember the verdicts of a whole ring.
    detail = Detail(order.recording.reduce_from, remembered=order.arming.ring_bytes // KILL_BYTES)
    delivery = Delivery(source, target, pipeline(origin, detail, command_lines, lines), log.warning)
    level_judge = LevelJudge(clock, order.arming.level_below, delivery.counts.refused, exact=order.arming.exact)
    parts = Parts(
        journal=journal,
        tracker=tracker,
        delivery=delivery,
        outcome=outcome,
        unkillables=beside.unkillables,
        audit=Audit(ledger, capture.tally, proc.oom_kills, clock, log.warning),
        recall=Recall(_means(kept, origin, deliver_found, kernel_log), ledger, clock, log.warning),
        confirm=confirm,
        missed_notice=MissedNotice(journal, tracker, ledger, render_missed),
        level_change=_level_change(order, journal, origin, log),
        level_judge=level_judge,
        awaited=(invocations, *(each for each in (lines, victim_reader) if each)),
        command_lines=victim_reader,
        history=history,
        storage=Storage(journal, Files(), stored_before, log.warning),
        notifier=Notifier(os.environ.get("NOTIFY_SOCKET")),
        log=log,
        clock=clock,
    )
    loop = Loop(parts, capture.fd, InForce(order.arming.level, order.instead), watchdog_seconds(os.environ))
    _hold_on(log)
    loop.run()
    log.info(f"ended: {counted(loop.recorded(), 'kill')} recorded in this boot")
    if level_judge.reason:
        _step_down(order, level_judge)


def _hold_on(log: Log) -> None:
    try:
        memory.hold_on()
    except memory.CannotLock as error:
        log.warning(f"Failed to lock the service's memory: {error}, ignoring: the kernel may evict it")


def _sampler(order: Order, proc: ProcReader, clock: KernelClock, rows: Wanted, log: Log) -> Sampler:
    sampler = Sampler(proc, clock, rows)
    sampler.open_files()
    for key in sampler.without_row(order.recording.meminfo_keys):
        log.warning(f"entry.meminfo: this kernel's /proc/meminfo has no row '{key}', entries will lack it")
    return sampler


def _kept(order: Order, origin: Origin, log: Log) -> Kept:
    """Open the ledger, set to the present source, and the file of sent ids; in memory where a file cannot be opened."""
    boot_id = bytes.fromhex(origin.boot_id.replace(b"-", b"").decode())
    # The kernel counts from boot on, and so does the ledger: kills before the first start are searched for, too.
    before = order.arming.kills_before
    begun = None if before is None else 0
    try:
        ledger = open_ledger(rundir.RUNTIME_DIRECTORY, boot_id, begun, before or 0)
    except OSError as error:
        log.warning(f"Failed to open the file of counters: {error}, a restart will lose the counts of kills")
        ledger = ledger_in_memory(boot_id, begun)
    try:
        sent_ids = open_sent_ids(rundir.RUNTIME_DIRECTORY)
    except OSError as error:
        log.warning(f"the ids of entries cannot be kept for the next start: {error}, ignoring")
        sent_ids = sent_ids_in_memory()
    kept = Kept(ledger, sent_ids)
    go_on_with(kept, order.arming.made_boottime_ns)
    return kept


def _means(
    kept: Kept,
    origin: Origin,
    deliver: Callable[[FoundKills, Sequence[str]], Delivery],
    kernel_log: int | None,
) -> Means:
    def look_for(kills: int, since_ns: int) -> Process:
        asked = Asked(kills, AT_MOST, origin.boot_id, origin.page_bytes, _repeats(kept.ledger), since_ns)
        return Process("unrecorded", asked, kernel_log)

    def found() -> FoundKills:
        return FoundKills(kept, lambda kill: logged_kill_id(kill, origin.boot_id))

    return Means(look_for, found, deliver)


def _repeats(ledger: Ledger) -> int:
    """See Asked: only kills in ``unsent`` were seen."""
    totals = ledger.totals
    return totals.earlier_repeats + totals.repeats + totals.recalled_repeats if totals.unsent else 0


def _evidence(kept: Kept, origin: Origin) -> Evidence:
    def look_up(entries: int, shown: bool) -> Process:
        return Process("stored", AskedStored(entries, shown=shown))

    return Evidence(kept.sent_ids, look_up, lambda kill: kill_id(kill, origin.boot_id))


def _log_reader(capture: Capture, origin: Origin, log: Log) -> DevKmsg | None:
    """The kernel log, for data that records lack; None: it cannot be read, or it is the source itself (level kmsg)."""
    if origin.level == "kmsg":
        return None
    only_who = origin.level == "tracepoint"
    fd = privileges.open_log()
    if fd is None:
        if only_who:
            log.warning("Failed to open the kernel log, /dev/kmsg: entries will not say why a kill happened, ignoring")
        return None
    # The lines of kills that already wait in the ring are in the log already: read it from its start.
    waits = capture.source.peek(capture.source.consumer_position) is not None
    return DevKmsg(fd, from_start=only_who and waits)


def _step_down(order: Order, judge: LevelJudge) -> NoReturn:
    """Save the level below as the highest, and end: the service then starts again at that level."""
    assert judge.level_below is not None
    try:
        rundir.write_ceiling(rundir.RUNTIME_DIRECTORY, rundir.Ceiling(judge.level_below, judge.reason))
    except OSError as error:
        say(
            ERR,
            f"Failed to note that level {order.arming.level} is unreliable: {error}; the next start will try it again",
        )
    raise SteppedDown(
        f"level {order.arming.level} is set aside until the next boot: {judge.reason}",
        f"the service starts again at level {judge.level_below}; report this, with the kernel's release",
    )


def _level_change(order: Order, journal: Journal, origin: Origin, log: Log) -> LevelChange:
    def remember() -> None:
        try:
            rundir.write_last(rundir.RUNTIME_DIRECTORY, order.arming.level)
        except OSError as error:
            log.warning(f"Failed to save the capture level for the next start: {error}, ignoring")

    fields = None
    if levelnotice.is_change(order):
        fields = level_entry(order.level_before, order.arming.level_failures, origin)
    return LevelChange(journal, fields, remember)


def _origin(order: Order, constraints: list[str]) -> Origin:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot_id = file.read().strip()
    return Origin(
        boot_id=boot_id,
        kernel_release=os.uname().release.encode(),
        level=order.arming.level,
        priority=order.recording.priority,
        page_bytes=os.sysconf("SC_PAGESIZE"),
        constraints=constraints,
        gfp_names=order.arming.gfp_names,
    )
