# SPDX-License-Identifier: Apache-2.0
"""Names a pod and its container from the names of the directories that kubelet keeps for their logs.

    /var/log/pods/NAMESPACE_POD_UID/                        BuildPodLogsDirectory(), since Kubernetes 1.14
    /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log      logSymlink(), pkg/kubelet/kuberuntime/legacy.go

For a pod of a manifest file, these names contain the uid that kubelet made and that is also in the cgroup's path, not
the uid of the pod's mirror in the API. No name of Kubernetes contains an underscore.

This module reads directory entries only. It opens no file and follows no link, except above these two directories.
Kubelet makes them with mode 0755, or 0750 for /var/log/pods in newer versions, owned by root: the service needs to be
root, but no capability, and ProtectSystem=strict only prevents writing. If kubelet is configured to keep them elsewhere
(podLogsDir), if one is a link, or if kubelet runs in a container, such as a node of kind, no names are found.
"""

import os
from itertools import islice

from oomkilld.lighttyping import NamedTuple

MAX_ENTRIES = 2000


class PodNames(NamedTuple):
    """Names as in the API, but not checked: the owner of the directories chose them. None: unknown.

    ``container`` alone is unknown for the sandbox (``pause``), for a container inside a container, for an instant
    after a container's start, if the log does not go to a file, and if the names are too long for a file name.
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
        """Look up a pod of the host (see CgroupNames) only: the uid of any other could be made up.

        Never raises: a name that cannot be read is None, and so is that of a container in another pod.
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
    """The middle part of the first entry that begins with ``before`` and ends with ``after``; empty: there is none."""
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
        pass  # treat the unread rest as absent
    finally:
        os.close(fd)
    return ""
