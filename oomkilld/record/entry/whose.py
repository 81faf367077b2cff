# SPDX-License-Identifier: Apache-2.0
"""The owner of a cgroup as fields: those of each role, and those by which journalctl finds the entry."""

from oomkilld.host.cgrouppath import outermost
from oomkilld.record.enrich.enrich import Context
from oomkilld.record.enrich.owner import Identity
from oomkilld.record.entry.origin import Values


def whose(role: str, identity: Identity | None, room: int) -> Values:
    """The names from a cgroup's path, in the order of the field table."""
    if identity is None:
        return
    names, pod = identity.names, identity.pod
    if not identity.is_around:
        path = outermost(identity.cgroup, room)
        yield f"OOM_{role}_CGROUP", path
        yield f"OOM_{role}_CGROUP_CUT", 1 if identity.cut or path != identity.cgroup else None
    yield f"OOM_{role}_UNIT", names.unit
    yield f"OOM_{role}_USER_UNIT", names.user_unit
    yield f"OOM_{role}_SLICE", names.slice
    yield f"OOM_{role}_SESSION", names.session
    yield f"OOM_{role}_MACHINE", names.machine
    yield f"OOM_{role}_CONTAINER_ID", names.container_id
    yield f"OOM_{role}_CONTAINER_RUNTIME", names.container_runtime
    yield f"OOM_{role}_CONTAINER_NAME", pod.container
    yield f"OOM_{role}_INNER_CONTAINER_ID", names.inner_container_id
    yield f"OOM_{role}_INNER_CONTAINER_RUNTIME", names.inner_container_runtime
    yield f"OOM_{role}_POD_UID", names.pod_uid
    yield f"OOM_{role}_POD_NAMESPACE", pod.namespace
    yield f"OOM_{role}_POD_NAME", pod.pod


def for_journalctl(context: Context, room: int) -> Values:
    """Fields that journald accepts from root; by them, journalctl and systemctl find the entry by the victim's unit."""
    identity = context.victim
    if identity is None:
        return
    yield "OBJECT_SYSTEMD_UNIT", identity.names.unit
    yield "OBJECT_SYSTEMD_USER_UNIT", identity.names.user_unit
    yield "OBJECT_SYSTEMD_SLICE", identity.names.slice
    is_whole = not identity.cut and outermost(identity.cgroup, room) == identity.cgroup
    yield "OBJECT_SYSTEMD_CGROUP", identity.cgroup if is_whole else None
    yield "OBJECT_SYSTEMD_INVOCATION_ID", context.invocation_id
