# SPDX-License-Identifier: Apache-2.0
"""Arming without attaching anything: headers, a kept probe, the hand-over."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from oomkilld.arm import adopt, armed, headers, headertree, keptarming, keptfiles
from oomkilld.arm import main as stage
from oomkilld.arm.btf import Btf, Member
from oomkilld.arm.fingerprint import Fingerprint
from oomkilld.config import validated
from oomkilld.config.validated import Chosen
from oomkilld.errors import CaptureUnavailable
from oomkilld.host.system import VMLINUX, System
from oomkilld.service import rundir
from oomkilld.service.handover import SEALS, Arming, BrokenHandover, Order, Recording, receive
from oomkilld.service.rundir import Ceiling
from tests.unit.test_levels import system

ROOT = Path(__file__).parents[2]


needs_btf = pytest.mark.skipif(
    not VMLINUX.exists() and not os.environ.get("OOMKILLD_REQUIRE_ALL"), reason=f"{VMLINUX} is missing"
)


@needs_btf
def test_offsets_come_from_the_running_kernel() -> None:
    btf = Btf()
    pid, tgid = btf.member("task_struct", "pid"), btf.member("task_struct", "tgid")
    assert pid is not None
    assert tgid is not None
    # The order of these two is as old as Linux; both are pid_t.
    assert (tgid.offset - pid.offset, pid.size, tgid.size) == (4, 4, 4)
    comm = btf.member("task_struct", "comm")
    assert comm is not None
    assert comm.size == 16
    assert btf.member("task_struct", "no_such_member") is None
    assert btf.member("no_such_struct", "pid") is None
    # A member of an anonymous struct within the kernel's mm_struct, and of an anonymous union.
    assert btf.member("mm_struct", "total_vm") is not None
    assert btf.enumerators(["CONSTRAINT_MEMCG", "CONSTRAINT_NONE", "NO_SUCH_WORD"]) == {
        "CONSTRAINT_NONE": 0,
        "CONSTRAINT_MEMCG": 3,
    }
    assert headers.constraint_names(btf)[3] == "CONSTRAINT_MEMCG"
    assert btf.raw_tracepoint_gives("signal_generate", "kernel_siginfo") is False  # its second argument
    assert btf.raw_tracepoint_gives("sched_process_exit", "task_struct")
    assert not btf.raw_tracepoint_gives("no_such_event", "task_struct")
    btf.close()


@needs_btf
def test_a_member_that_this_kernel_lacks_is_compiled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(headers.MEMBERS, "oom_control", ("order", "ordre"))
    btf = Btf()
    text = headers.kernel_header(btf)
    assert "#define FETCH_oom_control_ordre(to, room, base) (-1)\n" in text
    assert "HAVE_oom_control_ordre" not in text
    assert "#define HAVE_oom_control_order 1\n" in text
    monkeypatch.setattr(headers, "REQUIRED", (("task_struct", "pdi"),))
    with pytest.raises(CaptureUnavailable, match=r"no task_struct\.pdi"):
        headers.kernel_header(btf)
    btf.close()


@needs_btf
def test_counts_of_the_machine_are_read_at_addresses_that_are_known_at_load_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(headers, "ADDRESSES", ("avenrun", "vm_zone_stat"))
    monkeypatch.setattr(
        headers,
        "MACHINE_COUNTS",
        (
            ("machine_free_pages", "vm_zone_stat", "NR_FREE_PAGES"),
            ("machine_dirty_pages", "vm_zone_stat", "NO_SUCH_COUNT"),
            ("machine_load_15", "avenrun", 2),
        ),
    )
    btf = Btf()
    text = headers.kernel_header(btf)
    assert (
        "#define ADDRESSES 2\n"
        "#define ADDRESS_avenrun (draft->addresses[0])\n"
        "#define ADDRESS_vm_zone_stat (draft->addresses[1])\n"
        "#define TAKE_MACHINE_COUNTS(draft) do { TAKE_COUNT(draft, machine_free_pages, ADDRESS_vm_zone_stat + 0); "
        "TAKE_COUNT(draft, machine_load_15, ADDRESS_avenrun + 16); } while (0)\n"
    ) in text
    btf.close()


class CgroupTypes:
    """The types that locate a cgroup's counts in a kernel: the size of ``vmstats``, and of the array in it."""

    def __init__(self, vmstats: int | None, state: int | None, kinds: int) -> None:
        self._sizes = {("mem_cgroup", "vmstats"): vmstats, ("memcg_vmstats", "state"): state}
        self._numbers = {"NR_ANON_MAPPED": 17, "NR_FILE_PAGES": 19, "NR_SHMEM": 23, "NR_INACTIVE_ANON": 0}
        self._numbers |= {"MEMCG_NR_STAT": kinds} | ({"MEMCG_KMEM": kinds - 3} if state else {})

    def member(self, struct: str, name: str) -> Member | None:
        size = self._sizes[struct, name]
        return None if size is None else Member(0, size, 1)

    def enumerators(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self._numbers[name] for name in names if name in self._numbers}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        # As in Debian's Linux 5.10, 5.15, 6.1, 6.12 and 7.3.
        (CgroupTypes(320, None, 40), {"PLACES 40", "DIRECT 1"}),
        (CgroupTypes(1040, 400, 50), {"PLACES 50", "DIRECT 1"}),
        (CgroupTypes(8, 400, 50), {"PLACES 50", "DIRECT 1", "POINTED_TO 1"}),
        (CgroupTypes(8, 304, 54), {"PLACES 38", "POINTED_TO 1"}),
        (CgroupTypes(8, 456, 76), {"PLACES 57", "POINTED_TO 1"}),
        # There are no counts.
        (CgroupTypes(None, None, 76), set()),
    ],
)
def test_counts_of_a_cgroup_are_read_where_the_kernel_has_them_or_left_out(
    types: CgroupTypes, expected: set[str]
) -> None:
    *places, takes = headers._domain_counts(types)  # type: ignore[arg-type]
    assert {re.sub("#define DOMAIN_COUNTS?_", "", line) for line in places} == expected
    assert ("TAKE_DOMAIN_COUNT(draft, domain_shmem_pages, 23)" in takes) == bool(expected)
    assert ("domain_kernel_pages" in takes) == (bool(expected) and "PLACES 40" not in expected)


def test_missing_btf_is_reported() -> None:
    with pytest.raises(CaptureUnavailable, match="No such file or directory"):
        Btf(Path("/nonexistent/btf"))


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.12.107+deb13-cloud-amd64", (6, 12, 107)), ("7.3-rc1", (7, 3, 0)), ("5.10.0-30-amd64", (5, 10, 0))],
)
def test_kernel_releases(release: str, version: tuple[int, int, int]) -> None:
    assert headers.kernel_version(release) == version


@pytest.mark.parametrize(("content", "count"), [("0\n", 1), ("0-3\n", 4), ("0-3,8-11\n", 12)])
def test_possible_cpus(tmp_path: Path, content: str, count: int) -> None:
    (tmp_path / "possible").write_text(content)
    assert headers.possible_cpus(tmp_path / "possible") == count


HAND_OVER = """
import json, os, sys
from oomkilld.service import handover
handover._BOOTSTRAP = '''
import fcntl, json, os, sys
sys.path.insert(0, sys.argv[1])
from oomkilld.service import handover
seals = [fcntl.fcntl(2 + int(os.environ["LISTEN_FDS"]), fcntl.F_GET_SEALS)]
order, fds = handover.receive()
print(json.dumps([os.getpid(), order, {name: os.pread(fd, 9, 0).decode() for name, fd in fds.items()}, seals]))
'''
fds = {}
for name in ("lock", "ring", "probe-0"):
    fds[name] = os.memfd_create(name)
    os.write(fds[name], name.encode())
print(os.getpid(), flush=True)
arming, kept, before, recording, instead = json.loads(sys.argv[1])
order = handover.Order(handover.Arming(*arming), kept, before, handover.Recording(*recording), instead)
handover.hand_over(order, fds)
"""


def test_order_and_files_arrive_in_the_same_process_and_sealed() -> None:
    arming = Arming(
        *("fentry", {"kprobe": "why"}, "tracepoint", True, 4096, 6, 77, 3, ["CONSTRAINT_NONE"]),
        {"GFP_USER": 0x100CC0, "GFP_KERNEL": 0xCC0, "__GFP_IO": 0x40},
    )
    sent = Order(arming, True, "kprobe", RECORDING, "the defaults")
    output = subprocess.run(
        [sys.executable, "-c", HAND_OVER, json.dumps(sent)], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    first, after = output.splitlines()
    pid, (received, kept, before, told, instead), contents, (seals,) = json.loads(after)
    assert pid == int(first)
    assert Order(Arming(*received), kept, before, Recording(*told), instead) == sent
    # The order is the kernel's, and matters.
    assert list(Arming(*received).gfp_names) == list(arming.gfp_names)
    assert contents == {"lock": "lock", "ring": "ring", "probe-0": "probe-0"}
    assert seals == SEALS


def test_files_for_another_process_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(BrokenHandover):
        receive()


class Handed(Exception):
    """Raised in place of executing the resident stage: the order and files that it would get."""

    def __init__(self, order: Order, fds: dict[str, int]) -> None:
        super().__init__()
        self.order = order
        self.fds = fds


RECORDING = Recording(2, 6, ["MemFree"], "all", "all", 100, "full", ["password *"], 7)
SETTINGS = Chosen("auto", 4096, RECORDING, "the defaults")


class NoCompiler:
    """A compiler that nobody may ask for anything."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_without_a_usable_probe_neither_btf_nor_compiler_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hand_over(order: Order, fds: dict[str, int]) -> None:
        raise Handed(order, fds)

    log = os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setattr(armed, "hand_over", hand_over)
    monkeypatch.setattr(rundir, "RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(stage, "System", lambda: system(tmp_path, lockdown="none integrity [confidentiality]"))
    (tmp_path / "run").mkdir()
    rundir.write_kept_is_bad(tmp_path / "run")
    # An earlier reason does not replace the obstacle that a level has now.
    rundir.write_ceiling(tmp_path / "run", Ceiling("kmsg", "it did not see a kill"))
    monkeypatch.setattr(System, "open_kernel_log", lambda _self: os.dup(log))
    compiler = NoCompiler()
    with pytest.raises(Handed) as caught:
        stage.run(compiler, {}, os.dup(log), SETTINGS)  # type: ignore[arg-type]
    order, fds = caught.value.order, caught.value.fds
    assert compiler.closed, "its process would stay"
    assert sorted(fds) == ["kmsg", "lock"]
    arming = order.arming
    assert (arming.level, order.level_before, arming.level_below) == ("kmsg", None, None)
    assert (arming.probes, order.kept) == (0, False)
    assert (order.recording, order.instead) == (SETTINGS.recording, "the defaults")
    assert list(arming.level_failures) == ["kprobe", "fentry", "tracepoint"]
    assert all("locked down (confidentiality)" in reason for reason in arming.level_failures.values())
    assert not (tmp_path / "run/headers").exists()
    assert not rundir.kept_is_bad(tmp_path / "run"), "another is in its place"
    for fd in (*fds.values(), log):
        os.close(fd)


ARMING = Arming("tracepoint", {"kprobe": "why"}, None, True, 4096, 3, 77, 3, [], {})


@pytest.mark.parametrize(
    ("missing", "mark", "resumed"),
    [
        ("", "abc", True),
        ("", "old", False),  # of another program, kernel or setting
        ("counters", "abc", False),
        ("probe-1", "abc", False),
        ("arming", "abc", False),
    ],
)
def test_a_kept_probe_is_adopted_if_it_is_complete_and_matches_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, mark: str, resumed: bool
) -> None:
    def hand_over(order: Order, fds: dict[str, int]) -> None:
        raise Handed(order, fds)

    monkeypatch.setattr(adopt, "hand_over", hand_over)
    monkeypatch.setattr(Fingerprint, "mark", lambda _self, _wanted: "abc")
    monkeypatch.setattr(rundir, "RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(validated, "load", lambda _directory: SETTINGS)
    monkeypatch.setattr(keptfiles, "_wrong_file", lambda *_arguments: iter(()))
    monkeypatch.setattr(keptfiles, "_wrong_probe", lambda *_arguments: iter(()))
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    # A compromised resident stage could have stored more files.
    names = [f"probe-{number}" for number in range(4)]
    names = [name for name in ("ring", "counters", "lock", *names) if name != missing]
    fds = {name: os.memfd_create(name) for name in names}
    if missing != "arming":
        fds["arming"] = keptarming.keep(ARMING)
    kept = {mark: fds, "other": {}}
    if not resumed:
        assert adopt.run(kept, 0) == SETTINGS, "what is wrong with the files is said once"
        return
    with pytest.raises(Handed) as caught:
        adopt.run(kept, os.dup(0))
    order = caught.value.order
    assert (order.arming, order.kept, order.level_before) == (ARMING, True, None)
    assert (order.recording, order.instead) == (RECORDING, "the defaults")
    assert sorted(caught.value.fds) == ["counters", "lock", "probe-0", "probe-1", "probe-2", "ring"]
    for fd in caught.value.fds.values():
        os.close(fd)


def test_the_files_of_a_failed_run_are_not_adopted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fingerprint, "mark", lambda _self, _wanted: "abc")
    monkeypatch.setattr(rundir, "RUNTIME_DIRECTORY", str(tmp_path))
    rundir.write_kept_is_bad(tmp_path)
    fds = {"ring": 0, "counters": 0, "probe-0": 0, "probe-1": 0, "arming": keptarming.keep(ARMING)}
    assert adopt.run({"abc": fds}, 0) is None
    os.close(fds["arming"])
    assert rundir.kept_is_bad(tmp_path), "as long as it is kept"
    rundir.forget_kept_is_bad(tmp_path)
    assert not rundir.kept_is_bad(tmp_path)


@needs_btf
def test_only_root_can_open_the_header_tree(tmp_path: Path) -> None:
    """Even if others can enter its parent directory."""
    before = os.umask(0o022)
    btf = Btf()
    try:
        headers.write_tree(tmp_path / "headers", btf)
    finally:
        os.umask(before)
        btf.close()
    assert (tmp_path / "headers").stat().st_mode & 0o777 == 0o700
    assert "POSSIBLE_CPUS" in (tmp_path / "headers/include/oomkilld/kernel.h").read_text()


def test_leftovers_of_a_killed_start_are_removed_whatever_their_kind(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    headertree.remove(tmp_path)
    tree = headertree.path(tmp_path)
    (tree / "include").mkdir(parents=True)
    (tree / "include/link").symlink_to(outside)
    os.mkfifo(tree / "include/fifo")
    headertree.remove(tmp_path)
    tree.symlink_to(outside)
    headertree.remove(tmp_path)
    os.mkfifo(tree)
    headertree.remove(tmp_path)
    assert list(tmp_path.iterdir()) == [outside]
    assert (outside / "file").read_text() == "kept"
