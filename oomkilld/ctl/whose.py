# SPDX-License-Identifier: Apache-2.0
"""What a person calls the owner of a process, and what ran out of memory."""

from oomkilld.ctl.entry import Entry

_SHORT_ID = 12  # as the runtimes themselves show it
_WHOLE_ID = 64


def owner(entry: Entry, role: str = "VICTIM") -> str | None:
    """Pod, else container, unit of a user, unit, slice or cgroup; behind it an inner container. None: unknown."""
    named = pod(entry, role) or container(entry, role) or _unit(entry, role)
    inner = inner_container(entry, role)
    return named if named is None or inner is None else f"{named}/{inner}"


def domain(entry: Entry) -> str | None:
    """Whose limit: the owner of the cgroup; ``host``; a cpuset or the nodes of a memory policy. None: unknown."""
    kind = entry.text("OOM_DOMAIN")
    if kind == "cgroup":
        return owner(entry, "DOMAIN") or kind
    if kind == "cpuset" and (name := entry.text("OOM_DOMAIN_CPUSET")) is not None:
        return f"cpuset {name}"
    if kind in ("cpuset", "mempolicy") and (nodes := entry.text("OOM_DOMAIN_NODES")) is not None:
        return f"node{'' if nodes.isdigit() else 's'} {nodes}"
    return kind


def pod(entry: Entry, role: str) -> str | None:
    """Namespace and name, else the uid. None: in no pod."""
    name = entry.text(f"OOM_{role}_POD_NAME")
    if name is None:
        uid = entry.text(f"OOM_{role}_POD_UID")
        return None if uid is None else f"pod {uid}"
    namespace = entry.text(f"OOM_{role}_POD_NAMESPACE")
    return name if namespace is None else f"{namespace}/{name}"


def container(entry: Entry, role: str) -> str | None:
    """Its id, as short as the runtimes show it. None: in no container."""
    return _short(entry.text(f"OOM_{role}_CONTAINER_ID"))


def inner_container(entry: Entry, role: str) -> str | None:
    """The same for one within the owner, who may have invented the id. None: there is none."""
    return _short(entry.text(f"OOM_{role}_INNER_CONTAINER_ID"))


def _short(name: str | None) -> str | None:
    return name[:_SHORT_ID] if name is not None and len(name) == _WHOLE_ID else name


def _unit(entry: Entry, role: str) -> str | None:
    for kind in ("USER_UNIT", "UNIT", "SLICE", "CGROUP"):
        if (name := entry.text(f"OOM_{role}_{kind}")) is not None:
            return name
    return None


def limit_bytes(entry: Entry) -> int | None:
    """The limit of what ran out; of the host its RAM. None: unknown, or there is none."""
    limit = entry.number("OOM_DOMAIN_LIMIT_BYTES")
    if limit is not None or entry.text("OOM_DOMAIN") != "host":
        return limit
    both, swap = entry.number("OOM_TOTAL_BYTES"), entry.number("OOM_MEMINFO_SWAPTOTAL_BYTES")
    return both - swap if both is not None and swap is not None and both >= swap else None
