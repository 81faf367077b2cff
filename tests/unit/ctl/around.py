# SPDX-License-Identifier: Apache-2.0
"""What others write around a kill, as the journal has it."""

from tests.support.journals import TRUSTED
from tests.unit.ctl.samples import AT_USEC, SECOND, Change, Sent, made

ORIGIN = {name: TRUSTED[name] for name in ("_BOOT_ID", "_MACHINE_ID", "_HOSTNAME")}
OOM, FAILED = "fe6faa94e7774663a0da52717891d8ef", "d9b373ed55a64feb8242e02dbe79a49c"
EXITED, RESTART = "98e322203f7a4ed290d09fe03c09fe15", "5eb03494b6584870a536b337290809b3"
OOMD = "d989611b15e44c9dbf31e3c81256e4ed"
PID_1 = {"_PID": "1", "_UID": "0", "_SYSTEMD_UNIT": "init.scope"}
# The run of the victim's unit in the entries of tests.unit.test_entry.
RUN = "0123456789abcdef0123456789abcdef"
WAS_KILLED = "A process of this unit has been killed by the OOM killer."


def by(after_seconds: float, message: str | bytes, **fields: Change) -> Sent:
    """An entry that journald received that many seconds after AT_USEC."""
    return made({**ORIGIN, "MESSAGE": message, **fields}), AT_USEC + int(after_seconds * SECOND)


def by_systemd(after_seconds: float, unit: str, message_id: str, message: str, **changes: Change) -> Sent:
    """An entry of systemd about a unit."""
    about = {"UNIT": unit, "MESSAGE_ID": message_id, "INVOCATION_ID": RUN}
    return by(after_seconds, f"{unit}: {message}", **{**PID_1, **about, **changes})


def by_user_manager(after_seconds: float, unit: str, message: str, **changes: Change) -> Sent:
    """An entry of the manager of user 1000 about a unit."""
    manager = {"_UID": "1000", "_SYSTEMD_UNIT": "user@1000.service", "_SYSTEMD_USER_UNIT": "init.scope"}
    fields = {**manager, "USER_UNIT": unit, "MESSAGE_ID": OOM, **changes}
    return by(after_seconds, f"{unit}: {message}", **fields)


def by_oomd(after_seconds: float, message: str | bytes, **changes: Change) -> Sent:
    """An entry of systemd-oomd about a cgroup that it killed."""
    fields = {"_UID": "101", "_SYSTEMD_UNIT": "systemd-oomd.service", "MESSAGE_ID": OOMD, **changes}
    return by(after_seconds, message, **fields)


def by_kernel(after_seconds: float, line: str | bytes, **changes: Change) -> Sent:
    """A line of the kernel log."""
    return by(after_seconds, line, **{"_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "kernel", **changes})


def invoked(comm: str) -> str:
    return f"{comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"


def chosen(tid: int, comm: str = "postgres") -> str:
    paths = "cpuset=/,mems_allowed=0,oom_memcg=/tenants.slice,task_memcg=/tenants.slice/db.service"
    return f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),{paths},task={comm},pid={tid},uid=26"


def killed(tid: int, comm: str = "postgres") -> str:
    sizes = (
        "total-vm:36000kB, anon-rss:28000kB, file-rss:2000kB, shmem-rss:16kB, UID:26 pgtables:64kB oom_score_adj:-17"
    )
    return f"Memory cgroup out of memory: Killed process {tid} ({comm}) {sizes}"


def reaped(tid: int, comm: str = "postgres") -> str:
    return f"oom_reaper: reaped process {tid} ({comm}), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"
