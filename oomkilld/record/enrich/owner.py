# SPDX-License-Identifier: Apache-2.0
"""The owner of a cgroup: unit, container and pod, from its path and from the names that kubelet leaves."""

from collections.abc import Callable

from oomkilld.host.cgrouppath import CgroupNames, is_of_slices, names
from oomkilld.host.kubelet import PodDirectory, PodNames
from oomkilld.host.procfs import ProcessName
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import Candidate, KillRecord, decision_of
from oomkilld.text import PASTEABLE_QUOTE, as_name, pasteable, printable, quoted

# Paths that are remembered, so that a storm in one cgroup reads the directories of pods once.
_REMEMBERED = 32
# Longer names are cut, to leave room for the rest of the sentence.
_SHOWN_CHARACTERS = 120
_SHORT_ID = 12  # as the runtimes themselves show it
_WHOLE_ID = 64


class Identity(NamedTuple):
    """A cgroup's path, and what it says about the owner. None: unknown, or not of that kind.

    ``cut``: the path is that of an ancestor, or only the outermost names; it shows the owner, but nothing further in.
    ``is_around``: the kernel killed all processes in and below this cgroup; which one the victim was in is unknown.
    """

    cgroup: bytes
    names: CgroupNames
    pod: PodNames
    cut: bool = False
    is_around: bool = False

    def label(self) -> str:
        """This very cgroup, for a person: a container, a pod, a unit, a slice, else its path."""
        names = self.names
        if self.cut or not names.exact:
            return self._path()
        if names.unit is not None and names.container_id is None and self.cgroup.endswith(b"/" + names.unit):
            return self._unit(names.unit)
        return self._owner() or shown(names.slice or self.cgroup)

    def owner(self) -> str:
        """Its owner, for a person: the container, pod or unit that it is in, else the cgroup itself."""
        return self._owner() or self.label()

    def _owner(self) -> str | None:
        names = self.names
        if names.inner_container_id is not None:
            inner = _container(names.inner_container_id, names.inner_container_runtime)
            return inner + self._who_named_it()
        if names.container_id is not None:
            return self._container()
        if names.pod_uid is not None:
            return self._pod()
        unit = names.user_unit or names.unit
        return None if unit is None else self._unit(unit)

    def _who_named_it(self) -> str:
        names = self.names
        if names.user is not None:
            return f" of {printable(names.user)}"
        if names.container_id is not None:
            return f" in {self._container()}"
        if names.pod_uid is not None:
            return f" in {self._pod()}"
        return f" in {self._path() if names.unit is None else shown(names.unit)}"

    def _unit(self, unit: bytes) -> str:
        """With the user of a user unit: its name may be that of any system unit."""
        names = self.names
        is_manager = unit == names.unit and unit.startswith((b"user@", b"capsule@"))
        return shown(unit) if names.user is None or is_manager else f"{shown(unit)} of {printable(names.user)}"

    def _container(self) -> str:
        names, pod = self.names, self.pod
        if pod.container is None:
            text = _container(names.container_id or b"", names.container_runtime)
        else:
            text = "container " + as_name(printable(pod.container))
        return text if names.pod_uid is None else f"{text} of {self._pod()}"

    def _pod(self) -> str:
        namespace, pod = self.pod.namespace, self.pod.pod
        if namespace is None or pod is None:
            return "pod " + printable(self.names.pod_uid or b"")
        return f"pod {as_name(printable(namespace))}/{as_name(printable(pod))}"

    def _path(self) -> str:
        """Begins with the outermost name, which not everyone can choose."""
        path = quoted(shown(self.cgroup), PASTEABLE_QUOTE)
        return f"cgroup {path}" if not self.cut else f"a cgroup below {path}"


def _container(container_id: bytes, runtime: str | None) -> str:
    """The short id that runtimes show, or a name."""
    is_id = runtime != "lxc" and len(container_id) == _WHOLE_ID
    name = pasteable(container_id[:_SHORT_ID]) if is_id else as_name(shown(container_id), PASTEABLE_QUOTE)
    return f"{runtime} container {name}" if runtime else f"container {name}"


def shown(name: bytes) -> str:
    """Escaped and bounded."""
    text = pasteable(name)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _above(identity: Identity) -> Identity:
    """For a cgroup below this one, or maybe below: it has the same owner, but perhaps another slice."""
    names = identity.names
    return identity._replace(cut=True, names=names._replace(slice=None) if is_of_slices(identity.cgroup) else names)


class Identifier:
    """Remembers the results for recent paths, and for the last decision.

    ``invocation_id``: of a unit's run, see Invocations.of(). ``name_of``: see KernelProcesses.name_of().
    """

    def __init__(
        self,
        pods: PodDirectory,
        invocation_id: Callable[[bytes, KillRecord], bytes | None],
        name_of: Callable[[int, int], ProcessName | None],
    ) -> None:
        self._pods = pods
        self._invocation_id = invocation_id
        self._name_of = name_of
        self._known: dict[bytes, Identity] = {}
        self._decision: tuple[tuple[int | None, ...], tuple[Candidate, ...] | None] | None = None
        self._candidate_units: tuple[bytes | None, ...] = ()

    def identify(self, cgroup: bytes | None, *, cut: bool = False) -> Identity | None:
        """None for an unknown path. ``cut``: its inner names are missing."""
        if cgroup is None:
            return None
        known = self._known_of(cgroup)
        return _above(known) if cut else known

    def _known_of(self, cgroup: bytes) -> Identity:
        known = self._known.get(cgroup)
        if known is None:
            known = self._look(cgroup)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            # Kubelet names a container only after its start, so a container without a name is looked up again.
            if known.pod.container is not None or known.names.pod_uid is None:
                self._known[cgroup] = known
        return known

    def of_kill(self, kill: KillRecord) -> tuple[Identity | None, Identity | None, Identity | None]:
        """Of trigger, victim and domain. None: unknown or, of the domain, no cgroup hit its limit.

        If the victim's path is unknown, the domain's, which is above it, still shows the owner.
        """
        domain = self.identify(kill.domain_cgroup, cut=bool(kill.domain_cgroup_cut))
        victim = self.identify(kill.victim_cgroup, cut=bool(kill.victim_cgroup_cut))
        if victim is None and kill.victim_within is not None:
            victim = _above(self._known_of(kill.victim_within))._replace(is_around=True)
        if victim is None and domain is not None:
            victim = _above(domain)
        return self.identify(kill.trigger_cgroup, cut=bool(kill.trigger_cgroup_cut)), victim, domain

    def invocation_of(self, identity: Identity | None, kill: KillRecord) -> bytes | None:
        """Id of the unit's run in which the kill happened. None also for user units: only their manager knows it."""
        if identity is None or identity.names.unit is None or identity.names.user_unit is not None:
            return None
        return self._invocation_id(identity.names.unit, kill)

    def candidate_units(self, kill: KillRecord) -> tuple[bytes | None, ...]:
        """One for each of the record's ``largest_candidates``; None: it is in no unit, has left, or is hidden.

        Read once per decision: in a group kill, more of them exist after the first kill than after the others.
        """
        candidates = kill.largest_candidates
        decision = decision_of(kill), candidates
        if self._decision != decision:
            self._decision = decision
            self._candidate_units = tuple(self._unit(kill, pid, comm) for _pages, pid, comm, _adj in candidates or ())
        return self._candidate_units

    def _unit(self, kill: KillRecord, pid: int, comm: bytes) -> bytes | None:
        if pid == kill.victim_pid:
            identity = self.identify(kill.victim_cgroup, cut=bool(kill.victim_cgroup_cut))
        else:
            found = self._name_of(pid, kill.kill_boottime_ns)
            # The number may be another process's by now, which most likely has another name.
            identity = self.identify(found.cgroup) if found and found.comm == comm else None
        return None if identity is None else identity.names.unit

    def _look(self, cgroup: bytes) -> Identity:
        found = names(cgroup)
        pod = PodNames(None, None, None)
        if found.pod_uid is not None:
            pod = self._pods.names(found.pod_uid, found.container_id)
        return Identity(cgroup, found, pod)
