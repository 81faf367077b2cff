# SPDX-License-Identifier: Apache-2.0
"""One user floods the service with kills and journald with entries: no kill of another user is lost.

Nor is it late, also where the kills come faster than the service gets rid of them: of journald's queue it has a share,
as each that waits there, and it sends those of others before those of a flood.

The flood comes from 200 cgroups of one user, deep ones and ones with long names. The groups of both users are where
their managers would create them, at the top of the hierarchy. In a container that is the container's top, and every
path begins with it.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.host.service.daemon import Daemon, assert_balanced, beginning
from tests.support import live, pace
from tests.support.stalls import Stalls

MIB = 1 << 20
FULL = "OOMKILLD_TEST_FULL" in os.environ
GROUPS, STORMS, SENDERS, OTHERS = 200, 4, 8, 20
FLOOD_LEAST = 3000 if FULL else 200  # kills before the other user's begin, and again before the flood ends
WITHIN_SECONDS = 1.0
# The pause of each storm process after each kill: at most 133 kills per second. With its smallest share of journald's
# queue, on a machine with more than two processors, the service sent some 280 per second.
PAUSE_USEC = 30_000
REDUCE_FROM = 100  # the default
# Number and length of the names in a path. Each pair takes nearly the longest path to cgroup.procs that is possible.
DEEP, LONG = (40, 80), (14, 240)
ATTACKER, OTHER = (f"user.slice/user-{uid}.slice/user@{uid}.service/app.slice" for uid in (61001, 61002))
# Sends for 120 s at most, and at most this number of entries.
SENDER = """
import socket, sys, time
journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journald.connect("/run/systemd/journal/socket")
text, sent, end = b"MESSAGE=" + b"x" * 100 + b"\\n", 0, time.monotonic() + 120
print("ready", flush=True)
while sent < 1_000_000 and time.monotonic() < end:
    journald.send(text)
    sent += 1
"""


def top() -> Path:
    """The top of the memory controller's hierarchy, as far as this system sees it."""
    path = Path(os.environ["OOMKILLD_TEST_CGROUP"])
    while (path.parent / "cgroup.procs").exists():
        path = path.parent
    return path


@contextmanager
def made(path: Path) -> Iterator[Path]:
    """Create the cgroup and its missing parents; remove them afterwards."""
    with ExitStack() as stack:
        for directory in [*reversed(path.parents), path]:
            if not directory.exists():
                directory.mkdir()
                stack.callback(directory.rmdir)
            controllers = directory / "cgroup.subtree_control"
            if controllers.exists() and "memory" not in controllers.read_text().split():
                controllers.write_text("+memory")
        yield path


@contextmanager
def attackers_groups(home: Path) -> Iterator[list[Path]]:
    """Half of them are deep, half have long names."""
    with ExitStack() as stack:
        groups = []
        for levels, name_bytes in (DEEP, LONG):
            names = [f"{level:x<{name_bytes}}" for level in range(levels - 1)]
            parent = stack.enter_context(made(home.joinpath(*names)))
            for number in range(GROUPS // 2):
                group = stack.enter_context(memory_cgroup(parent / f"{number:y<{name_bytes}}", 2 * MIB))
                tasks = group.path / "tasks"
                groups.append(tasks if tasks.exists() else group.procs)
        yield groups


@contextmanager
def storming_in(groups: list[Path], pause_usec: int) -> Iterator[list[int]]:
    """A storm during the block; afterwards the list has the number of kills per process."""
    reaped: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        hogs = []
        for number in range(STORMS):
            file = Path(scratch, str(number))
            file.write_text("".join(f"{group}\n" for group in groups[number::STORMS]))
            command = [live.hog_program(), f"@{file}", "storm=0", f"pause={pause_usec}"]
            hogs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        try:
            yield reaped
        finally:
            for hog in hogs:
                hog.terminate()
            reaped += [int(hog.communicate(timeout=30 * pace.patience())[0]) for hog in hogs]


@contextmanager
def journald_flooded() -> Iterator[None]:
    """Users without any right flood journald during the block."""
    command = [sys.executable, "-I", "-S", "-c", SENDER]
    senders = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=65534, group=65534, extra_groups=[])
        for _ in range(SENDERS)
    ]
    try:
        for sender in senders:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "ready\n"
        yield
        assert [sender.poll() for sender in senders] == [None] * SENDERS, "the flood ended early"
    finally:
        for sender in senders:
            sender.kill()
            sender.communicate()


def entries_of(daemon: Daemon, here: live.Moment, *matches: str) -> list[live.Entry]:
    """Entries with only the fields that are asserted, because they are many."""
    wanted = (
        "OOM_DETAIL,OOM_TIMESTAMP,OOM_BOOTTIME_TIMESTAMP,OOM_VICTIM_CGROUP,OOM_KILL_ID,OOM_MISSED,OOM_MISSED_REASON"
    )
    found = live.journal(f"--output-fields={wanted}", *daemon.sender, "_UID=0", *matches, here.after_cursor)
    return list({entry.get("OOM_KILL_ID", entry["__CURSOR"]): entry for entry in found}.values())


@pytest.mark.parametrize("pause_usec", [PAUSE_USEC, 0], ids=["133 a second", "as fast as can be"])
def test_a_users_flood_of_kills_and_entries_costs_another_user_nothing(daemon: Daemon, pause_usec: int) -> None:
    began, here = beginning(daemon), live.now()
    with ExitStack() as stack:
        home = stack.enter_context(made(top() / ATTACKER))
        other = stack.enter_context(made(top() / OTHER))
        groups = stack.enter_context(attackers_groups(home))
        where = live.Cgroup(stack.enter_context(memory_cgroup(other / "app.scope", 4 * MIB)).path)
        with Stalls() as stalls, storming_in(groups, pause_usec) as reaped, journald_flooded():
            flooding_for(FLOOD_LEAST)
            for _ in range(OTHERS):
                live.kill_one(where, "name=other")
            flooding_for(FLOOD_LEAST)
            others = live.wait_for(
                "their entries while the flood lasts",
                lambda: found if len(found := entries_of(daemon, here, "OOM_VICTIM_COMM=other")) >= OTHERS else None,
                20,
                lambda: f"{len(entries_of(daemon, here, 'OOM_VICTIM_COMM=other'))}; {daemon.status()}",
            )
    with suppress(AssertionError):
        flood_told(daemon, here, sum(reaped))
    flood = entries_of(daemon, here, "OOM_EVENT=kill", "OOM_VICTIM_COMM=hog")
    missed = entries_of(daemon, here, "OOM_EVENT=missed")
    spans = [(int(entry["OOM_TIMESTAMP"]) / 1e6, int(entry["__REALTIME_TIMESTAMP"]) / 1e6) for entry in others]
    late = [end - start - stalls.within(start, end) for start, end in spans]
    in_full = sum(entry["OOM_DETAIL"] == "full" for entry in flood)
    times = sorted(int(entry["OOM_TIMESTAMP"]) / 1e6 for entry in flood)
    seconds = times[-1] - times[0]
    print(
        f"{sum(reaped)} kills of the flood in {seconds:.1f} s, {in_full} of {len(flood)} in full; "
        f"of the other user's {len(others)}, {sum(entry['OOM_DETAIL'] == 'full' for entry in others)} in full, "
        f"the latest {max(late):.3f} s after the kill, {max(end - start for start, end in spans):.3f} s with this "
        f"machine's stalls; missed: {[(entry['OOM_MISSED_REASON'], entry['OOM_MISSED']) for entry in missed]}"
    )
    # In a container the users cannot be distinguished: everything is in one container, and of one owner.
    distinguished = others[0]["OOM_VICTIM_CGROUP"].startswith(f"/{OTHER}/")
    assert len(others) == OTHERS
    # An owner's own kills wait behind his flood, if that is faster than the service may send.
    if distinguished or pause_usec:
        assert max(late) <= WITHIN_SECONDS
    assert [entry for entry in missed if entry["OOM_MISSED_REASON"] == "ring-full"] == []
    assert_balanced(daemon, began, None, sum(reaped) + OTHERS)
    if distinguished:
        assert {entry["OOM_DETAIL"] for entry in others} == {"full"}
        assert in_full <= REDUCE_FROM * (seconds / 10 + 1)


def flooding_for(kills: int) -> None:
    """Wait for this number of kills."""
    before = live.vmstat_kills()
    live.wait_for(f"{kills} kills", lambda: live.vmstat_kills() - before >= kills, 60)


def flood_told(daemon: Daemon, here: live.Moment, kills: int) -> None:
    live.wait_for(
        "its entries", lambda: len(entries_of(daemon, here, "OOM_VICTIM_COMM=hog")) >= kills, 15, daemon.status, every=1
    )
