# SPDX-License-Identifier: Apache-2.0
"""Derives the owner of a cgroup from its path: the unit by systemd's rules, the container by its runtime's.

Whoever may create cgroups chooses their names: a user below the user's manager, a container below itself, a service
with Delegate=yes. They cannot choose the names above. So names are read from the outermost inwards, and count as the
host's only where root created the cgroups: slices, and what is directly below them or below the root; further in, only
what a runtime of the host keeps for itself. All other names may be fake: the entry reports them in fields of their own.

Source: systemd 258, src/basic/cgroup-util.c: cg_path_get_unit(), _user_unit(), _slice(), _session(). A machine's name
comes from its unit's, by the rule that machined (machine_start_scope()) and the units systemd-nspawn@.service and
systemd-vmspawn@.service follow; systemd itself asks machined. A machine may be a container or a virtual machine, so its
name does not count as a container's id.
"""

from oomkilld.host.containers import NOTHING, Found, container_in, is_inside, named_by_the_host, pod_in
from oomkilld.lighttyping import NamedTuple
from oomkilld.text import pasteable

ROOT_SLICE = b"-.slice"

_DIGITS = b"0123456789"
_ALPHANUMERIC = _DIGITS + b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNIT_CHARACTERS = _ALPHANUMERIC + b":-_.\\@"
_UNIT_TYPES = frozenset(b"service socket target device mount automount swap timer path slice scope".split())
_UNIT_NAME_BYTES = 255
_MACHINE_NAME_BYTES = 64
_CAPSULE_NAME_BYTES = 29
_NO_UIDS = (0xFFFF, 0xFFFFFFFF)


class CgroupNames(NamedTuple):
    """The names in a path. None: the path has no such name; for a runtime also: it is unknown.

    ``slice`` is ``-.slice`` at the top, as in journald. ``pod_uid`` is from the host's kubelet, in the form of the API,
    with dashes. ``container_id``: the host's container; ``inner_container_id``: the outermost one that a container, a
    user or a unit has named. ``exact``: nothing follows the innermost of these names in the path.
    """

    unit: bytes | None
    user_unit: bytes | None
    slice: bytes | None
    session: bytes | None
    machine: bytes | None
    user: bytes | None  # who owns all of it: ``user 1000``, or ``capsule lab``
    container_id: bytes | None
    container_runtime: str | None
    pod_uid: bytes | None
    inner_container_id: bytes | None
    inner_container_runtime: str | None
    exact: bool


def names(path: bytes) -> CgroupNames:
    """Parse ``path``: absolute, in the hierarchy that systemd manages (v2, or v1's ``name=systemd``)."""
    parts = _parts(path)
    slice_name, after_slices = _slices(parts, 0)
    unit = _unit(parts, after_slices)
    user = _user(parts[:after_slices], unit)
    user_unit = _user_unit(parts, after_slices)
    container = pod = NOTHING
    inner_from = after_slices
    if user.name is not None:
        pod = pod_in(parts[: user.at])
    else:
        hosts = named_by_the_host(parts, after_slices)
        container = container_in(parts, after_slices, hosts)
        inner_from = hosts if container.name is None else container.at + 1
        pod = pod_in(parts[:inner_from])
    inner = container_in(parts, inner_from, len(parts))
    told = max(after_slices - 1, unit.at, user_unit.at, container.at, pod.at, inner.at)
    whole = told + 1 + is_inside(parts, told) if told in (container.at, inner.at) else told + 1
    return CgroupNames(
        unit=unit.name,
        user_unit=user_unit.name,
        slice=slice_name,
        session=_session(unit.name) if unit.name else None,
        machine=_machine(unit.name) if unit.name else None,
        user=user.name,
        container_id=container.name,
        container_runtime=container.runtime,
        pod_uid=pod.name,
        inner_container_id=inner.name,
        inner_container_runtime=inner.runtime,
        exact=parts != [] and whole == len(parts),
    )


def is_of_slices(path: bytes) -> bool:
    """Whether the path consists of slices only: a cgroup below it may be in any unit, and in an inner slice."""
    parts = _parts(path)
    return _slices(parts, 0)[1] == len(parts)


def owner_key(path: bytes) -> tuple[bytes, bool]:
    """The owner of a cgroup, and whether it is a single one. Nobody becomes several owners by creating cgroups.

    The owner is the pod, the user, the host's container or the unit. If there is none, it is the part of the path that
    root created, which several owners may share: anybody may have created a cgroup that looks like a container below.
    """
    found = names(path)
    if owner := found.pod_uid or found.user or found.container_id or found.unit:
        return owner, True
    parts = _parts(path)
    return b"/" + b"/".join(parts[: _slices(parts, 0)[1] + 1]), False


def outermost(path: bytes, room: int) -> bytes:
    """Cut the path to as many whole names, outermost first, as take at most ``room`` bytes when printed."""
    if 3 * len(path) <= room:
        return path
    parts, left = _parts(path), room
    for number, part in enumerate(parts):
        left -= 1 + len(pasteable(part).encode())
        if left < 0:
            return b"/" + b"/".join(parts[:number])
    return path


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


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part]


def _unescaped(part: bytes) -> bytes:
    """cg_unescape(): systemd puts ``_`` before a name that could be a file of the kernel, such as ``cpu.service``."""
    return part.removeprefix(b"_")


def _slices(parts: list[bytes], start: int) -> tuple[bytes, int]:
    """The innermost of the successive slices from ``start`` on, and the index after it."""
    innermost, at = ROOT_SLICE, start
    while at < len(parts) and _is_slice(name := _unescaped(parts[at])):
        innermost, at = name, at + 1
    return innermost, at


def _is_slice(name: bytes) -> bool:
    return name.endswith(b".slice") and b"@" not in name and is_unit_name(name)


def _unit(parts: list[bytes], at: int) -> Found:
    if at == len(parts):
        return NOTHING
    name = _unescaped(parts[at])
    return Found(name, at) if is_unit_name(name) and not name.endswith(b".slice") else NOTHING


def _user_unit(parts: list[bytes], at: int) -> Found:
    """The unit below the user's manager at index ``at``. systemd never escapes a manager's name."""
    if at == len(parts) or not _is_user_manager(parts[at]):
        return NOTHING
    _slice, after_slices = _slices(parts, at + 1)
    return _unit(parts, after_slices)


def _user(slices: list[bytes], unit: Found) -> Found:
    """The user whose manager, session or slice it is; the slice counts first, as in cg_path_get_owner_uid() of systemd.

    Only root creates units in a user's slice, rarely for itself.
    """
    of_users = ((at, name) for at, name in enumerate(slices) if name.startswith(b"user-"))
    uids = ((name.removeprefix(b"user-").removesuffix(b".slice"), at) for at, name in of_users)
    of_slice = next((Found(b"user " + uid, at) for uid, at in uids if _is_uid(uid)), NOTHING)
    if of_slice is not NOTHING or unit.name is None or not _is_user_manager(unit.name):
        return of_slice
    kind, _at, rest = unit.name.partition(b"@")
    return Found(kind + b" " + rest.removesuffix(b".service"), unit.at)


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
        # An unescaped dash stands for a slash. In a machine's name, systemd escapes nothing but dashes.
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
