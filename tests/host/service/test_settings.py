# SPDX-License-Identifier: Apache-2.0
"""Settings apply at a restart; if they are invalid, recording continues with the earlier ones."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.service.daemon import (
    DROP_IN,
    Daemon,
    assert_has_no_capability,
    kills_after,
    names_of_each,
    settings,
    settled,
)
from tests.support import live
from tests.unit import bad_inputs
from tests.unit.bad_inputs import Bad

MIB = 1 << 20
ROOT = Path("/")
SHIPPED = Path(__file__).parents[3] / "etc/oomkilld/oomkilld.toml"
IS_UNIT = os.environ.get("OOMKILLD_TEST_SERVICE") == "unit"
NOTE = Path("/var/lib/oomkilld/settings" if IS_UNIT else "/run/oomkilld/settings")
BEFORE = "; the configuration is invalid: recording with the last valid settings, without command lines"
DEFAULTS = "; the configuration is invalid: recording with the defaults"
# The machine's root can open each of them that exists.
FROM_OUTSIDE = bad_inputs.made(
    "a link to what only others see",
    bad_inputs.instead(lambda path: path.symlink_to(SHIPPED)),
    f"{bad_inputs.FILE}: found a link to {SHIPPED}, {bad_inputs.BELOW}",
)
NAMES = ("a text without quotes", "a ring with NUL", "a file that nobody may read", "a FIFO")
MORE_NAMES = (
    *("an option twice", "a file of NULs", "Latin-1", "more than a configuration takes", "a table that there is not"),
    *("a file that all may write", "a file of another", "a directory where all may add files", "a directory"),
    *("a directory that is a FIFO", "a socket", "a device", "a link that leads nowhere"),
)
NAMED = {bad.name: bad for bad in bad_inputs.CONFIGURATIONS}
KINDS = [FROM_OUTSIDE]
if "OOMKILLD_TEST_FULL" in os.environ:
    KINDS += [NAMED[name] for name in (*NAMES, *MORE_NAMES)]
elif IS_UNIT:  # the manager keeps the probe, so starts do not compile it
    KINDS += [NAMED[name] for name in NAMES]


def kill_and_read(daemon: Daemon) -> live.Entry:
    here = live.now()
    with live.cgroup("settings", 4 * MIB) as where:
        live.kill_one(where)
    (entry,) = kills_after(daemon, here, 1)
    return entry


def wait_for_status(daemon: Daemon, text: str) -> None:
    live.wait_for(f"'{text}' in the status", lambda: text in daemon.status(), 5, daemon.status)


def test_a_changed_file_applies_from_the_restart_on(daemon: Daemon) -> None:
    default = kill_and_read(daemon)
    with settings(daemon, '[entry]\npriority = "notice"\nmeminfo = ["MemFree", "Inactive(file)"]\n'):
        os.kill(pid := daemon.pid(), signal.SIGHUP)
        unchanged = kill_and_read(daemon)
        assert daemon.pid() == pid
        daemon.restart()
        changed = kill_and_read(daemon)
    restored = kill_and_read(daemon)
    assert [entry["PRIORITY"] for entry in (default, unchanged, changed, restored)] == ["2", "2", "5", "2"]
    rows = {field for field in changed if field.startswith("OOM_MEMINFO_")}
    assert rows == {"OOM_MEMINFO_MEMFREE_BYTES", "OOM_MEMINFO_INACTIVE_FILE_BYTES"}
    assert names_of_each(default) == names_of_each(unchanged) == names_of_each(restored) > names_of_each(changed)


def test_the_level_can_be_chosen(daemon: Daemon) -> None:
    with settings(daemon, '[capture]\nlevel = "tracepoint"\n'):
        daemon.restart()
        before = settled(daemon).kills
        entry = kill_and_read(daemon)
        assert settled(daemon).kills == before + 1
        assert daemon.status().startswith("Level tracepoint: ")
    assert entry["OOM_SOURCE"] == "tracepoint"


def test_command_lines_are_recorded_if_asked_for_with_secrets_hidden(daemon: Daemon) -> None:
    assert not {"OOM_VICTIM_CMDLINE", "OOM_TRIGGER_CMDLINE"} & kill_and_read(daemon).keys()
    with settings(daemon, '[entry]\ncmdline = "full"\n'):
        daemon.restart()
        helpers = Path(f"/proc/{daemon.pid()}/task/{daemon.pid()}/children").read_text().split()
        # In a container's PID namespace it does not look at other processes.
        assert len(helpers) == 1 or os.environ["OOMKILLD_TEST_SERVICE"] == "unit"
        for helper in helpers:
            assert_has_no_capability(int(helper))
        here = live.now()
        with live.cgroup("cmdline", 30 * MIB) as where:
            holder = where.start("name=holder", "hold=20", "note=--token", "note=s3cret", "sleep")
            live.kill_one(where, "note=password=s3cret")
            assert live.killed(holder)
            program = f"{live.hog_program()} {where.procs}"
        entries = kills_after(daemon, here, 2)
    itself = next(entry for entry in entries if entry["OOM_VICTIM_PID"] == entry["OOM_TRIGGER_PID"])
    other = next(entry for entry in entries if entry is not itself)
    expected = f"{program} note=password=*** eat"
    assert itself["OOM_VICTIM_CMDLINE"] == itself["OOM_TRIGGER_CMDLINE"] == other["OOM_TRIGGER_CMDLINE"] == expected
    # The victim may have left before the service looked.
    print(f"of a victim for which another asked: {other.get('OOM_VICTIM_CMDLINE')}")
    if "OOM_VICTIM_CMDLINE" in other:
        assert other["OOM_VICTIM_CMDLINE"] == f"{program} name=holder hold=20 note=--token *** sleep"
    assert "s3cret" not in str(entries)


@contextmanager
def broken(bad: Bad) -> Iterator[list[str]]:
    """In force from the next restart until the block ends; yields the log lines about it."""
    path = bad.put(ROOT)
    try:
        yield bad.lines(root="")
    finally:
        directory = path.parent
        if directory.is_dir():
            shutil.rmtree(directory)
        else:
            directory.unlink()


@pytest.fixture(scope="module")
def valid_before(daemon: Daemon) -> Iterator[None]:
    """The last valid settings differ from the defaults in priority and command lines."""
    with settings(daemon, '[entry]\npriority = "notice"\ncmdline = "full"\n'):
        daemon.restart()
        DROP_IN.unlink()
        yield
        DROP_IN.parent.mkdir(exist_ok=True)
        DROP_IN.touch()
    assert "invalid" not in daemon.status()


@pytest.mark.usefixtures("valid_before")
@pytest.mark.parametrize("bad", KINDS, ids=lambda bad: bad.name)
def test_a_file_that_the_check_refuses_is_refused_by_the_service_which_continues(daemon: Daemon, bad: Bad) -> None:
    here = live.now()
    with broken(bad) as said:
        checked = subprocess.run([daemon.program, "--check-config"], check=False, capture_output=True, text=True)
        daemon.restart()
        entry = kill_and_read(daemon)
        wait_for_status(daemon, BEFORE)
    assert (checked.returncode, checked.stdout) == (78, "")
    assert [line.removeprefix("oomkilld: ") for line in checked.stderr.splitlines()[:-1]] == said
    assert entry["PRIORITY"] == "5"
    assert "OOM_VICTIM_CMDLINE" not in entry
    if IS_UNIT:
        errors = [each["MESSAGE"] for each in live.journal(*daemon.sender, here.after_cursor, "PRIORITY=3")]
        *first, with_which = errors[: len(said) + 1]
        assert first == said
        assert (
            "the service uses the last valid settings, without command lines (not by default: entry.priority"
            in with_which
        )


def test_without_earlier_settings_the_defaults_apply(daemon: Daemon) -> None:
    daemon.stop()
    NOTE.unlink()
    with broken(NAMED["a level that there is not"]):
        daemon.restart()
        entry = kill_and_read(daemon)
        wait_for_status(daemon, DEFAULTS)
    assert entry["PRIORITY"] == "2"
