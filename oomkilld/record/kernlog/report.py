# SPDX-License-Identifier: Apache-2.0
"""What the kernel prints about one decision of the OOM killer, before the kill: read line by line, then asked.

Everything in it is one writer's, who holds a lock meanwhile. Lines of others stand in between; where records tell who
wrote them (CONFIG_PRINTK_CALLER) these do not count.
"""

from oomkilld.host.cgrouppath import is_of_slices
from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kernlog.tasktable import TaskTable
from oomkilld.record.kill import KillRecord

UNKNOWN = KillRecord._make([None] * len(KillRecord._fields))
_NONE, _MEMCG = map(grammar.CONSTRAINTS.index, ("CONSTRAINT_NONE", "CONSTRAINT_MEMCG"))


class Report:
    """Begins with the line ``first``: who asked, or, if that is not known, the last line of the header."""

    def __init__(self, first: Line, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._caller = first.caller
        self._invoked = grammar.invoked(first.text)
        self._asker: grammar.Asker | None = None
        self._domain: bytes | None = None
        self._charged: dict[bytes, grammar.Charged] = {}
        self._machine: dict[bytes, int] = {}
        self._tasks = TaskTable()
        self._chosen: bytes | None = None  # the last line of the header; b"": it is not whole
        self._continued = False  # whether the last line read may be continued
        self.take(first)

    def take(self, line: Line) -> None:
        """Any line that comes before the kill."""
        if self._is_others(line):
            return
        text = line.text
        if line.fragment:
            self._void()
        elif grammar.is_chosen(text):
            self._chosen, self._continued = text, True
        elif self._chosen is None:
            self._read(line)

    def _is_others(self, line: Line) -> bool:
        return bool(line.caller and self._caller) and line.caller != self._caller

    def _void(self) -> None:
        """More of a line came after another one's, and what is in between is not known: that line alone is lost."""
        if not self._continued:
            return
        if self._chosen is None:
            self._domain = None
        else:
            self._chosen = b""

    def _read(self, line: Line) -> None:
        text = line.text
        if line.caller:
            self._continued = False  # it is the same writer's, and the line before has ended
        if grammar.is_domain(text):
            self._domain, self._continued = grammar.domain_in(text), True
        elif charged := grammar.charged(text):
            self._charged[charged.what] = charged
        elif machine := grammar.machine(text):
            name, value = machine
            self._machine[name] = value
        elif self._asker is None and self._invoked is not None:
            self._asker = grammar.asker(text, self._invoked.comm)
        self._tasks.take(text)

    @property
    def ended(self) -> bool:
        """Whether the next kill is its own."""
        return self._chosen is not None

    def decision(self, kill: grammar.Killed) -> KillRecord:
        """What it tells of this kill, which is the first behind it; nothing, if that cannot be of this decision."""
        if self._chosen is None:
            return UNKNOWN
        chosen = grammar.chosen(self._chosen, kill) if self._chosen else None
        constraint = chosen.constraint if chosen else _MEMCG if self._charged else None
        other = chosen is not None and chosen.uid != kill.uid
        if other or (constraint is not None and not grammar.fits(kill.reason, constraint)):
            return UNKNOWN
        record = self._of_asker()._replace(constraint=constraint)
        if chosen is not None:
            record = _placed(record, chosen)
        if constraint == _MEMCG:
            return self._with_cgroup(record)
        return self._with_machine(record) if constraint == _NONE else record

    def listed(self, record: KillRecord, kill: grammar.Killed) -> KillRecord:
        """With what the list of tasks tells of one that is killed, if it is in there."""
        task = self._tasks.task(kill.tid, kill.comm, kill.uid)
        return record._replace(victim_pid=task.pid, victim_swap_pages=task.swap_pages) if task else record

    def without_kill(self) -> KillRecord:
        """A decision that found nothing to kill."""
        record = self._of_asker()._replace(reason=grammar.NOTHING_TO_KILL)
        return self._with_cgroup(record._replace(constraint=_MEMCG)) if self._charged else record

    def _of_asker(self) -> KillRecord:
        asker, invoked = self._asker, self._invoked
        if invoked is None:
            return UNKNOWN
        record = UNKNOWN._replace(trigger_comm=invoked.comm, gfp_mask=invoked.gfp_mask, order=invoked.order)
        if asker is None:
            return record
        task = self._tasks.task(asker.tid, invoked.comm, None)
        return record._replace(trigger_tid=asker.tid, trigger_uid=asker.uid, trigger_pid=task.pid if task else None)

    def _with_cgroup(self, record: KillRecord) -> KillRecord:
        """With its limits and usage, in the way of the kernel's own structures."""
        both = self._charged.get(grammar.MEMORY_AND_SWAP)
        memory, swap = self._charged.get(grammar.MEMORY), both or self._charged.get(grammar.SWAP)
        record = record._replace(domain_cgroup=record.domain_cgroup or self._domain)
        if memory is not None:
            limit, usage = self._pages(memory.limit), self._pages(memory.usage)
            record = record._replace(domain_limit_pages=limit, domain_usage_pages=usage)
        if swap is not None:
            limit, usage = self._pages(swap.limit), self._pages(swap.usage)
            record = record._replace(domain_swap_limit_pages=limit, domain_swap_usage_pages=usage)
            record = record._replace(cgroup_version=1 if both else 2)
        return record

    def _with_machine(self, record: KillRecord) -> KillRecord:
        ram, reserved = self._machine.get(grammar.RAM), self._machine.get(grammar.RESERVED)
        swap, free = self._machine.get(grammar.TOTAL_SWAP), self._machine.get(grammar.FREE_SWAP)
        return record._replace(
            domain_limit_pages=None if ram is None or reserved is None else ram - reserved,
            domain_swap_limit_pages=None if swap is None else self._pages(swap),
            machine_swap_free_pages=None if free is None else self._pages(free),
        )

    def _pages(self, size: int) -> int:
        return size // self._page_bytes


def _placed(record: KillRecord, chosen: grammar.Chosen) -> KillRecord:
    """With the cgroups by the memory controller, which need not be on, nor count each unit for itself."""
    record = record._replace(domain_nodes=chosen.nodes, domain_cpuset=chosen.cpuset, domain_cgroup=chosen.domain_cgroup)
    victim = chosen.victim_cgroup
    if victim is None or victim == b"/":
        return record
    record = record._replace(victim_cgroup=victim)
    return record._replace(victim_cgroup_cut=True) if is_of_slices(victim) else record
