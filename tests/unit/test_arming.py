# SPDX-License-Identifier: Apache-2.0
"""Arming without a kernel to arm: obstacles, the child process, the headers, the hand-over."""

import errno
import faulthandler
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oomkilld.arm import child, headers
from oomkilld.arm.btf import VMLINUX, Btf
from oomkilld.arm.levels import KPROBES, choose, wanted_symbols
from oomkilld.arm.stage import take_lock
from oomkilld.arm.system import System
from oomkilld.errors import AlreadyRunning, CaptureBroken, CaptureUnavailable, NoPrivilege, NoRoom, OomkilldError
from oomkilld.handover import BrokenHandover, Order, receive

ROOT = Path(__file__).parents[2]
ALL_SYMBOLS = dict.fromkeys(wanted_symbols(), 0xFFFFFFFF81000000)
SYS_ADMIN, BPF_AND_PERFMON = 1 << 21, 1 << 39 | 1 << 38


def system(
    root: Path,
    *,
    capabilities: int = SYS_ADMIN,
    paranoid: int = 3,
    lockdown: str = "[none] integrity",
    first_uid: int = 0,
) -> System:
    """A system on which nothing stands in the way."""
    for name, content in {
        "proc/self/status": f"Name:\tx\nCapEff:\t{capabilities:016x}\n",
        "proc/self/uid_map": f"         0 {first_uid:10} 4294967295\n",
        "proc/sys/kernel/perf_event_paranoid": f"{paranoid}\n",
        "proc/kallsyms": "".join(f"ffffffff8100000{i} t {p.symbol}\n" for i, p in enumerate(KPROBES)),
        "sys/kernel/security/lockdown": lockdown,
        "sys/kernel/btf/vmlinux": "",
        "sys/bus/event_source/devices/kprobe/type": "8\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return System(root)


def test_where_nothing_stands_in_the_way_the_best_level_is_taken(tmp_path: Path) -> None:
    assert choose("auto", system(tmp_path), ALL_SYMBOLS) == "kprobe"
    assert choose("kprobe", system(tmp_path, lockdown="none [integrity] confidentiality"), ALL_SYMBOLS) == "kprobe"
    assert choose("auto", system(tmp_path, capabilities=BPF_AND_PERFMON, paranoid=2), ALL_SYMBOLS) == "kprobe"
    (tmp_path / "sys/kernel/security/lockdown").unlink()
    assert choose("auto", System(tmp_path), ALL_SYMBOLS) == "kprobe"


def without(name: str) -> Callable[[Path], System]:
    def build(root: Path) -> System:
        made = system(root)
        (root / name).unlink()
        return made

    return build


@pytest.mark.parametrize(
    ("build", "symbols", "kind", "message"),
    [
        (lambda root: system(root, first_uid=100000), ALL_SYMBOLS, NoPrivilege, "this is a user namespace"),
        (lambda root: system(root, capabilities=0), ALL_SYMBOLS, NoPrivilege, "CAP_SYS_ADMIN missing"),
        (
            lambda root: system(root, capabilities=BPF_AND_PERFMON),
            *(ALL_SYMBOLS, NoPrivilege, "CAP_SYS_ADMIN missing"),
        ),
        (
            lambda root: system(root, capabilities=1 << 39, paranoid=2),
            *(ALL_SYMBOLS, NoPrivilege, "CAP_PERFMON missing"),
        ),
        (
            lambda root: system(root, lockdown="none integrity [confidentiality]"),
            *(ALL_SYMBOLS, CaptureUnavailable, "locked down (confidentiality)"),
        ),
        (without("sys/kernel/btf/vmlinux"), ALL_SYMBOLS, CaptureUnavailable, "gives no BTF type information"),
        (
            without("sys/bus/event_source/devices/kprobe/type"),
            *(ALL_SYMBOLS, CaptureUnavailable, "this kernel has no kprobes"),
        ),
        (system, {}, CaptureUnavailable, "/proc/kallsyms, cannot be read"),
        (
            system,
            {name: 1 for name in ALL_SYMBOLS if name != "mark_oom_victim"},
            CaptureUnavailable,
            "no function mark_oom_victim to attach to",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(
    tmp_path: Path,
    build: Callable[[Path], System],
    symbols: dict[str, int],
    kind: type[OomkilldError],
    message: str,
) -> None:
    with pytest.raises(kind, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        choose("auto", build(tmp_path), symbols)
    assert caught.value.hint


def test_symbols_are_found_by_their_whole_name_and_in_the_kernel_only(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text(
        "ffffffff81000010 t oom_kill_process.cold\n"
        "ffffffff81000020 t __oom_kill_process\n"
        "ffffffff81000030 t mark_oom_victim\t[module]\n"
        "ffffffff81000040 T oom_kill_process\n"
    )
    names = ["oom_kill_process", "__oom_kill_process", "mark_oom_victim"]
    assert System(tmp_path).symbols(names) == {
        "oom_kill_process": 0xFFFFFFFF81000040,
        "__oom_kill_process": 0xFFFFFFFF81000020,
    }
    assert System(tmp_path / "nothing").symbols(names) == {}


Work = Callable[[], "tuple[child._Verdict, list[int]]"]


def aborts() -> "tuple[child._Verdict, list[int]]":
    faulthandler.disable()  # pytest's, which clang's abort has not
    os.write(1, b"Assertion `Ctx' failed.\n")
    os.abort()


def is_killed() -> "tuple[child._Verdict, list[int]]":
    os.kill(os.getpid(), 9)
    raise AssertionError


def raises() -> "tuple[child._Verdict, list[int]]":
    raise RuntimeError("unforeseen")


def fails(step: str, number: int = 0) -> Work:
    def work() -> "tuple[child._Verdict, list[int]]":
        os.write(2, b"words of the verifier\n\x1b[2J")
        return child._Verdict(step, "on_mark", "detail", number), []

    return work


@pytest.mark.parametrize(
    ("work", "kind", "message", "hint"),
    [
        (aborts, CaptureBroken, "aborted (SIGABRT)", "  bcc: Assertion `Ctx' failed."),
        (is_killed, NoRoom, "was killed (SIGKILL), most likely for want of memory", "160 MB"),
        (raises, CaptureBroken, "ended with status 1", "  bcc: RuntimeError: unforeseen"),
        (fails("import"), CaptureUnavailable, "bcc cannot be imported: on_mark", "python3-bpfcc"),
        (fails("compile"), CaptureBroken, "bcc cannot compile or set up on_mark", "  bcc: words of the verifier"),
        (fails("load"), CaptureBroken, "verifier refused the program on_mark", "  bcc: words of the verifier"),
        (fails("load", errno.ENOMEM), NoRoom, "no room for the probe (on_mark: Cannot allocate memory)", "tried again"),
        (fails("attach", errno.EMFILE), NoRoom, "no room for the probe (on_mark: Too many open files)", "tried again"),
        (fails("load", errno.EPERM), NoPrivilege, "forbids the probe (on_mark: Operation not permitted)", "sandbox"),
        (fails("attach", errno.EACCES), NoPrivilege, "forbids the probe (on_mark: Permission denied)", "sandbox"),
        (fails("load", errno.EACCES), CaptureBroken, "verifier refused the program on_mark", "report this"),
        (fails("attach"), CaptureUnavailable, "refused a kprobe on on_mark", "  bcc:  [2J\n  bcc: detail"),
    ],
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_whatever_happens_to_the_compiler_is_survived_and_said(
    work: Work, kind: type[OomkilldError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        child._in_child(work)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_file_descriptors_outlive_the_child() -> None:
    def work() -> "tuple[child._Verdict, list[int]]":
        made = []
        for content in (b"ring", b"counters", b"probe", b"other"):
            fd = os.memfd_create("x")
            os.write(fd, content)
            made.append(fd)
        return child._Verdict(None), made

    armed = child._in_child(work)
    fds = [armed.ring, armed.counters, *armed.probes]
    assert not [fd for fd in fds if os.get_inheritable(fd)]
    assert [os.pread(fd, 10, 0) for fd in fds] == [b"ring", b"counters", b"probe", b"other"]
    for fd in fds:
        os.close(fd)


def test_the_lock_lets_one_in_and_names_it(tmp_path: Path) -> None:
    first = take_lock(tmp_path / "run")
    with pytest.raises(AlreadyRunning, match=rf"\(process {os.getpid()}\)"):
        take_lock(tmp_path / "run")
    os.close(first)
    os.close(take_lock(tmp_path / "run"))


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NoPrivilege):
        take_lock(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


needs_btf = pytest.mark.skipif(
    not VMLINUX.exists() and not os.environ.get("OOMKILLD_REQUIRE_ALL"), reason=f"{VMLINUX} is missing"
)


@needs_btf
def test_offsets_are_those_of_the_running_kernel() -> None:
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
    # Inside an anonymous struct of the kernel's mm_struct, and of an anonymous union.
    assert btf.member("mm_struct", "total_vm") is not None
    assert btf.enumerators(["CONSTRAINT_MEMCG", "CONSTRAINT_NONE", "NO_SUCH_WORD"]) == {
        "CONSTRAINT_NONE": 0,
        "CONSTRAINT_MEMCG": 3,
    }
    assert headers.constraint_names(btf)[3] == "CONSTRAINT_MEMCG"
    btf.close()


@needs_btf
def test_a_member_that_this_kernel_lacks_is_compiled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(headers.MEMBERS, "oom_control", ("order", "ordre"))
    btf = Btf()
    text = headers.kernel_header(btf, None)
    assert "#define FETCH_oom_control_ordre(to, room, base) (-1)\n" in text
    assert "HAVE_oom_control_ordre" not in text
    assert "#define HAVE_oom_control_order 1\n" in text
    assert "PER_CPU_OFFSET" not in text
    assert "#define PER_CPU_OFFSET 0x10ULL\n" in headers.kernel_header(btf, 0x10)
    monkeypatch.setattr(headers, "REQUIRED", (("task_struct", "pdi"),))
    with pytest.raises(CaptureUnavailable, match=r"no task_struct\.pdi"):
        headers.kernel_header(btf, None)
    btf.close()


def test_without_btf_that_is_said() -> None:
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
import os, sys
from oomkilld import handover
handover._BOOTSTRAP = '''
import fcntl, json, os, sys
sys.path.insert(0, sys.argv[1])
from oomkilld import handover
seals = [fcntl.fcntl(2 + int(os.environ["LISTEN_FDS"]), fcntl.F_GET_SEALS)]
order, fds = handover.receive()
print(json.dumps([os.getpid(), order, {name: os.pread(fd, 9, 0).decode() for name, fd in fds.items()}, seals]))
'''
fds = {}
for name in ("lock", "ring", "probe-0"):
    fds[name] = os.memfd_create(name)
    os.write(fds[name], name.encode())
print(os.getpid(), flush=True)
handover.hand_over(handover.Order("kprobe", 4096, 2, 6, ["MemFree"], ["CONSTRAINT_NONE"]), fds)
"""


def test_the_order_and_the_files_arrive_in_the_same_process_and_sealed() -> None:
    output = subprocess.run(
        [sys.executable, "-c", HAND_OVER], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    before, after = output.splitlines()
    pid, order, contents, (seals,) = json.loads(after)
    assert pid == int(before)
    assert Order(*order) == Order("kprobe", 4096, 2, 6, ["MemFree"], ["CONSTRAINT_NONE"])
    assert contents == {"lock": "lock", "ring": "ring", "probe-0": "probe-0"}
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def test_files_meant_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(BrokenHandover):
        receive()
