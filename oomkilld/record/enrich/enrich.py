# SPDX-License-Identifier: Apache-2.0
"""Adds to a kill what only user space can tell: the machine's state right after, and whose everything was."""

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.memcgusage import Contents, ContentsReader
from oomkilld.record.enrich.owner import Identifier, Identity
from oomkilld.record.enrich.sample import MAX_SAMPLE_DELAY_NS, Sample, Sampler
from oomkilld.record.kill import KillRecord


class ShownCommandLines(NamedTuple):
    """Arguments separated by spaces, secrets hidden. None: not known, or not wanted."""

    trigger: bytes | None
    victim: bytes | None


NO_COMMAND_LINES = ShownCommandLines(None, None)


class CommandLines(Protocol):
    """See commandlines.CommandLines."""

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether ``shown()`` need not be waited for; ``more``: others wait behind it."""

    def shown(self, kill: KillRecord) -> ShownCommandLines:
        """Of this kill."""


class Context(NamedTuple):
    """All that user space adds to a kill. None: not known, or there is none."""

    sample: Sample
    trigger: Identity | None
    victim: Identity | None
    domain: Identity | None  # the cgroup whose limit was hit
    invocation_id: bytes | None  # of the victim's unit
    contents: Contents | None  # of the domain, right after
    reduced: bool  # one of a flood: only what matters most is told
    command_lines: ShownCommandLines = NO_COMMAND_LINES


class _Found(NamedTuple):
    """What was read last, of which domain (None: the machine) and for which decision."""

    domain: bytes | None
    decision: tuple[int | None, ...]
    read_boottime_ns: int
    contents: Contents

    def tells_nothing_of(self, decision: tuple[int | None, ...], killed_boottime_ns: int) -> bool:
        """It was read before that kill, for another decision."""
        return self.decision != decision and self.read_boottime_ns < killed_boottime_ns


class Enricher:
    """Puts the context of a kill together. ``command_lines`` None: they are not wanted."""

    def __init__(
        self,
        sampler: Sampler,
        identifier: Identifier,
        contents: ContentsReader,
        detail: Detail,
        command_lines: CommandLines | None = None,
    ) -> None:
        self._sampler = sampler
        self._identifier = identifier
        self._contents = contents
        self._detail = detail
        self._command_lines = command_lines
        self._found: _Found | None = None

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether nothing is waited for before ``context()``; ``more``: others wait behind it."""
        return self._command_lines is None or self._command_lines.ready(kill, more=more)

    def reduced(self, kill: KillRecord, cause: Cause) -> bool:
        """Whether it is one of a flood."""
        return self._detail.reduced(kill, cause)

    def context(self, kill: KillRecord, cause: Cause) -> Context:
        """Look now, at what changes soonest first. What cannot be read costs only its fields."""
        reduced = self.reduced(kill, cause)
        sample = self._sampler.sample(kill, reduced=reduced)
        fresh = sample.delay_ns <= MAX_SAMPLE_DELAY_NS
        read_ns = kill.kill_boottime_ns + sample.delay_ns
        contents = self._contents_of(kill, cause, read_ns) if fresh and not reduced else None
        trigger, victim, domain = self._identifier.of_kill(kill)
        return Context(
            sample=sample,
            trigger=trigger,
            victim=victim,
            domain=domain,
            invocation_id=self._identifier.invocation_of(victim, kill) if fresh else None,
            contents=contents,
            reduced=reduced,
            command_lines=self._command_lines.shown(kill) if self._command_lines else NO_COMMAND_LINES,
        )

    def _contents_of(self, kill: KillRecord, cause: Cause, read_ns: int) -> Contents | None:
        """Once for a decision: of a group the first kill is the one that tells most, and one reading serves all.

        And once for the kills in one domain that waited for it: a newer reading tells less of them.
        """
        domain = None if cause.domain == "host" else kill.domain_cgroup
        # Of a path that is cut, there is another one's group.
        if cause.domain != "host" and (domain is None or kill.domain_cgroup_cut):
            return None
        decision = (kill.trigger_tid, kill.decision_boottime_ns, kill.decision_logged_usec)
        found = self._found
        if found is None or found.domain != domain or found.tells_nothing_of(decision, kill.kill_boottime_ns):
            contents = self._contents.read(domain, first=(kill.victim_cgroup, kill.trigger_cgroup))
            self._found = found = _Found(domain, decision, read_ns, contents)
        return found.contents
