# SPDX-License-Identifier: Apache-2.0
"""Reads what the kernel prints about one decision before the kill, line by line, and then answers questions about it.

One writer prints the whole report, and holds a lock meanwhile. Lines of other writers may stand in between; they are
ignored where records name their writer (CONFIG_PRINTK_CALLER).
"""

from oomkilld.host.cgrouppath import is_of_slices
from oomkilld.record.kernlog import grammar
from oomkilld.record.kernlog.kmsg import Line
from oomkilld.record.kernlog.tasktable import TaskTable
from oomkilld.record.kill import KillRecord

UNKNOWN = KillRecord._make([None] * len(KillRecord._fields))
_NONE, _MEMCG = map(grammar.CONSTRAINTS.index, ("CONSTRAINT_NONE", "CONSTRAINT_MEMCG"))


class Report:
    """Begins with the line ``first``: the header's first line, or its last one if the others are missing."""

    def __init__(self, first: Line, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._caller = first.caller
        self._invoked = grammar.invoked(first.text)
        self._asker: grammar.Asker | None = None
        self._domain: bytes | None = None
        self._charged: dict[bytes, grammar.Charged] = {}
        self._machine: dict[bytes, int] = {}
        self._tasks = TaskTable(page_bytes)
        self._chosen: bytes | None = None  # the last line of the header; b"": incomplete
        self._continued = False  # whether a fragment may continue the last line that was read
        self.take(first)

    def take(self, line: Line) -> None:
        if line.caller and self._caller and line.caller != self._caller:
            return
        text = line.text
        if line.fragment:
            self._void()
        elif grammar.is_chosen(text):
            self._chosen, self._continued = text, True
        elif self._chosen is None:
            self._read(line)

    def _void(self) -> None:
        """Handle a fragment: it may lack a part of the line that it continues, so discard that line alone."""
        if not self._continued:
            return
        if self._chosen is None:
            self._domain = None
        else:
            self._chosen = b""

    def _read(self, line: Line) -> None:
        text = line.text
        if line.caller:
            self._continued = False  # the same writer began a new line, so the one before is complete
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
        """Whether the next kill belongs to this report."""
        return self._chosen is not None

    def decision(self, kill: grammar.Killed) -> KillRecord:
        """What the report says about ``kill``, the first one after it; UNKNOWN if the two cannot be of one decision."""
        if self._chosen is None:
            return UNKNOWN
        chosen = grammar.chosen(self._chosen, kill) if self._chosen else None
        constraint = chosen.constraint if chosen else _MEMCG if self._charged else None
        other = chosen is not None and chosen.uid != kill.uid
        if other or (constraint is not None and not grammar.fits(kill.reason, constraint)):
            return UNKNOWN
        record = self._with_candidates(self._of_asker())._replace(constraint=constraint)
        if chosen is not None:
            record = _placed(record, chosen)
        if constraint == _MEMCG:
            return self._with_cgroup(record)
        return self._with_machine(record) if constraint == _NONE else record

    def listed(self, record: KillRecord, kill: grammar.Killed) -> KillRecord:
        """Add what the task list says about a killed process, if it lists the process."""
        task = self._tasks.task(kill.tid, kill.comm, kill.uid)
        return record._replace(victim_pid=task.pid, victim_swap_pages=task.swap_pages) if task else record

    def without_kill(self) -> KillRecord:
        record = self._with_candidates(self._of_asker())._replace(reason=grammar.NOTHING_TO_KILL)
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

    def _with_candidates(self, record: KillRecord) -> KillRecord:
        found = self._tasks.candidates()
        if found is None:
            return record
        return record._replace(
            candidates=found.number,
            candidates_exempt=found.exempt,
            candidates_pages=found.pages,
            largest_candidates=found.largest,
        )

    def _with_cgroup(self, record: KillRecord) -> KillRecord:
        """Add the cgroup's limits and usage, in the terms of the kernel's own structures."""
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
    """Add the paths by the memory controller, which may be off, or not enabled for each unit."""
    record = record._replace(domain_nodes=chosen.nodes, domain_cpuset=chosen.cpuset, domain_cgroup=chosen.domain_cgroup)
    victim = chosen.victim_cgroup
    if victim is None or victim == b"/":
        return record
    record = record._replace(victim_cgroup=victim)
    return record._replace(victim_cgroup_cut=True) if is_of_slices(victim) else record
