# SPDX-License-Identifier: Apache-2.0
"""Whose a control group is: unit, container and pod, from its path and from the names that kubelet leaves."""

from collections.abc import Callable
from typing import NamedTuple

from oomkilld.record.cgroup import CgroupNames, names
from oomkilld.record.pods import PodDirectory, PodNames

# So many paths are remembered: a storm in one cgroup reads the directories of pods once.
_REMEMBERED = 32
_SHOWN_BYTES = 120
_SHORT_ID = 12  # as the runtimes themselves show it


class Identity(NamedTuple):
    """A control group's path, and what it tells; None: not known, or not of that kind."""

    cgroup: bytes
    names: CgroupNames
    pod: PodNames

    def label(self) -> bytes:
        """This very group, for a person: a container, a pod, a unit, a slice, else its path."""
        names, leaf = self.names, self.cgroup.rpartition(b"/")[2]
        if names.container_id is not None and names.container_id in leaf:
            return self._container()
        if names.pod_uid is not None and names.pod_uid in leaf.replace(b"_", b"-"):
            return self._pod()
        if leaf and leaf in (names.user_unit, names.unit, names.slice):
            return leaf
        path = self.cgroup if len(self.cgroup) <= _SHOWN_BYTES else b"..." + self.cgroup[-_SHOWN_BYTES:]
        # In quotes, which none of it can end: anyone may have named it.
        return b"cgroup '%s'" % path.replace(b"'", b"?")

    def owner(self) -> bytes:
        """Whom it belongs to, for a person: the container, pod or unit that it is in, else the group itself."""
        names = self.names
        if names.container_id is not None:
            return self._container()
        if names.pod_uid is not None:
            return self._pod()
        return names.user_unit or names.unit or self.label()

    def _container(self) -> bytes:
        names, pod = self.names, self.pod
        if pod.container is None:
            kind = b"" if names.container_runtime is None else names.container_runtime.encode() + b" "
            text = b"%scontainer %s" % (kind, (names.container_id or b"")[:_SHORT_ID])
        else:
            text = b"container " + pod.container
        return text if names.pod_uid is None else b"%s of %s" % (text, self._pod())

    def _pod(self) -> bytes:
        if self.pod.namespace is None or self.pod.pod is None:
            return b"pod %s" % self.names.pod_uid
        return b"pod %s/%s" % (self.pod.namespace, self.pod.pod)


class Identifier:
    """Remembers what it found for the paths of late. ``invocation_id`` is asked with a unit's name."""

    def __init__(self, pods: PodDirectory, invocation_id: Callable[[bytes], bytes | None]) -> None:
        self._pods = pods
        self._invocation_id = invocation_id
        self._known: dict[bytes, Identity] = {}

    def identify(self, cgroup: bytes | None) -> Identity | None:
        """None for an unknown path."""
        if cgroup is None:
            return None
        known = self._known.get(cgroup)
        if known is None:
            known = self._look(cgroup)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            # Kubelet names a container only after its start: what it has not named yet is looked up again.
            if known.pod.container is not None or not known.names.pod_of_host:
                self._known[cgroup] = known
        return known

    def invocation_of(self, identity: Identity | None) -> bytes | None:
        """Of its unit's run that is now. A unit of a user's manager has an id that only that manager knows: None."""
        if identity is None or identity.names.unit is None or identity.names.user_unit is not None:
            return None
        return self._invocation_id(identity.names.unit)

    def _look(self, cgroup: bytes) -> Identity:
        found = names(cgroup)
        pod = PodNames(None, None, None)
        # Of the others, inside a container or below a user's manager, kubelet does not know, and anyone may name them.
        if found.pod_uid is not None and found.pod_of_host:
            pod = self._pods.names(found.pod_uid, found.container_id)
        return Identity(cgroup, found, pod)
