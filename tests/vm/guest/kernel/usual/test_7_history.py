# SPDX-License-Identifier: Apache-2.0
"""What led up to a kill, as the flight recorder saw it: who grew, since when, how fast, and how."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from oomkilld.testkill.memorycgroup import memory_cgroup
from tests.support import live
from tests.vm.guest.kills import MIB, SECONDS, kills_after
from tests.vm.guest.service import SETTINGS, file, run, service_restored

LIMIT = 220 * MIB
FILLED = 60 * MIB
FLAT = 100 * MIB
RATE = MIB
# From here on, samples show a minute before a kill.
OBSERVED = 75
TICK = 12
# The recorder is off by default.
pytestmark = pytest.mark.only_in_full
# Joins a cgroup, and holds as much as the time since its start asks for, whatever the machine's pace.
GROW = """
import sys, time
open(sys.argv[1], "w").write("0")
rate, held, began = int(sys.argv[2]), [], time.monotonic()
print("ready", flush=True)
while True:
    while len(held) << 18 < rate * (time.monotonic() - began):
        held.append(bytearray(b"x") * (1 << 18))
    time.sleep(0.05)
"""


@contextmanager
def growing(procs: Path, rate: int) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", GROW, procs, str(rate)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def innocent(where: Path) -> Iterator[None]:
    """A small process there, which the kernel kills first."""
    process = live.Cgroup(where).start("adjust=1000", "name=innocent", "sleep")
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def recorded(level: str) -> Iterator[live.Cgroup]:
    """A limit with a large flat cgroup below it, older than the recorder's first sample; that was a while ago."""
    assert level
    with live.cgroup("tenants", LIMIT) as tenants, ExitStack() as stack:
        if (control := tenants.path / "cgroup.subtree_control").exists():
            control.write_text("+memory")
        for name in ("flat", "grower"):
            stack.enter_context(memory_cgroup(tenants.path / name, None))
        flat = live.Cgroup(tenants.path / "flat").start(f"hold={FLAT // MIB}", "sleep")
        stack.callback(flat.wait)
        stack.callback(flat.kill)
        stack.enter_context(live.cgroup("filled", FILLED))
        with service_restored(), file(SETTINGS.with_name("recorder.toml"), "[recorder]\nenabled = true\n"):
            assert run("systemctl", "restart", "oomkilld").returncode == 0
            time.sleep(OBSERVED)
            yield tenants


def history_of(kill: live.Entry, here: live.Moment) -> live.Entry:
    """The entry of its decision that follows."""
    (entry,) = live.wait_for(
        "history",
        lambda: [
            each
            for each in live.service_entries("history", here)
            if each["OOM_DECISION_ID"] == kill.get("OOM_DECISION_ID")
        ],
        SECONDS,
        live.service_journal,
    )
    return entry


def points(series: str) -> dict[int, int]:
    return {int(at): int(size) for at, _colon, size in (point.partition(":") for point in series.split())}


def times_woken() -> int:
    return live.process_status(live.main_pid(), "voluntary_ctxt_switches")


def await_tick() -> None:
    """Wait until the service wakes after it has slept for a while."""
    slept_since, seen, until = time.monotonic(), times_woken(), time.monotonic() + 2 * OBSERVED
    while (now := times_woken()) == seen or time.monotonic() - slept_since < TICK / 2:
        if now != seen:
            slept_since, seen = time.monotonic(), now
        assert time.monotonic() < until, "it samples every second"
        time.sleep(0.05)


@pytest.mark.each_kernel
@pytest.mark.matrix("what led up to it")
def test_a_cgroup_that_reaches_its_limit_is_sampled_every_second_at_once(
    recorded: live.Cgroup, here: live.Moment, level: str
) -> None:
    """Page cache fills it between two ticks, which kills nobody."""
    where = live.Cgroup(recorded.path.parent / "filled")
    # On a disk: a file in memory has no pages where nothing was written.
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as sparse:
        sparse.truncate(4 * FILLED)
        await_tick()
        read = ["sh", "-c", 'echo 0 >"$1" && exec cat "$2"', "sh", str(where.procs), sparse.name]
        subprocess.run(read, check=True, stdout=subprocess.DEVNULL)
    assert "\nmax 0\n" not in (where.path / "memory.events.local").read_text()
    woken = times_woken()
    time.sleep(TICK / 3)
    assert times_woken() - woken <= 10 * TICK / 3, "the sign wakes it once"
    live.kill_one(where)
    (kill,) = kills_after(here, 1, level)
    before = [at for at in points(history_of(kill, here)["OOM_HISTORY_DOMAIN"]) if -TICK / 3 <= at < 0]
    assert len(before) >= 3


@pytest.mark.each_kernel
@pytest.mark.matrix("what led up to it")
def test_a_fresh_cgroup_starts(recorded: live.Cgroup, here: live.Moment, level: str) -> None:
    with live.cgroup(f"fresh-{recorded.path.name}", 30 * MIB) as where:
        live.kill_one(where)
        (kill,) = kills_after(here, 1, level)
        assert kill["OOM_TREND"] == "start"
        assert kill["OOM_GREW_1_CGROUP"] == kill["OOM_DOMAIN_CGROUP"]
        assert abs(int(kill["OOM_GREW_1_BYTES"]) - 30 * MIB) <= 3 * MIB
        history = history_of(kill, here)
    assert history["OOM_HISTORY_1_CGROUP"] == kill["OOM_DOMAIN_CGROUP"]
    assert len(points(history["OOM_HISTORY_MEMAVAILABLE"])) >= OBSERVED // 12


@pytest.mark.each_kernel
@pytest.mark.matrix("what led up to it")
def test_a_spike(recorded: live.Cgroup, here: live.Moment, level: str) -> None:
    grower = live.Cgroup(recorded.path / "grower")
    live.kill_one(grower)
    (kill,) = kills_after(here, 1, level)
    assert kill["OOM_TREND"] == "spike"
    assert kill["OOM_GREW_1_CGROUP"].endswith("/tenants/grower")
    assert abs(int(kill["OOM_GREW_1_BYTES"]) - (LIMIT - FLAT)) <= (LIMIT - FLAT) / 10


@pytest.mark.each_kernel
@pytest.mark.matrix("what led up to it")
def test_a_leak_beside_a_larger_flat_bystander(recorded: live.Cgroup, here: live.Moment, level: str) -> None:
    """The kernel kills neither: MESSAGE names the one that leaks."""
    # A tick may have fallen into the spike before: one after it shows that this was over before the leak began.
    time.sleep(2 * TICK)
    with growing(recorded.path / "grower/cgroup.procs", RATE), innocent(recorded.path / "flat"):
        kill, *_others = live.wait_for(
            "kill", lambda: live.service_entries("kill", here), 3 * LIMIT / RATE, live.service_journal, every=1
        )
    assert (kill["OOM_SOURCE"], kill["OOM_VICTIM_COMM"]) == (level, "innocent")
    history = history_of(kill, here)
    assert kill["OOM_TREND"] == "leak", f"{history['OOM_HISTORY_DOMAIN']}; {history['OOM_HISTORY_1']}"
    assert kill["OOM_GREW_1_CGROUP"].endswith("/tenants/grower")
    assert not [name for name in kill if name.startswith("OOM_GREW_") and str(kill[name]).endswith("/flat")]
    grown, window = int(kill["OOM_GREW_1_BYTES"]), int(kill["OOM_GREW_WINDOW_USEC"]) / 1e6
    print(f"grew {grown / MIB:.1f} MiB in {window:.0f} s")
    assert abs(grown / window - RATE) <= RATE / 10
    assert re.search(r"; cgroup '/\S+/tenants/grower' grew 1[12]\d\.\dM in (2 min|\d+ s); ", kill["MESSAGE"])
    assert history["OOM_HISTORY_1_CGROUP"] == kill["OOM_GREW_1_CGROUP"]
    domain = points(history["OOM_HISTORY_DOMAIN"])
    assert abs(domain[0] - LIMIT) <= LIMIT / 10
    assert max(domain) >= 1, "samples after the kill, too"
    # Near its limit every second, and before that with the tick.
    assert len([at for at in domain if -15 <= at < 0]) >= 12


def test_the_recorder_has_no_capability_and_the_books_are_right(
    recorded: live.Cgroup, here: live.Moment, level: str
) -> None:
    assert recorded.path.exists()
    began = live.Beginning(live.settled_counts(), live.vmstat_kills())
    with live.cgroup("counted", 30 * MIB) as where:
        for _ in range(3):
            live.kill_one(where)
        kills_after(here, 3, level)
    counts = live.settled_counts()
    kills, repeats = counts.kills - began.counts.kills, counts.repeats - began.counts.repeats
    live.Books(kills, repeats, counts.missing - began.counts.missing, live.vmstat_kills() - began.vmstat, 3).check()
    status = Path(f"/proc/{live.main_pid()}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
