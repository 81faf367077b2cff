# SPDX-License-Identifier: Apache-2.0
"""A container that must not use BPF but sees the machine's /dev/kmsg: the service reads kills in the kernel log."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.testkill import victim
from tests.host.container import PACKAGES, Container, booted
from tests.host.trees import codename, fresh_tree
from tests.support import entryschema, live
from tests.support.unitfile import binds_but_kmsg
from tests.vm.machine import build_hog

ROOT = Path(__file__).parents[3]
# nspawn puts a pipe of its own over /dev/kmsg. So the container sees the device elsewhere, and the unit mounts it back.
DEVICE = "/dev/machine-kmsg"
LINES = ["[Service]", *binds_but_kmsg(), f"BindReadOnlyPaths={DEVICE}:/dev/kmsg", f"DeviceAllow={DEVICE} r"]
# Without CAP_BPF and bpf(2). The log is readable for all, or needs this capability.
RIGHTS = ("--drop-capability=CAP_BPF,CAP_PERFMON", "--capability=CAP_SYSLOG", f"--bind=/dev/kmsg:{DEVICE}")


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    needed = subprocess.run(
        ["packaging/install", "--print-packages"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with fresh_tree(codename(), [*PACKAGES, *needed.stdout.split()]) as tree:
        drop_in = tree.root / "etc/systemd/system/oomkilld.service.d/kmsg.conf"
        drop_in.parent.mkdir()
        drop_in.write_text("\n".join([*LINES, ""]))
        with booted(tree, rights=RIGHTS) as container:
            for command in (["packaging/install"], ["systemctl", "enable", "--now", "oomkilld"]):
                result = container.run(*command)
                assert result.returncode == 0, result.stdout + result.stderr + journal(container, "-u", "oomkilld")
            yield container


def journal(container: Container, *matches: str) -> str:
    return container.run("journalctl", "--quiet", "--all", *matches).stdout


def entries(container: Container, event: str) -> list[live.Entry]:
    lines = journal(container, "-o", "json", "-u", "oomkilld", "_UID=0", f"OOM_EVENT={event}").splitlines()
    found = [json.loads(line) for line in lines]
    for entry in found:
        entryschema.check(entry)
    return found


def test_it_runs_at_level_kmsg_and_says_why(container: Container) -> None:
    shown = container.run("systemctl", "show", "-p", "ActiveState", "-p", "StatusText", "oomkilld").stdout
    print(shown)
    assert "ActiveState=active\n" in shown
    assert "StatusText=Level kmsg: " in shown
    (change,) = entries(container, "level")
    assert (change["OOM_LEVEL_TO"], change["OOM_SOURCE"], change["PRIORITY"]) == ("kmsg", "kmsg", "4")
    for level in ("kprobe", "fentry", "tracepoint"):
        assert level in change["MESSAGE"].partition("(not ")[2]


def test_kills_of_the_machine_are_recorded(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_hog(tmp_path / "hog")
    monkeypatch.setenv("OOMKILLD_TEST_HOG", str(tmp_path / "hog"))
    vmstat = live.vmstat_kills()
    with victim.room(tmp_path) as parent:
        monkeypatch.setenv("OOMKILLD_TEST_CGROUP", str(parent))
        with live.cgroup("contained", 30 << 20) as where:
            hogs = [live.kill_one(where, "uid=65534", f"name={name}") for name in ("x) total-vm:0kB", "p,pid=1,uid=0")]
    assert live.vmstat_kills() - vmstat == len(hogs)

    def told() -> list[live.Entry] | None:
        found = entries(container, "kill")
        return found if len(found) >= len(hogs) else None

    found = live.wait_for("entries", told, 10, lambda: journal(container, "-u", "oomkilld"))
    assert [int(entry["OOM_VICTIM_TID"]) for entry in found] == [hog.pid for hog in hogs]
    assert [entry["OOM_VICTIM_COMM"] for entry in found] == ["x) total-vm:0kB", "p,pid=1,uid=0"]
    for entry in found:
        assert (entry["OOM_SOURCE"], entry["OOM_VICTIM_UID"]) == ("kmsg", "65534")
        assert entry["OOM_DOMAIN"] == "cgroup"
        assert entry["OOM_DOMAIN_CGROUP"].endswith("/contained")
        # From the kernel's list of tasks: the service does not look it up among the container's processes.
        assert entry["OOM_VICTIM_PID"] == entry["OOM_VICTIM_TID"]
