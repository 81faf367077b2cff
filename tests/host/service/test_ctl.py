# SPDX-License-Identifier: Apache-2.0
"""``oomkillctl check`` and ``selftest`` beside the service: a real kill, and a service that does not run."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.service.daemon import KMSG, Daemon, Unit, assert_balanced, beginning
from tests.support import live

PROMISED_MS = 250
RECORDED = re.compile(r"recorded: readable (\d+) ms after the kill, level (\w+): (Out of memory.*)\n")
NUMBERS = re.compile(r"\|missed=(\d+) kills=(\d+) age=(\d+)s\n")


def command(daemon: Daemon, *words: str) -> list[str]:
    """As installed beside the service."""
    return [str(daemon.package.parents[1] / "bin/oomkillctl"), *words]


def ctl(daemon: Daemon, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = os.environ | environment
    return subprocess.run(command(daemon, *words), check=False, capture_output=True, text=True, env=env)


def verdicts(shown: str) -> dict[str, str]:
    """By what was examined: the first word of the verdict. The last line says the same in a sentence."""
    lines = shown.splitlines()[:-2]
    return {line.partition("  ")[0]: line.partition("  ")[2].split()[0] for line in lines}


def left_behind() -> list[str]:
    cgroups = [directory for directory, _, _ in os.walk("/sys/fs/cgroup") if "oomtest-" in directory]
    return cgroups + [str(path) for path in Path("/tmp").iterdir() if path.name.startswith("oomkillctl-")]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    # systemd removes the cgroup of a scope when it has noticed that it is empty.
    live.wait_for("end of the scopes", lambda: not left_behind(), 10, lambda: "\n".join(left_behind()))


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    daemon.stop()
    try:
        yield
    finally:
        daemon.restart()


def test_the_kill_of_a_selftest_is_recorded_in_time(daemon: Daemon, here: live.Moment) -> None:
    began = beginning(daemon)
    ran = ctl(daemon, "selftest")
    assert (ran.returncode, ran.stderr) == (0, "")
    found = RECORDED.fullmatch(ran.stdout)
    assert found, ran.stdout
    (entry,) = live.service_entries("kill", here, sender=daemon.sender)
    assert re.fullmatch(r"oomtest-\d+", entry["OOM_VICTIM_COMM"])
    assert (found[2], found[3]) == (entry["OOM_SOURCE"], entry["MESSAGE"])
    if KMSG.exists():
        assert int(entry["OOM_DOMAIN_LIMIT_BYTES"]) == 30 << 20
    # In a container, systemd may not limit the memory of a scope.
    assert re.search(r"/oomtest-\d+(-\d\.scope)?$", entry["OOM_VICTIM_CGROUP"])
    print(f"a selftest's entry was readable {found[1]} ms after the kill")
    assert int(found[1]) <= PROMISED_MS * 10
    assert_balanced(daemon, began, 1, 1)


def test_without_systemd_run_it_makes_a_cgroup_itself(daemon: Daemon, here: live.Moment) -> None:
    began = beginning(daemon)
    ran = ctl(daemon, "selftest", "-q", PATH="/nowhere")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    (entry,) = live.service_entries("kill", here, sender=daemon.sender)
    assert entry["OOM_VICTIM_CGROUP"].endswith(f"/{entry['OOM_VICTIM_COMM']}")
    assert_balanced(daemon, began, 1, 1)


def test_a_selftest_without_the_service_fails(daemon: Daemon) -> None:
    began = beginning(daemon)
    with stopped(daemon):
        ran = ctl(daemon, "selftest")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert re.match(r"oomkillctl: no entry 20 s after the kernel killed process \d+ \(oomtest-\d+\)\n", ran.stderr)
    # The next run finds it in the kernel log, where there is one.
    found = int(KMSG.exists())
    assert_balanced(daemon, began, found, 1, missing=1 - found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_selftest_that_is_interrupted_leaves_nothing_behind(daemon: Daemon, number: signal.Signals) -> None:
    began = beginning(daemon)
    running = subprocess.Popen(command(daemon, "selftest"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    live.wait_for("cgroup", lambda: left_behind() or running.poll() is not None, 20, every=0.001)
    running.send_signal(number)
    running.communicate(timeout=30)
    # The kill takes milliseconds, so it may be over already.
    assert running.returncode in (0, -number)
    kills = live.vmstat_kills() - began.vmstat
    if kills:
        assert_balanced(daemon, began, kills, kills)


def test_a_machine_whose_kills_are_recorded_is_covered(daemon: Daemon) -> None:
    assert ctl(daemon, "selftest").returncode == 0
    counts = beginning(daemon).counts
    shown = ctl(daemon, "check")
    print(shown.stdout)
    found = verdicts(shown.stdout)
    assert found["service"] == "ok"
    level = daemon.status().removeprefix("Level ").partition(":")[0]
    assert f"running at level {level}" in shown.stdout or not isinstance(daemon, Unit)
    assert found["rate limit"] == "ok"
    assert {verdict for what, verdict in found.items() if what not in ("books", "journal")} <= {"ok", "warn"}
    # Other tests let kills be missed. Kills before the first start, and unconfirmed ones, are no failure.
    failures = [each for each in live.service_entries("missed", sender=daemon.sender) if each["PRIORITY"] == "3"]
    assert found["books"] in (["FAIL"] if failures else ["ok", "warn"])
    assert shown.returncode == (1 if found["books"] == "FAIL" else 0)
    assert "A kill would not be recorded now" not in shown.stdout
    line = ctl(daemon, "check", "--plugin")
    print(line.stdout)
    numbers = NUMBERS.search(line.stdout)
    assert numbers
    assert int(numbers[2]) == counts.kills or not isinstance(daemon, Unit)
    assert int(numbers[3]) < 120
    assert line.returncode == (2 if found["books"] == "FAIL" else 1 if "warn" in found.values() else 0)


def test_a_machine_without_the_service_is_not_covered(daemon: Daemon) -> None:
    with stopped(daemon):
        shown, line = ctl(daemon, "check"), ctl(daemon, "check", "--plugin")
    assert shown.returncode == 1
    assert verdicts(shown.stdout)["service"] == "FAIL"
    assert re.match(r"A kill would not be recorded now: (.*, )?service\.", shown.stdout.splitlines()[-1])
    assert line.returncode == 2
    assert line.stdout.startswith("OOMKILLD CRITICAL - ")
    assert "service: not running" in line.stdout
