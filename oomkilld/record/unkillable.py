# SPDX-License-Identifier: Apache-2.0
"""Reports that something ran out and nothing could be killed: at once, and then how often, but not each time.

A task that asked for memory asks again at once, so the kernel may find that a hundred times a second, for hours.
"""

from collections import deque
from contextlib import suppress

from oomkilld import schema
from oomkilld.host.cgrouppath import owner_key
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.deliver.sink import JournalRefused, Sink
from oomkilld.record.enrich.cause import Cause, cause_of
from oomkilld.record.enrich.enrich import Context, Enricher
from oomkilld.record.entry.killentry import facts
from oomkilld.record.entry.machine import families
from oomkilld.record.entry.message import unkillable_message
from oomkilld.record.entry.origin import Origin, common
from oomkilld.record.kill import KillRecord, Unkillable

# Between two entries of a domain, by the kernel's time.
AGAIN_NS = 600 * 10**9
# Domains of one owner that are told apart at a time, and domains in all; the others count as one.
MAX_OF_OWNER = 4
MAX_DOMAINS = 64
# Records that are read where no entry can be sent; a domain needs only one entry in minutes.
MAX_WAITING = 64
_OTHERS = b""
_PRIORITY = 3


_Key = tuple[bytes, bytes | None]  # the domain's owner, and the domain


class _Told(NamedTuple):
    """A domain: when its last entry was, when nothing could be killed the last time, and how often since that entry."""

    entry_ns: int
    last_ns: int
    again: int


class Unkillables:
    """Sends one entry for each domain, and another after AGAIN_NS at the earliest."""

    def __init__(self, enricher: Enricher, origin: Origin, sink: Sink) -> None:
        self._enricher = enricher
        self._origin = origin
        self._sink = sink
        self._told: dict[_Key, _Told] = {}
        self._waiting: deque[Unkillable] = deque(maxlen=MAX_WAITING)

    def add(self, unkillable: Unkillable) -> None:
        self._waiting.append(unkillable)

    def tell_waiting(self) -> None:
        """Send what is queued; what journald does not take stays queued."""
        with suppress(JournalRefused):
            while self._waiting:
                self.tell(self._waiting[0])
                self._waiting.popleft()

    def tell(self, unkillable: Unkillable) -> None:
        """Send or count it, unless it is known, as when the ring is read again. Raises JournalRefused: try again."""
        decision = unkillable.decision
        now_ns = decision.kill_boottime_ns
        domain = self._key_of(decision.domain_cgroup, now_ns)
        told = self._told.get(domain)
        if told is not None and now_ns <= told.last_ns:
            return
        if told is not None and now_ns - told.entry_ns < AGAIN_NS:
            self._told[domain] = told._replace(last_ns=now_ns, again=told.again + unkillable.times)
            return
        cause = cause_of(decision, self._origin.constraints, self._origin.page_bytes)
        context = self._enricher.context(decision, cause)
        again = told.again + unkillable.times - 1 if told else 0
        self._sink.send(unkillable_entry(decision, cause, context, self._origin, again))
        self._told[domain] = _Told(now_ns, now_ns, 0)

    def _key_of(self, domain: bytes | None, now_ns: int) -> _Key:
        owner = b"" if domain is None else owner_key(domain)[0]
        key = owner, domain
        if key in self._told:
            return key
        if len(self._told) >= MAX_DOMAINS:
            self._told = {key: told for key, told in self._told.items() if now_ns - told.entry_ns < AGAIN_NS}
        if sum(of == owner for of, _domain in self._told) >= MAX_OF_OWNER:
            key = owner, _OTHERS
        return key if key in self._told or len(self._told) < MAX_DOMAINS else (_OTHERS, _OTHERS)


def unkillable_entry(
    decision: KillRecord, cause: Cause, context: Context, origin: Origin, again: int = 0
) -> list[bytes]:
    """All fields of the entry; ``again``: how often nothing could be killed since the domain's last such entry.

    Without the victim's fields, which the context derives from the domain: there is no victim.
    """
    message = unkillable_message(decision, cause, context, again)
    head = common("unkillable", message, schema.MESSAGE_ID_UNKILLABLE, _PRIORITY, origin)
    values = facts(decision, cause, context, origin, schema.MAX_PATH_BYTES)
    of_domain = [(name, value) for name, value in values if not name.startswith("OOM_VICTIM_")]
    return schema.format_fields([*head, *of_domain]) + families(decision, context, origin.page_bytes)
