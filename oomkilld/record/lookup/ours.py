# SPDX-License-Identifier: Apache-2.0
"""Which entries are this service's.

Anyone can send our fields, and root of a container that has the host's socket of journald is uid 0, too: only what
journald itself says of the sender's unit tells it apart.
"""

from oomkilld.host import cgrouppath

_UNIT = "oomkilld.service"
# packaging/trial/unit.py
_TRIAL = "oomkilld-try-", ".service"


class Ours:
    """``unit``: that of this service, as journald names it; None: it has none."""

    def __init__(self, unit: str | None) -> None:
        self.unit = unit

    def sent(self, unit: str | None, cgroup_path: str | None) -> bool:
        """What uid 0 has sent, by ``_SYSTEMD_UNIT`` and ``_SYSTEMD_CGROUP``; None: the entry has no such field."""
        if unit is not None:
            before, behind = _TRIAL
            return unit in (self.unit, _UNIT) or (unit.startswith(before) and unit.endswith(behind))
        # Of a sender that had ended when journald read it, journald knows neither.
        return self.unit is None or cgroup_path is None


def own_unit() -> str | None:
    """Of this process; None: it is in none."""
    with open("/proc/self/cgroup", "rb", buffering=0) as file:
        return unit_in(file.read())


def unit_in(cgroups: bytes) -> str | None:
    """By the hierarchy that systemd keeps; ``cgroups``: as in /proc/PID/cgroup."""
    rows = [line.split(b":", 2) for line in cgroups.splitlines()]
    paths = {controllers: path for _number, controllers, path in rows}
    path = paths.get(b"name=systemd", paths.get(b"", b"/"))
    unit = cgrouppath.names(path).unit
    return unit.decode() if unit else None
