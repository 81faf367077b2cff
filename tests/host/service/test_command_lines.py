# SPDX-License-Identifier: Apache-2.0
"""A user locks his victims' memory maps, so that readers of their command lines hang: it costs only his own."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.host.service.daemon import Daemon, kills_after, settings
from tests.host.service.test_attack_flood import ATTACKER, OTHER, made, top
from tests.support import live
from tests.support.stalls import Stalls

LIMIT = 30 << 20
# The wait for the helper, and what an entry may take otherwise.
WITHIN_SECONDS = 0.1 + 0.25


@contextmanager
def frozen(directory: Path) -> Iterator[Path]:
    """A file on a frozen file system: a process that writes to it blocks and cannot be killed."""
    image, mounted = directory / "image", directory / "mounted"
    mounted.mkdir()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", image, "16M"], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    try:
        (mounted / "file").write_bytes(bytes(4096))
        subprocess.run(["fsfreeze", "--freeze", mounted], check=True)
        try:
            yield mounted / "file"
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", mounted], check=True)
    finally:
        umount = ["umount", str(mounted)]
        live.wait_for("unmounted", lambda: not subprocess.run(umount, check=False).returncode, 20)


def hangs(pid: int) -> bool:
    """Whether a read of its command line blocks."""
    reader = subprocess.Popen(["cat", f"/proc/{pid}/cmdline"], stdout=subprocess.DEVNULL)
    try:
        reader.wait(0.5)
    except subprocess.TimeoutExpired:
        return True
    finally:
        reader.kill()
        reader.wait()
    return False


def asleep(pid: int) -> bool:
    """Uninterruptible sleep."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "D"


def victim_of_another(daemon: Daemon, where: live.Cgroup) -> live.Entry:
    """Another process asks for memory until the holder is killed, and continues until it is killed itself."""
    here = live.now()
    with Stalls() as stalls:
        live.kill_one(where, "name=eater")
        kills = {entry["OOM_VICTIM_COMM"]: entry for entry in kills_after(daemon, here, 2)}
    eater, held = kills["eater"], kills["holder"]
    # The trigger's command line is recorded whoever the victim is.
    called = f"{live.hog_program()} {where.procs} name=eater eat"
    assert (eater["OOM_VICTIM_CMDLINE"], held["OOM_TRIGGER_CMDLINE"]) == (called, called)
    killed, written = int(held["OOM_TIMESTAMP"]) / 1e6, int(held["__REALTIME_TIMESTAMP"]) / 1e6
    late = written - killed - stalls.within(killed, written)
    print(f"its entry came {late:.3f} s after the kill")
    assert late <= WITHIN_SECONDS
    return held


def test_a_user_whose_victims_hang_costs_another_user_no_command_line(daemon: Daemon, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(settings(daemon, '[entry]\ncmdline = "full"\n'))
        daemon.restart()
        attackers = [stack.enter_context(made(top() / ATTACKER / f"{number}.scope")) for number in range(4)]
        others = stack.enter_context(made(top() / OTHER))
        *locked, after, other = (
            live.Cgroup(stack.enter_context(memory_cgroup(home / "limited", LIMIT)).path)
            for home in [*attackers, others]
        )
        with frozen(tmp_path) as file:
            holders = []
            for where in locked:
                holders.append(where.start("name=holder", "hold=20", f"lock={file}"))
                live.wait_for("a lock that is held", lambda: hangs(holders[-1].pid), 30)
                assert "OOM_VICTIM_CMDLINE" not in victim_of_another(daemon, where)
            told = []
            for where in (after, other):
                holders.append(where.start("name=holder", "hold=20", f"write={file}"))
                live.wait_for("sleep", lambda: asleep(holders[-1].pid), 10)
                told.append(victim_of_another(daemon, where).get("OOM_VICTIM_CMDLINE"))
            live.wait_for("status", lambda: "are not read: victims of 1 owner" in daemon.status(), 10, daemon.status)
        assert [live.killed(holder) for holder in holders] == [True] * len(holders)
    assert told == [None, f"{live.hog_program()} {other.procs} name=holder hold=20 write={file}"]
