# SPDX-License-Identifier: Apache-2.0
"""Who answers for what happens in a control group: what nobody can have more of by making groups."""

from oomkilld.record.cgroup import names


def owner_key(cgroup: bytes | None) -> bytes:
    """The pod, the user or the unit of the host, else the outermost group; empty where the path is unknown."""
    if cgroup is None:
        return b""
    found = names(cgroup)
    if found.pod_uid is not None and found.pod_of_host:
        return found.pod_uid
    parts = cgroup.split(b"/")
    if parts[1:2] == [b"user.slice"] and len(parts) > 2:
        return parts[2]
    return found.unit or b"/".join(parts[:2])
