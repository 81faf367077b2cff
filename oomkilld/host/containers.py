# SPDX-License-Identifier: Apache-2.0
"""Finds containers and pods in a cgroup's path by their runtimes' naming rules, and which of the names are the host's.

Kubernetes: pkg/kubelet/cm, ToSystemd(), ToCgroupfs(). A pod's uid is a UUID, or 32 hex digits that kubelet makes for a
pod of a manifest file (pkg/kubelet/config/common.go, applyDefaults()). A uid of another form, which such a file may
set, is not recognised. Containers: moby daemon/oci_linux.go; podman getOCICgroupPath(); CRI-O createUnitName(); nerdctl
generateCgroupPath(); LXC src/lxc/cgroups/cgfsng.c.
"""

from oomkilld.lighttyping import NamedTuple

_HEX_DIGITS = b"0123456789abcdef"
_CONTAINER_ID_DIGITS = 64
# The prefix of a container's id. The monitors of containers (libpod-conmon-, crio-conmon-) are left out on purpose.
_RUNTIMES = {
    b"docker": "docker",
    b"libpod": "podman",
    b"libpod-payload": "podman",
    b"cri-containerd": "containerd",
    b"nerdctl": "containerd",
    b"crio": "cri-o",
}
# Without systemd the id may have no prefix. Then only these directories identify the runtime: below kubepods/, Docker
# and containerd look the same.
_RUNTIME_DIRECTORIES = {b"docker": "docker", b"k8s.io": "containerd"}
# Below it, without systemd, an id without a prefix is one of podman's pods, which contains the containers.
_PODMAN_DIRECTORY = b"libpod_parent"
_LXC_PREFIX = b"lxc.payload."
_LXC_DIRECTORIES = (b"lxc", b"lxc.payload")
_CRUNS_INNER = b"container"
# Cgroups that the host's runtimes keep for themselves: directories at the top, if they do not use systemd, and their
# units. runc creates a container's cgroup below its unit if it gets a name for systemd, but not the option to use it.
_RUNTIMES_OWN = {
    *(*_RUNTIME_DIRECTORIES, *_LXC_DIRECTORIES, _PODMAN_DIRECTORY),
    *(b"kubelet", b"kubepods", b"burstable", b"besteffort"),
    *(b"containerd.service", b"docker.service", b"crio.service", b"kubelet.service", b"k3s.service"),
    *(b"k3s-agent.service", b"rke2-server.service", b"rke2-agent.service"),
    *(b"k0scontroller.service", b"k0sworker.service"),
    *(b"snap.microk8s.daemon-containerd.service", b"snap.microk8s.daemon-kubelite.service"),
}


class Found(NamedTuple):
    """A name, and its index in the path; -1: it is not there."""

    name: bytes | None
    at: int
    runtime: str | None = None


NOTHING = Found(None, -1)


def named_by_the_host(parts: list[bytes], after_slices: int) -> int:
    """How many of ``parts`` the host named: the slices, the one below them, and each one below a runtime's own."""
    at = after_slices
    while at < len(parts) and (parts[at] in _RUNTIMES_OWN or _is_pod(parts[at], parts[at - 1] if at else b"")):
        at += 1
    return min(at + 1, len(parts))


def container_in(parts: list[bytes], start: int, end: int) -> Found:
    """The outermost container of ``parts[start:end]``."""
    for at in range(start, end):
        part, parent = parts[at], parts[at - 1] if at else b""
        container_id, runtime = _hex_container(part, parent)
        if container_id is not None:
            return Found(container_id, at, runtime)
        if part.startswith(_LXC_PREFIX) and part != _LXC_PREFIX:
            return Found(part.removeprefix(_LXC_PREFIX), at, "lxc")
        if parent in _LXC_DIRECTORIES:
            return Found(part, at, "lxc")
    return NOTHING


def is_inside(parts: list[bytes], at: int) -> bool:
    """Whether crun has put the container's processes into a cgroup below the one at index ``at`` (crun's cgroup.c)."""
    return parts[at + 1 :] == [_CRUNS_INNER]


def pod_in(parts: list[bytes]) -> Found:
    """The outermost ``kubepods-burstable-podUID.slice``, or ``podUID`` below ``kubepods/burstable``."""
    for at, part in enumerate(parts):
        before, found, uid = part.partition(b":")[0].removesuffix(b".slice").rpartition(b"pod")
        if not found or before[-1:] not in (b"", b"-"):
            continue
        above = before.split(b"-") if before else parts[max(0, at - 2) : at]
        uid = uid.replace(b"_", b"-")
        if b"kubepods" in above and _is_pod_uid(uid):
            return Found(uid, at)
    return NOTHING


def _hex_container(part: bytes, parent: bytes) -> tuple[bytes | None, str | None]:
    """``docker-ID.scope``, ``ID``, or ``SLICE:docker:ID``, a name for systemd that runc took for a path."""
    name = part.removesuffix(b".scope")
    container_id, before = name[-_CONTAINER_ID_DIGITS:], name[:-_CONTAINER_ID_DIGITS]
    if not _is_container_id(container_id) or (not before and parent == _PODMAN_DIRECTORY):
        return None, None
    if not before:
        return container_id, _RUNTIME_DIRECTORIES.get(parent)
    runtime = _RUNTIMES.get(before[:-1].rpartition(b":")[2]) if before[-1:] in (b"-", b":") else None
    return (container_id, runtime) if runtime else (None, None)


def _is_container_id(name: bytes) -> bool:
    return len(name) == _CONTAINER_ID_DIGITS and not name.translate(None, _HEX_DIGITS)


def _is_pod(part: bytes, parent: bytes) -> bool:
    if parent == _PODMAN_DIRECTORY:
        return _is_container_id(part)
    return part.startswith(b"pod") and _is_pod_uid(part.removeprefix(b"pod"))


def _is_pod_uid(uid: bytes) -> bool:
    groups = [len(group) for group in uid.split(b"-")]
    return groups in ([32], [8, 4, 4, 4, 12]) and not uid.translate(None, _HEX_DIGITS + b"-")
