# SPDX-License-Identifier: Apache-2.0
"""Whose a control group is: unit, container and pod, from its path and from the names that kubelet leaves."""

from collections.abc import Callable

from oomkilld.host.cgrouppath import CgroupNames, is_of_slices, names
from oomkilld.host.kubelet import PodDirectory, PodNames
from oomkilld.lighttyping import NamedTuple
from oomkilld.record.kill import KillRecord
from oomkilld.text import PASTEABLE_QUOTE, as_name, pasteable, printable, quoted

# So many paths are remembered: a storm in one cgroup reads the directories of pods once.
_REMEMBERED = 32
# No name pushes the rest of a sentence out.
_SHOWN_CHARACTERS = 120
_SHORT_ID = 12  # as the runtimes themselves show it
_WHOLE_ID = 64


class Identity(NamedTuple):
    """A control group's path, and what it tells; None: not known, or not of that kind.

    ``cut``: the path is only the outermost names of it, or that of a group above, and tells whose it is, but not more.
    ``is_around``: of that group, or of one below it, all were killed, and it is not known which of these it was.
    """

    cgroup: bytes
    names: CgroupNames
    pod: PodNames
    cut: bool = False
    is_around: bool = False

    def label(self) -> str:
        """This very group, for a person: a container, a pod, a unit, a slice, else its path."""
        names = self.names
        if self.cut or not names.exact:
            return self._path()
        if names.unit is not None and names.container_id is None and self.cgroup.endswith(b"/" + names.unit):
            return self._unit(names.unit)
        return self._owner() or shown(names.slice or self.cgroup)

    def owner(self) -> str:
        """Whom it belongs to, for a person: the container, pod or unit that it is in, else the group itself."""
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
        """A user's, too: that may be called as any of the system's."""
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
        """From the outermost name on, which is not for everyone to choose."""
        path = quoted(shown(self.cgroup), PASTEABLE_QUOTE)
        return f"cgroup {path}" if not self.cut else f"a cgroup below {path}"


def _container(container_id: bytes, runtime: str | None) -> str:
    """An id as runtimes show it, or a name."""
    is_id = runtime != "lxc" and len(container_id) == _WHOLE_ID
    name = pasteable(container_id[:_SHORT_ID]) if is_id else as_name(shown(container_id), PASTEABLE_QUOTE)
    return f"{runtime} container {name}" if runtime else f"container {name}"


def shown(name: bytes) -> str:
    """Bounded."""
    text = pasteable(name)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _above(identity: Identity) -> Identity:
    """What it tells of a group that is below it, or may be: there may be slices further inwards."""
    names = identity.names
    return identity._replace(cut=True, names=names._replace(slice=None) if is_of_slices(identity.cgroup) else names)


class Identities(NamedTuple):
    """Of a kill. None: not known; of the domain also where no cgroup's limit was hit."""

    trigger: Identity | None
    victim: Identity | None
    domain: Identity | None


class Identifier:
    """Remembers what it found for the paths of late. ``invocation_id``: of a unit's run, see Invocations.of()."""

    def __init__(self, pods: PodDirectory, invocation_id: Callable[[bytes, KillRecord], bytes | None]) -> None:
        self._pods = pods
        self._invocation_id = invocation_id
        self._known: dict[bytes, Identity] = {}

    def identify(self, cgroup: bytes | None, *, cut: bool = False) -> Identity | None:
        """None for an unknown path. ``cut``: its inner names were left out."""
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
            # Kubelet names a container only after its start: what it has not named yet is looked up again.
            if known.pod.container is not None or known.names.pod_uid is None:
                self._known[cgroup] = known
        return known

    def of_kill(self, kill: KillRecord) -> Identities:
        """Where the victim's path is unknown, the domain's, which is above it, tells whose it is, but not more."""
        domain = self.identify(kill.domain_cgroup, cut=bool(kill.domain_cgroup_cut))
        victim = self.identify(kill.victim_cgroup, cut=bool(kill.victim_cgroup_cut))
        if victim is None and kill.victim_within is not None:
            victim = _above(self._known_of(kill.victim_within))._replace(is_around=True)
        if victim is None and domain is not None:
            victim = _above(domain)
        return Identities(self.identify(kill.trigger_cgroup, cut=bool(kill.trigger_cgroup_cut)), victim, domain)

    def invocation_of(self, identity: Identity | None, kill: KillRecord) -> bytes | None:
        """Of its unit's run that was killed in. Of a unit of a user's manager only that one knows the id: None."""
        if identity is None or identity.names.unit is None or identity.names.user_unit is not None:
            return None
        return self._invocation_id(identity.names.unit, kill)

    def _look(self, cgroup: bytes) -> Identity:
        found = names(cgroup)
        pod = PodNames(None, None, None)
        if found.pod_uid is not None:
            pod = self._pods.names(found.pod_uid, found.container_id)
        return Identity(cgroup, found, pod)
