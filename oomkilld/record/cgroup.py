# SPDX-License-Identifier: Apache-2.0
"""Tells from a cgroup's path whose it is: the unit by systemd's rules, the container by its runtime's.

The unit is the host's, which is the outermost: the units of a systemd inside a container are none of the host's. So is
the pod, for the host's kubelet knows no other, and what runs inside cannot feign it. The container is the innermost,
as the nearest to the process; of Docker inside a pod, that is Docker's.

Where from: systemd 258, src/basic/cgroup-util.c: cg_path_get_unit(), _user_unit(), _slice(), _session(). A machine's
name is read off its unit, by the rule that machined (machine_start_scope()) and the units systemd-nspawn@.service and
systemd-vmspawn@.service follow; systemd itself asks machined. A machine may be a container or a virtual machine, so
its name is not taken for a container's id.
Kubernetes: pkg/kubelet/cm, ToSystemd(), ToCgroupfs(); a pod's uid is a UUID, or 32 hex digits which kubelet makes for
a pod of a manifest file (pkg/kubelet/config/common.go, applyDefaults()). A uid that such a file sets itself, of
another form, is not recognised. Containers: moby daemon/oci_linux.go; podman getOCICgroupPath(); CRI-O
createUnitName(); nerdctl generateCgroupPath(); LXC src/lxc/cgroups/cgfsng.c.

Whoever may make cgroups may call them as they like: a user below the own manager, a container below itself, a service
with Delegate=yes. What is above is not theirs to name.
"""

from typing import NamedTuple

ROOT_SLICE = b"-.slice"

_DIGITS = b"0123456789"
_HEX_DIGITS = b"0123456789abcdef"
_ALPHANUMERIC = _DIGITS + b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNIT_CHARACTERS = _ALPHANUMERIC + b":-_.\\@"
_UNIT_TYPES = frozenset(b"service socket target device mount automount swap timer path slice scope".split())
_UNIT_NAME_BYTES = 255
_MACHINE_NAME_BYTES = 64
_CAPSULE_NAME_BYTES = 29
_NO_UIDS = (0xFFFF, 0xFFFFFFFF)

_CONTAINER_ID_DIGITS = 64
# What stands before the id of a container. The monitors of containers (libpod-conmon-, crio-conmon-) are left out.
_RUNTIMES = {
    b"docker": "docker",
    b"libpod": "podman",
    b"libpod-payload": "podman",
    b"cri-containerd": "containerd",
    b"nerdctl": "containerd",
    b"crio": "cri-o",
}
# Without systemd the id may stand alone, and only these directories tell the runtime: below kubepods/ Docker and
# containerd look the same.
_RUNTIME_DIRECTORIES = {b"docker": "docker", b"k8s.io": "containerd"}
# Below them runc puts what was meant for systemd, where it was not told to ask it.
_RUNTIME_UNITS = {b"containerd.service", b"docker.service", b"crio.service", b"kubelet.service", b"k3s.service"}
_LXC_PREFIX = b"lxc.payload."
_LXC_DIRECTORIES = (b"lxc", b"lxc.payload")


class CgroupNames(NamedTuple):
    """What a path tells. None: it is not of that kind, except ``container_runtime``, which may just be unknown.

    ``slice`` is ``-.slice`` at the top, as journald has it. ``pod_uid`` is as in the API, with dashes. ``pod_of_host``:
    the pod is in no container and no unit but a runtime's own, so it is one of the host's kubelet, and not made up.
    """

    unit: bytes | None
    user_unit: bytes | None
    slice: bytes | None
    session: bytes | None
    machine: bytes | None
    container_id: bytes | None
    container_runtime: str | None
    pod_uid: bytes | None
    pod_of_host: bool


def names(path: bytes) -> CgroupNames:
    """``path``: absolute, from the root of the hierarchy that systemd keeps (v2, or v1's ``name=systemd``)."""
    parts = [part for part in path.split(b"/") if part]
    slice_name, after_slices = _slices(parts, 0)
    unit = _unit(parts, after_slices)
    container_id, runtime = _container(parts)
    pod_uid, pod_at = _pod_uid(parts)
    return CgroupNames(
        unit=unit,
        user_unit=_user_unit(parts, after_slices),
        slice=slice_name,
        session=_session(unit) if unit else None,
        machine=_machine(unit) if unit else None,
        container_id=container_id,
        container_runtime=runtime,
        pod_uid=pod_uid,
        pod_of_host=pod_uid is not None and _is_of_host(parts[:pod_at]),
    )


def is_unit_name(name: bytes) -> bool:
    """unit_name_is_valid() of systemd, for all but templates (``getty@.service``)."""
    stem, _dot, unit_type = name.rpartition(b".")
    prefix, at, instance = stem.partition(b"@")
    return (
        len(name) <= _UNIT_NAME_BYTES
        and unit_type in _UNIT_TYPES
        and prefix != b""
        and bool(at) == bool(instance)
        and not stem.translate(None, _UNIT_CHARACTERS)
    )


def _unescaped(part: bytes) -> bytes:
    """cg_unescape(): systemd puts ``_`` before what could be a file of the kernel, such as ``cpu.service``."""
    return part.removeprefix(b"_")


def _slices(parts: list[bytes], start: int) -> tuple[bytes, int]:
    """The last of the slices in a row from ``start`` on, and where they end."""
    innermost, at = ROOT_SLICE, start
    while at < len(parts) and _is_slice(name := _unescaped(parts[at])):
        innermost, at = name, at + 1
    return innermost, at


def _is_slice(name: bytes) -> bool:
    return name.endswith(b".slice") and b"@" not in name and is_unit_name(name)


def _unit(parts: list[bytes], at: int) -> bytes | None:
    if at == len(parts):
        return None
    name = _unescaped(parts[at])
    return name if is_unit_name(name) and not name.endswith(b".slice") else None


def _user_unit(parts: list[bytes], at: int) -> bytes | None:
    """The unit below a user's manager or a session that stands at ``at``. Neither of these is ever escaped."""
    if at == len(parts) or not (_is_user_manager(parts[at]) or _session(parts[at])):
        return None
    _slice, after_slices = _slices(parts, at + 1)
    return _unit(parts, after_slices)


def _is_user_manager(unit: bytes) -> bool:
    kind, _at, rest = unit.partition(b"@")
    if not rest.endswith(b".service"):
        return False
    instance = rest.removesuffix(b".service")
    if kind == b"user":
        return _is_uid(instance)
    is_name = 0 < len(instance) <= _CAPSULE_NAME_BYTES and not instance.translate(None, _ALPHANUMERIC + b"-_")
    return kind == b"capsule" and is_name


def _is_uid(text: bytes) -> bool:
    """parse_uid() of systemd."""
    if not text.isdigit() or len(text) > 10 or (text[:1] == b"0" and text != b"0"):
        return False
    return int(text) < 1 << 32 and int(text) not in _NO_UIDS


def _session(unit: bytes) -> bytes | None:
    """``session-c2.scope`` -> ``c2``."""
    session = unit.removeprefix(b"session-").removesuffix(b".scope")
    is_session = len(unit) == len(session) + len(b"session-.scope") and session.isalnum()
    return session if is_session else None


def _machine(unit: bytes) -> bytes | None:
    r"""``machine-my\x2dbox.scope`` or ``systemd-nspawn@my-box.service`` -> ``my-box``."""
    if unit.startswith(b"machine-") and unit.endswith(b".scope"):
        escaped = unit[len(b"machine-") : -len(b".scope")]
        # An unescaped dash stands for a slash. In the name of a machine nothing but dashes is ever escaped.
        name = b"/" if b"-" in escaped else escaped.replace(b"\\x2d", b"-")
    else:
        kind, _at, rest = unit.partition(b"@")
        if kind not in (b"systemd-nspawn", b"systemd-vmspawn") or not rest.endswith(b".service"):
            return None
        name = rest.removesuffix(b".service")
    return name if _is_hostname(name) else None


def _is_hostname(name: bytes) -> bool:
    """machine_name_is_valid() of systemd, which is hostname_is_valid()."""
    return len(name) <= _MACHINE_NAME_BYTES and all(
        label.replace(b"-", b"").isalnum() and label[:1] != b"-" and label[-1:] != b"-" for label in name.split(b".")
    )


def _container(parts: list[bytes]) -> tuple[bytes | None, str | None]:
    """Id and runtime of the innermost container."""
    for at in range(len(parts) - 1, -1, -1):
        part, parent = parts[at], parts[at - 1] if at else b""
        container_id, runtime = _hex_container(part, parent)
        if container_id is not None:
            return container_id, runtime
        if part.startswith(_LXC_PREFIX) and part != _LXC_PREFIX:
            return part.removeprefix(_LXC_PREFIX), "lxc"
        if parent in _LXC_DIRECTORIES:
            return part, "lxc"
    return None, None


def _hex_container(part: bytes, parent: bytes) -> tuple[bytes | None, str | None]:
    """``docker-ID.scope``, ``ID``, or ``SLICE:docker:ID``: what is meant for systemd, taken by runc for a path."""
    name = part.removesuffix(b".scope")
    container_id, before = name[-_CONTAINER_ID_DIGITS:], name[:-_CONTAINER_ID_DIGITS]
    if len(container_id) != _CONTAINER_ID_DIGITS or container_id.translate(None, _HEX_DIGITS):
        return None, None
    if not before:
        return container_id, _RUNTIME_DIRECTORIES.get(parent)
    runtime = _RUNTIMES.get(before[:-1].rpartition(b":")[2]) if before[-1:] in (b"-", b":") else None
    return (container_id, runtime) if runtime else (None, None)


def _pod_uid(parts: list[bytes]) -> tuple[bytes | None, int]:
    """Of the outermost ``kubepods-burstable-podUID.slice``, or ``podUID`` below ``kubepods/burstable``; where it is."""
    for at, part in enumerate(parts):
        before, found, uid = part.partition(b":")[0].removesuffix(b".slice").rpartition(b"pod")
        if not found or before[-1:] not in (b"", b"-"):
            continue
        above = before.split(b"-") if before else parts[max(0, at - 2) : at]
        uid = uid.replace(b"_", b"-")
        if b"kubepods" in above and _is_pod_uid(uid):
            return uid, at
    return None, 0


def _is_of_host(above: list[bytes]) -> bool:
    """Made by kubelet: below no container, and no unit that may name its groups as it likes but the runtime's own."""
    units = {part for part in above if is_unit_name(part) and not _is_slice(part)}
    return _container(above) == (None, None) and units <= _RUNTIME_UNITS


def _is_pod_uid(uid: bytes) -> bool:
    groups = [len(group) for group in uid.split(b"-")]
    return groups in ([32], [8, 4, 4, 4, 12]) and not uid.translate(None, _HEX_DIGITS + b"-")
