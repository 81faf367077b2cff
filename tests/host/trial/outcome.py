# SPDX-License-Identifier: Apache-2.0
"""What packaging/try must show, and what it must leave unchanged."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from oomkilld import schema
from tests.host.trees import NEWCOMER, Tree
from tests.support import entryschema, live, pace


class Machine(NamedTuple):
    """What a run must leave unchanged, apart from the files of the system it ran on."""

    mounts: list[str]
    cgroups: list[str]
    leftovers: list[str]


def machine() -> Machine:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    cgroups = [directory for directory, _, _ in os.walk("/sys/fs/cgroup") if "oom-try" in directory]
    places = [Path(name) for name in ("/opt", "/run", "/tmp", "/var/tmp", "/dev")]
    leftovers = [str(path) for place in places for path in place.iterdir() if "oomkilld-try" in path.name]
    return Machine(sorted(mounts), cgroups, leftovers)


def living_children() -> list[int]:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def assert_one_entry(stdout: str, vmstat_before: int) -> live.Entry:
    """Check for one JSON object on one line, about the one kill that the kernel counted."""
    assert stdout.endswith("\n")
    entry: live.Entry = json.loads(stdout)
    assert stdout.count("\n") == 1
    entryschema.check(entry)
    assert entry["OOM_EVENT"] == "kill"
    assert entry["MESSAGE_ID"] == schema.MESSAGE_ID_KILL
    assert re.fullmatch(r"oom-try-\d+", entry["OOM_VICTIM_COMM"])
    assert entry["OOM_VICTIM_PID"] == entry["OOM_TRIGGER_PID"]
    live.Books(1, 0, 0, live.vmstat_kills() - vmstat_before, 1).check()
    return entry


def assert_readable(text: str) -> None:
    """Check for MESSAGE first, then the fields by question."""
    lines = text.splitlines()
    assert lines[:1] == [""]
    assert re.match(r"Out of memory.*: killed process \d+ \(oom-try-\d+[,)]", lines[1])
    titles = [line for line in lines[2:] if line.endswith(":")]
    assert titles[:2] == ["Who was killed:", "Who asked for the memory:"]
    assert titles[-2:] == ["The machine right after the kill:", "The entry itself:"]
    assert re.search(r"^  OOM_VICTIM_COMM +oom-try-\d+$", text, re.MULTILINE)
    assert re.search(r"^  OOM_MEMINFO_MEMTOTAL_BYTES +\d+ \([\d.]+[GT]\)$", text, re.MULTILINE)
    assert re.search(r"^  OOM_LOADAVG +[\d.]+ ", text, re.MULTILINE)


def assert_checkout_untouched(tree: Tree) -> None:
    files = tree.files()
    inside = {
        path: value for path, value in files.items() if path.startswith(str(tree.checkout.relative_to(tree.root)))
    }
    assert len(inside) > 50
    assert {path: value for path, value in inside.items() if value.split()[0] != str(NEWCOMER)} == {}
    assert [path for path in inside if "__pycache__" in path] == []


class Started(NamedTuple):
    process: "subprocess.Popen[str]"
    said: list[str]


def start_until(command: Sequence[str], said: str) -> Started:
    """Start packaging/try in a session of its own, and read up to the line that contains ``said``."""
    # In the background, or under nohup, this process may ignore these signals. Programs inherit that, and no shell can
    # undo it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if said in line:
            return Started(process, lines)
    raise AssertionError("".join(lines))


def end(started: Started) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    stdout, stderr = started.process.communicate(timeout=60 * pace.patience())
    return started.process.returncode, stdout, "".join(started.said) + stderr
