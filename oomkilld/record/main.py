# SPDX-License-Identifier: Apache-2.0
"""The resident stage from hand-over to end: puts the parts together and runs the loop."""

import os

from oomkilld import lastlevel, layout
from oomkilld.console import ERR, NOTICE, say, stderr_is_journal
from oomkilld.errors import OomkilldError
from oomkilld.handover import Order, receive
from oomkilld.record.audit import Audit
from oomkilld.record.decode import KillRecord
from oomkilld.record.delivery import Delivery
from oomkilld.record.enrich import KernelClock, Sampler
from oomkilld.record.entry import Origin, kill_entry, level_entry, missed_entry
from oomkilld.record.journal import Journal
from oomkilld.record.levelchange import LevelChange
from oomkilld.record.log import INFO, Log, log_fields
from oomkilld.record.loop import LevelInForce, Loop, Parts
from oomkilld.record.notify import Notifier, watchdog_seconds
from oomkilld.record.procfs import ProcReader
from oomkilld.record.ring import Counters, Ring


def main() -> int:
    """Exit status; see errors.py."""
    try:
        order, fds = receive()
        _record(order, fds)
    except OomkilldError as error:
        say(ERR, error.message)
        say(NOTICE, error.hint)
        return error.exit_status
    return 0


def _record(order: Order, fds: dict[str, int]) -> None:
    _name_process(b"oomkilld")
    ring = Ring(fds["ring"], order.ring_bytes)
    counters = Counters(fds["counters"], layout.COUNTERS)
    clock = KernelClock()
    level = LevelInForce(order.level, order.level_failures)
    # Said at any log level: it tells since when kills are recorded, and opens libsystemd's socket.
    journal = Journal(log_fields(INFO, f"recording OOM kills at level {level.name}{level.shortcomings()}"))
    log = Log(order.log_priority, journal if stderr_is_journal() else None)
    origin = _origin(order)
    sampler = Sampler(ProcReader(), clock, order.meminfo)
    for key in sampler.unknown_keys():
        log.warning(f"entry.meminfo: this kernel's /proc/meminfo has no '{key}', ignoring")

    def render_kill(kill: KillRecord) -> list[bytes]:
        return kill_entry(kill, sampler.sample(kill), origin)

    def render_missed(missed: int, reason: str) -> list[bytes]:
        return missed_entry(missed, reason, origin)

    delivery = Delivery(ring, journal, render_kill, clock, log.warning)
    parts = Parts(
        delivery=delivery,
        audit=Audit(journal, render_missed),
        level_change=_level_change(order, journal, origin, log),
        counters=counters,
        notifier=Notifier(os.environ.get("NOTIFY_SOCKET")),
        log=log,
        clock=clock,
    )
    Loop(parts, fds["ring"], level, watchdog_seconds(os.environ)).run()
    log.info(f"ended: {delivery.counts.entries} kills recorded")


def _level_change(order: Order, journal: Journal, origin: Origin, log: Log) -> LevelChange:
    def remember() -> None:
        try:
            lastlevel.write(lastlevel.RUNTIME_DIRECTORY, order.level)
        except OSError as error:
            log.warning(f"the level cannot be kept for the next start: {error}, ignoring")

    changed = order.level != order.level_before
    fields = level_entry(order.level_before, order.level_failures, origin) if changed else None
    return LevelChange(journal, fields, remember)


def _origin(order: Order) -> Origin:
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot_id = file.read().strip()
    return Origin(
        boot_id=boot_id,
        kernel_release=os.uname().release.encode(),
        level=order.level,
        priority=order.priority,
        page_bytes=os.sysconf("SC_PAGESIZE"),
        constraints=order.constraints,
    )


def _name_process(name: bytes) -> None:
    """For ps and for the kernel's own lines, which would say python3."""
    with open("/proc/self/comm", "wb") as file:
        file.write(name)
