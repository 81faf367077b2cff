# SPDX-License-Identifier: Apache-2.0
"""Adds to a kill what only user space knows: the machine's state right after it, and the owners of the cgroups."""

from collections.abc import Sequence

from oomkilld.lighttyping import NamedTuple, Protocol
from oomkilld.record.enrich.cause import Cause
from oomkilld.record.enrich.flood import Detail
from oomkilld.record.enrich.memcgusage import Contents, ContentsReader
from oomkilld.record.enrich.owner import Identifier, Identity
from oomkilld.record.enrich.sample import MAX_SAMPLE_DELAY_NS, Sample, Sampler
from oomkilld.record.kill import KillRecord, decision_of


class ShownCommandLines(NamedTuple):
    """Arguments separated by spaces, with secrets hidden. None: unknown, or not wanted."""

    trigger: bytes | None
    victim: bytes | None


NO_COMMAND_LINES = ShownCommandLines(None, None)


class CommandLines(Protocol):
    """See commandlines.CommandLines, which is imported only if they are wanted."""

    def ready(self, kill: KillRecord, *, more: bool) -> bool: ...
    def shown(self, kill: KillRecord) -> ShownCommandLines: ...


class LedUp(NamedTuple):
    """What led up to a kill. ``trend``: a word of history/growth.py. ``window_ns``: before the kill; None: no samples.

    ``grew``: the cgroups (path, bytes) that grew most in that window, the one that grew most first.
    """

    trend: str
    window_ns: int | None
    grew: Sequence[tuple[bytes, int]]


class History(Protocol):
    """See recorder.Recorder, which is imported only if it is wanted."""

    def before(self, kill: KillRecord, cause: Cause) -> LedUp: ...


class Optional(NamedTuple):
    """What only some settings want, see record/optional.py. None: not wanted, or not possible."""

    command_lines: CommandLines | None = None
    history: History | None = None


class Context(NamedTuple):
    """All that user space adds to a kill. None: unknown, or there is none."""

    sample: Sample
    trigger: Identity | None
    victim: Identity | None
    domain: Identity | None  # the cgroup that hit its limit
    invocation_id: bytes | None  # of the victim's unit
    contents: Contents | None  # of the domain, right after the kill
    reduced: bool  # one of a flood: the entry has only the most important fields
    command_lines: ShownCommandLines = NO_COMMAND_LINES
    candidate_units: tuple[bytes | None, ...] = ()  # one for each of the record's largest_candidates, or none at all
    led_up: LedUp | None = None  # None: not wanted


class _Found(NamedTuple):
    """The last reading, its domain (None: the machine), and the decision that it was made for."""

    domain: bytes | None
    decision: tuple[int | None, ...]
    read_boottime_ns: int
    contents: Contents

    def tells_nothing_of(self, decision: tuple[int | None, ...], killed_boottime_ns: int) -> bool:
        """Whether it was read before that kill, and for another decision."""
        return self.decision != decision and self.read_boottime_ns < killed_boottime_ns


class Enricher:
    """Collects the context of a kill."""

    def __init__(
        self,
        sampler: Sampler,
        identifier: Identifier,
        contents: ContentsReader,
        detail: Detail,
        optional: Optional = Optional(),  # noqa: B008 # it cannot change
    ) -> None:
        self._sampler = sampler
        self._identifier = identifier
        self._contents = contents
        self._detail = detail
        self._command_lines, self._history = optional
        self._found: _Found | None = None

    def ready(self, kill: KillRecord, *, more: bool) -> bool:
        """Whether ``context()`` can be called without waiting; ``more``: other kills wait behind this one."""
        return self._command_lines is None or self._command_lines.ready(kill, more=more)

    def reduced(self, kill: KillRecord, cause: Cause) -> bool:
        return self._detail.reduced(kill, cause)

    def context(self, kill: KillRecord, cause: Cause) -> Context:
        """Read now, what changes soonest first. A failed read costs only its own fields."""
        reduced = self.reduced(kill, cause)
        sample = self._sampler.sample(kill, reduced=reduced)
        led_up = self._history.before(kill, cause) if self._history and not reduced and not kill.spared else None
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
            candidate_units=self._identifier.candidate_units(kill) if fresh and not reduced else (),
            led_up=led_up,
        )

    def _contents_of(self, kill: KillRecord, cause: Cause, read_ns: int) -> Contents | None:
        """Read once per decision: in a group kill, the reading after the first kill shows most, and serves all.

        It also serves the kills in the same domain that waited for it: a newer reading would show less about them.
        """
        domain = None if cause.domain == "host" else kill.domain_cgroup
        # A cut path names another cgroup.
        if cause.domain != "host" and (domain is None or kill.domain_cgroup_cut):
            return None
        decision = decision_of(kill)
        found = self._found
        if found is None or found.domain != domain or found.tells_nothing_of(decision, kill.kill_boottime_ns):
            contents = self._contents.read(domain, first=(kill.victim_cgroup, kill.trigger_cgroup))
            self._found = found = _Found(domain, decision, read_ns, contents)
        return found.contents
