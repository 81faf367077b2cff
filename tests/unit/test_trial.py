# SPDX-License-Identifier: Apache-2.0
"""What packaging/try detects and shows; the layer host runs it."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomkilld import schema
from oomkilld.testkill import memorycgroup
from oomkilld.testkill.failure import Interrupted
from oomkilld.testkill.interrupts import Interrupts
from oomkilld.testkill.memorycgroup import Hierarchy
from tests.support.fieldtable import ROOT
from trial.show import readable
from trial.unit import directives

HYBRID = "9:name=systemd:/user.slice\n4:cpu,memory:/session\n0::/user.slice\n"
UNIFIED = "0::/user.slice/user-0.slice/session-1.scope\n"


@pytest.mark.parametrize(
    ("own_cgroups", "expected"),
    [
        (HYBRID, Hierarchy("cpu,memory", Path("session"))),
        (UNIFIED, Hierarchy(None, Path("user.slice/user-0.slice/session-1.scope"))),
        ("0::/\n", Hierarchy(None, Path())),
        ("3:name=a:memory:/\n", None),
        ("", None),
    ],
)
def test_the_hierarchy_with_the_memory_controller_is_found(own_cgroups: str, expected: Hierarchy | None) -> None:
    assert memorycgroup.hierarchy(own_cgroups) == expected


def unified_tree(root: Path, enabled_in: str | None) -> Path:
    """Cgroups a, a/b, a/b/c; one of them lets its children limit memory."""
    own = Path("a/b/c")
    (root / own).mkdir(parents=True)
    (root / own / "cgroup.procs").touch()
    for directory in (own, *own.parents):
        (root / directory / "cgroup.subtree_control").write_text(
            "cpu memory" if str(directory) == enabled_in else "cpu"
        )
    return own


@pytest.mark.parametrize("enabled_in", ["a/b", "a", "."])
def test_the_nearest_cgroup_whose_children_may_limit_memory_is_taken(tmp_path: Path, enabled_in: str) -> None:
    own = unified_tree(tmp_path, enabled_in)
    # The cgroups below have processes, so the kernel refuses.
    below = [directory for directory in (own, *own.parents) if directory.is_relative_to(enabled_in)]
    for directory in [each for each in below if str(each) != enabled_in]:
        (tmp_path / directory / "cgroup.subtree_control").unlink()
        (tmp_path / directory / "cgroup.subtree_control").symlink_to("/proc/self/stat")
    with memorycgroup.room_for_groups(tmp_path, own, unified=True) as parent:
        assert parent == tmp_path / enabled_in


def test_a_controller_that_was_enabled_is_disabled_again(tmp_path: Path) -> None:
    own = unified_tree(tmp_path, None)
    control = tmp_path / own / "cgroup.subtree_control"
    with memorycgroup.room_for_groups(tmp_path, own, unified=True) as parent:
        assert parent == tmp_path / own
        assert control.read_text() == "+memory"
    assert control.read_text() == "-memory"


def test_a_cgroup_outside_of_the_mount_is_refused(tmp_path: Path) -> None:
    room = memorycgroup.room_for_groups(tmp_path, Path("../elsewhere"), unified=False)
    with pytest.raises(OSError, match="is no cgroup"), room:
        pass


def entry(**fields: str) -> dict[str, str]:
    return {"MESSAGE": "Out of memory: killed process 7 (x)", "OOM_EVENT": "kill", "_UID": "0", **fields}


def test_the_entry_reads_as_answers_to_questions() -> None:
    text = readable(
        entry(
            OOM_VICTIM_PID="7",
            OOM_VICTIM_RSS_BYTES="31457280",
            OOM_VICTIM_AGE_USEC="41797",
            OOM_DOMAIN="cgroup",
            OOM_TOTAL_BYTES="1024",
            OOM_MEMINFO_MEMFREE_BYTES="2048",
            OOM_MEMINFO_HUGEPAGES_TOTAL="0",
        )
    )
    assert text.splitlines() == [
        "Out of memory: killed process 7 (x)",
        "",
        "Who was killed:",
        "  OOM_VICTIM_PID            7",
        "  OOM_VICTIM_AGE_USEC       41797 (0.042 s)",
        "  OOM_VICTIM_RSS_BYTES      31457280 (30.0M)",
        "",
        "What ran out:",
        "  OOM_TOTAL_BYTES           1024 (1.0K)",
        "  OOM_DOMAIN                cgroup",
        "",
        "The machine right after the kill:",
        "  OOM_MEMINFO_MEMFREE_BYTES 2048 (2.0K)",
        "  … and 1 more OOM_MEMINFO_ field",
        "",
        "The entry itself:",
        "  OOM_EVENT                 kill",
    ]


def test_every_field_of_the_table_is_shown_under_one_question() -> None:
    names = [field.name for field in schema.FIELDS if field.name != "MESSAGE"]
    shown = re.findall(r"^  ([A-Z0-9_]+) ", readable({"MESSAGE": "", **dict.fromkeys(names, "1")}), re.MULTILINE)
    assert sorted(shown) == sorted(names)


def test_the_transient_unit_has_the_directives_of_the_installed_one() -> None:
    lines = list(directives(ROOT / "packaging/oomkilld.service"))
    assert "Type=notify" in lines
    assert "NoNewPrivileges=yes" in lines
    assert [each for each in lines if each.startswith(("Exec", "Restart", "StateDirectory", "#", "["))] == []
    assert [each for each in lines if each.startswith(("Description", "WantedBy"))] == []


@contextmanager
def signals_restored() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def test_a_signal_during_creation_or_removal_waits_until_that_is_done() -> None:
    done = []

    @contextmanager
    def thing(name: str) -> Iterator[None]:
        if name == "inner":
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(f"{name} made")
        try:
            yield
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            done.append(f"{name} removed")

    def trial() -> None:
        interrupts = Interrupts()
        with interrupts.guarded(thing("outer")), interrupts.guarded(thing("inner")):
            done.append("never")

    with signals_restored(), pytest.raises(Interrupted) as ended:
        trial()
    assert done == ["outer made", "inner made", "inner removed", "outer removed"]
    assert ended.value.number == signal.SIGTERM


def test_of_the_callers_environment_pip_and_python_see_only_how_to_reach_an_index() -> None:
    """PIP_PYTHON= runs the program it names, PIP_REQUIREMENT= installs more packages."""
    given = {"PIP_PYTHON": "/tmp/x", "PIP_REQUIREMENT": "/tmp/y", "PIP_CERT": "/etc/z", "PYTHONPATH": "/tmp"}
    shown = subprocess.run(
        ["bash", "-euc", ". packaging/lib.sh; env"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert {line.partition("=")[0] for line in shown.splitlines()} & given.keys() == {"PIP_CERT"}
