# SPDX-License-Identifier: Apache-2.0
"""Which entries this service sent.

Anyone can send its fields, and root of a container that has the host's journal socket is uid 0, too. Only the sender's
unit, which journald itself records, shows the difference.
"""

from oomkilld.host import cgrouppath

_UNIT = "oomkilld.service"
# packaging/trial/unit.py
_TRIAL = "oomkilld-try-", ".service"


class Ours:
    """``unit``: this service's, as journald names it; None: it is in none."""

    def __init__(self, unit: str | None) -> None:
        self.unit = unit

    def sent(self, unit: str | None, cgroup_path: str | None) -> bool:
        """Whether an entry from uid 0 is ours, by ``_SYSTEMD_UNIT`` and ``_SYSTEMD_CGROUP``; None: no such field."""
        if unit is not None:
            before, behind = _TRIAL
            return unit in (self.unit, _UNIT) or (unit.startswith(before) and unit.endswith(behind))
        # If the sender had exited when journald read the entry, journald knows neither.
        return self.unit is None or cgroup_path is None


def sent_by_the_service(unit: str | None, cgroup_path: str | None) -> bool:
    """The same for a reader that is not the service, and does not know whether that ran as a unit of systemd.

    Without systemd, journald records a cgroup and no unit; a container of such a machine has a cgroup of its own.
    """
    if unit is None and cgroup_path is not None:
        return not names_a_container(cgroup_path.encode())
    return Ours(_UNIT).sent(unit, cgroup_path)


def names_a_container(cgroup_path: bytes) -> bool:
    """Whether the path names a container, whoever named it."""
    found = cgrouppath.names(cgroup_path)
    return found.container_id is not None or found.inner_container_id is not None


def own_unit() -> str | None:
    """The unit of this process; None: it is in none."""
    with open("/proc/self/cgroup", "rb", buffering=0) as file:
        return unit_in(file.read())


def unit_in(cgroups: bytes) -> str | None:
    """The unit by the hierarchy that systemd manages; ``cgroups``: as in /proc/PID/cgroup."""
    rows = [line.split(b":", 2) for line in cgroups.splitlines()]
    paths = {controllers: path for _number, controllers, path in rows}
    path = paths.get(b"name=systemd", paths.get(b"", b"/"))
    unit = cgrouppath.names(path).unit
    return unit.decode() if unit else None
