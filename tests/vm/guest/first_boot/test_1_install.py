# SPDX-License-Identifier: Apache-2.0
"""A fresh Debian 13 without kernel headers; packaging/install; systemctl enable --now."""

import os
import re
import subprocess
import sys
from pathlib import Path

from oomkilld.host.levels import wanted_levels
from tests.support import live
from tests.vm.guest.conftest import State
from tests.vm.image import PROJECT_PACKAGES

# These change on any running system, or are only an index of other files.
_PASSING = ("/proc", "/sys", "/run", "/dev", "/tmp", "/mnt", "/var/log", "/var/lib/systemd", "/var/tmp", "/var/cache")


def tree() -> dict[str, str]:
    """Every file, link and directory of the system, with its size and time of change."""
    found = {}
    for directory, names, files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(directory, name) not in _PASSING]
        for name in [*names, *files]:
            path = Path(directory, name)
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = f"{path.stat().st_size} bytes of {path.stat().st_mtime_ns}"
            else:
                found[str(path)] = "directory"
    return found


def test_the_guest_is_a_debian_13_with_systemd_257_and_no_kernel_headers() -> None:
    assert Path("/etc/debian_version").read_text().startswith("13")
    assert os.uname().release.startswith("6.12.")
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    version = subprocess.run(["systemctl", "--version"], check=True, capture_output=True, text=True).stdout
    assert version.startswith("systemd 257")
    assert not list(Path("/usr/src").iterdir())
    assert not Path("/lib/modules", os.uname().release, "build").exists()
    assert not list(Path("/tmp").glob("kheaders*"))


def test_install_puts_it_in_place_and_neither_enables_nor_starts_it(state: State) -> None:
    before = tree()
    state.keep(
        tree_before={path: value for path, value in before.items() if not path.startswith("/var/lib/oomkilld-t")}
    )
    result = subprocess.run(["packaging/install"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    added = sorted(path for path in tree().keys() - before.keys() if "oomkilld-tests.json" not in path)
    print(f"{len(added)} files and directories added")
    ours = ("/opt/oomkilld", "/usr/local/", "/etc/oomkilld", "/etc/fish")
    assert [path for path in added if not path.startswith(ours)] == []
    assert live.show("oomkilld", "UnitFileState") == "disabled"
    assert live.show("oomkilld", "ActiveState") == "inactive"
    share = "/usr/local/share"
    for shell in (f"{share}/bash-completion/completions", f"{share}/zsh/site-functions", "/etc/fish/completions"):
        assert [path.stem.lstrip("_") for path in Path(shell).iterdir()] == ["oomkillctl"]
    for page in Path("packaging/man").iterdir():
        assert Path(f"/usr/local/share/man/man{page.suffix[1:]}/{page.name}").read_bytes() == page.read_bytes()


def test_the_guest_had_only_the_packages_that_install_asks_for() -> None:
    asked = subprocess.run(["packaging/install", "--print-packages"], check=True, capture_output=True, text=True).stdout
    assert asked.split() == list(PROJECT_PACKAGES)


def test_the_units_and_the_configuration_are_valid() -> None:
    units = ("oomkilld.service", "oomkilld-upload.service", "oomkilld-upload.timer")
    for command in (["systemd-analyze", "verify", "--man=no", *units], ["oomkilld", "--check-config"]):
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_enable_now_starts_it_at_level_kprobe_and_earlier_kills_are_recorded(here: live.Moment) -> None:
    with live.cgroup("before", 30 << 20) as where:
        victim = live.kill_one(where)
    subprocess.run(["systemctl", "enable", "--now", "oomkilld"], check=True)
    assert live.show("oomkilld", "ActiveState") == "active"
    assert live.show("oomkilld", "UnitFileState") == "enabled"
    live.wait_for("status", live.service_counts, 10, live.service_journal)
    # The kill of packaging/try has an entry already.
    told = "Level kprobe: 2 kills recorded, 0 repeats, 0 missing"
    live.wait_for(told, lambda: live.show("oomkilld", "StatusText") == told, 100, live.service_journal)
    (entry,) = live.service_entries("kill", here)
    assert (entry["OOM_SOURCE"], int(entry["OOM_VICTIM_TID"])) == ("kmsg", victim.pid)
    assert entry["OOM_DOMAIN_CGROUP"] == entry["OOM_VICTIM_CGROUP"]
    assert entry["OOM_DOMAIN_CGROUP"].endswith("/before")
    # Everything that the kernel printed: about the cgroup, the tasks, and the process that asked.
    limits = {"OOM_DOMAIN_LIMIT_BYTES": str(30 << 20), "OOM_DOMAIN_SWAP_USAGE_BYTES": "0", "OOM_VICTIM_SWAP_BYTES": "0"}
    processes = {name: str(victim.pid) for name in ("OOM_VICTIM_PID", "OOM_TRIGGER_PID", "OOM_TRIGGER_TID")}
    printed = {**limits, **processes, "OOM_TRIGGER_UID": "0", "OOM_VICTIM_UNIT": "oomkilld-tests.service"}
    assert {name: entry.get(name) for name in printed} == printed
    assert live.service_entries("missed", here) == []
    said = live.journal("-u", "oomkilld", here.after_cursor, "_COMM=oomkilld")
    started = [line["MESSAGE"] for line in said if "OOM_EVENT" not in line]
    assert started == ["recording OOM kills at level kprobe"]


def test_after_arming_only_the_ring_the_counters_and_the_probes_stay_open() -> None:
    process = Path(f"/proc/{live.main_pid()}")
    open_files = [os.readlink(path) for path in (process / "fd").iterdir()]
    # A map may have more than one descriptor: each of Python's mappings keeps one of its own.
    told = "".join(path.read_text() for path in (process / "fdinfo").iterdir())
    assert len(set(re.findall(r"^map_id:\s+(\d+)$", told, re.MULTILINE))) == 2
    assert open_files.count("anon_inode:[perf_event]") == len(wanted_levels("kprobe")[0].hooks)
    assert not [name for name in open_files if "memfd" in name or "bpf-prog" in name]


def test_nothing_of_bcc_or_pydantic_is_left_in_the_resident_process() -> None:
    maps = Path(f"/proc/{live.main_pid()}/maps").read_text()
    assert "python3" in maps
    assert not [name for name in ("libbcc", "libLLVM", "libclang", "libbpf", "pydantic") if name in maps]
    assert Path(f"/proc/{live.main_pid()}/comm").read_text() == "oomkilld\n"
    assert sys.version_info >= (3, 13)
