# SPDX-License-Identifier: Apache-2.0
"""Names a pod and its container from the names of the directories that kubelet keeps for their logs.

    /var/log/pods/NAMESPACE_POD_UID/                        BuildPodLogsDirectory(), since Kubernetes 1.14
    /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log      logSymlink(), pkg/kubelet/kuberuntime/legacy.go

The pod of a manifest file has there the uid that it has in the cgroup's path, which kubelet made: not the one of its
mirror in the API. No name of Kubernetes contains an underscore.

Only directory entries are read; neither is a file opened nor a link followed, except above these two directories.
Kubelet makes them with mode 0755, or 0750 for /var/log/pods in newer versions, owned by root: to be root is enough, no
capability is needed, and ProtectSystem=strict only keeps from writing. A kubelet told to keep them elsewhere
(podLogsDir), or whose directory is a link, is not found; nor is one inside a container, such as a node of kind.
"""

import os
from itertools import islice

from oomkilld.lighttyping import NamedTuple

MAX_ENTRIES = 2000


class PodNames(NamedTuple):
    """As in the API, but not checked: whoever owns the directories wrote them. None: not known.

    ``container`` alone is unknown for the sandbox (``pause``), for a container inside a container, for an instant
    after a container's start, where the log does not go to a file, and where the names are too long for a file's.
    """

    namespace: bytes | None
    pod: bytes | None
    container: bytes | None


class PodDirectory:
    """The kubelet of this host."""

    def __init__(self, root: str = "/") -> None:
        self._pods = os.path.join(root, "var/log/pods")
        self._containers = os.path.join(root, "var/log/containers")

    def names(self, pod_uid: bytes, container_id: bytes | None) -> PodNames:
        """For a pod of the host (see CgroupNames): the uid of another could be made up.

        Never raises: what cannot be read is not known. A container of another pod is not accepted.
        """
        found = _between(self._pods, "", "_" + os.fsdecode(pod_uid)).split("_")
        if len(found) != 2 or not all(found):
            return PodNames(None, None, None)
        namespace, pod = found
        container = ""
        if container_id:
            container = _between(self._containers, f"{pod}_{namespace}_", f"-{os.fsdecode(container_id)}.log")
        return PodNames(os.fsencode(namespace), os.fsencode(pod), os.fsencode(container) or None)


def _between(directory: str, before: str, after: str) -> str:
    """What the first entry with such a beginning and end has in between; empty when there is none."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        with os.scandir(fd) as entries:
            for name in (entry.name for entry in islice(entries, MAX_ENTRIES)):
                if name.startswith(before) and name.endswith(after):
                    return name[len(before) : len(name) - len(after)]
    except OSError:
        pass  # as if the rest were not there
    finally:
        os.close(fd)
    return ""
