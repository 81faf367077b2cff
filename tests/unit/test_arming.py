# SPDX-License-Identifier: Apache-2.0
"""Arming without a kernel to arm: obstacles, the child process, the headers, the hand-over."""

import errno
import faulthandler
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from oomkilld import lastlevel
from oomkilld.arm import compiler, headers
from oomkilld.arm.best import arm_best, none_works
from oomkilld.arm.btf import VMLINUX, Btf
from oomkilld.arm.levels import LEVELS, Level, wanted_levels, wanted_symbols
from oomkilld.arm.lock import take_lock
from oomkilld.arm.system import System
from oomkilld.errors import AlreadyRunning, CaptureBroken, CaptureUnavailable, NoPrivilege, NoRoom, OomkilldError
from oomkilld.handover import BrokenHandover, Order, receive
from oomkilld.settings import Capture

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
        "sys/kernel/security/lockdown": lockdown,
        "sys/kernel/btf/vmlinux": "",
        "sys/bus/event_source/devices/kprobe/type": "8\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return System(root)


EVERY = ("kprobe", "fentry", "tracepoint")


def obstacle(level: str, where: System, symbols: dict[str, int]) -> OomkilldError | None:
    return wanted_levels(level)[0].obstacle(where, symbols)


@pytest.mark.parametrize("level", ["kprobe", "fentry", "tracepoint"])
def test_nothing_stands_in_the_way_of_root_on_a_usual_kernel(tmp_path: Path, level: str) -> None:
    assert obstacle(level, system(tmp_path), ALL_SYMBOLS) is None
    assert obstacle(level, system(tmp_path, lockdown="none [integrity] confidentiality"), ALL_SYMBOLS) is None
    assert obstacle(level, system(tmp_path, capabilities=BPF_AND_PERFMON, paranoid=2), ALL_SYMBOLS) is None
    (tmp_path / "sys/kernel/security/lockdown").unlink()
    assert obstacle(level, System(tmp_path), ALL_SYMBOLS) is None


def test_fentry_and_tracepoint_do_without_what_only_kprobes_need(tmp_path: Path) -> None:
    closed = system(tmp_path, capabilities=BPF_AND_PERFMON, paranoid=3)
    (tmp_path / "sys/bus/event_source/devices/kprobe/type").unlink()
    assert obstacle("kprobe", closed, ALL_SYMBOLS) is not None
    assert obstacle("fentry", closed, ALL_SYMBOLS) is None
    assert obstacle("tracepoint", closed, {}) is None


def test_the_setting_knows_every_level() -> None:
    (known,) = [field.annotation for name, field in Capture.model_fields.items() if name == "level"]
    assert get_args(known) == ("auto", *(level.name for level in LEVELS))


def test_no_kill_is_taken_for_another_while_the_hooks_are_attached() -> None:
    targets = {level.name: [(hook.kind, hook.target) for hook in level.hooks] for level in LEVELS}
    # A mark without its signal would be one of a spared process; a signal without a mark is nothing.
    assert [target for _kind, target in targets["tracepoint"]] == ["signal_generate", "mark_victim"]
    # A kill without its attempt is not seen; what closes a decision is there before what opens one.
    assert [target for _kind, target in targets["kprobe"]][-2:] == ["mark_oom_victim", "__oom_kill_process"]
    assert targets["kprobe"][:2] == [("kretprobe", "oom_kill_process"), ("kprobe", "oom_kill_process")]
    assert [target for _kind, target in targets["fentry"]] == [target for _kind, target in targets["kprobe"]]


def test_the_levels_to_try() -> None:
    assert [level.name for level in wanted_levels("auto")] == ["kprobe", "fentry", "tracepoint"]
    assert [level.name for level in wanted_levels("fentry")] == ["fentry"]


ARMED = compiler.Armed(3, 4, [5])


def test_the_best_level_that_works_is_taken_and_why_not_the_better_ones() -> None:
    tried = []

    def arm(level: Level) -> compiler.Armed:
        tried.append(level.name)
        if level.name == "fentry":
            raise CaptureBroken("refused by the verifier\nand more", "report it")
        return ARMED

    best = arm_best(LEVELS, {"kprobe": CaptureUnavailable("none here", "")}, arm)
    assert tried == ["fentry", "tracepoint"]
    assert best == ("tracepoint", ARMED, {"kprobe": "none here", "fentry": "refused by the verifier"})
    assert arm_best(LEVELS, {"tracepoint": CaptureUnavailable("none here", "")}, lambda _level: ARMED) == (
        *("kprobe", ARMED),
        {},
    )


def test_want_of_room_says_nothing_about_a_level() -> None:
    def arm(_level: Level) -> compiler.Armed:
        raise NoRoom("no memory", "later")

    with pytest.raises(NoRoom):
        arm_best(LEVELS, {}, arm)


def test_when_no_level_works_each_says_why() -> None:
    def arm(level: Level) -> compiler.Armed:
        raise CaptureUnavailable(f"no {level.name}", "report it")

    with pytest.raises(NoPrivilege) as caught:
        arm_best(LEVELS, {"kprobe": NoPrivilege("CAP_SYS_ADMIN missing", "run it as root")}, arm)
    assert caught.value.message == (
        "no way to see OOM kills works here\n"
        "kprobe: CAP_SYS_ADMIN missing\nfentry: no fentry\ntracepoint: no tracepoint"
    )
    assert caught.value.hint == "kprobe: run it as root\nfentry: report it\ntracepoint: report it"
    lacking, broken = CaptureUnavailable("none here", ""), CaptureBroken("a fault", "")
    assert isinstance(none_works({"kprobe": lacking, "fentry": broken}), CaptureBroken)
    assert isinstance(none_works({"kprobe": broken, "fentry": NoPrivilege("no", "")}), NoPrivilege)
    same = CaptureUnavailable("locked down", "boot without")
    assert none_works({"kprobe": same, "fentry": CaptureUnavailable("locked down", "boot without")}) is same


def test_the_level_of_the_run_before_is_remembered(tmp_path: Path) -> None:
    assert lastlevel.read(tmp_path, EVERY) is None
    lastlevel.write(tmp_path, "fentry")
    assert lastlevel.read(tmp_path, EVERY) == "fentry"
    for nonsense in (b"\xff", b"magic", b"fentry\nMESSAGE=x"):
        (tmp_path / "last-level").write_bytes(nonsense)
        assert lastlevel.read(tmp_path, EVERY) is None


def without(name: str) -> Callable[[Path], System]:
    def build(root: Path) -> System:
        made = system(root)
        (root / name).unlink()
        return made

    return build


def missing(name: str) -> dict[str, int]:
    return {symbol: 1 for symbol in ALL_SYMBOLS if symbol != name}


FUNCTIONS = ("kprobe", "fentry")


@pytest.mark.parametrize(
    ("levels", "build", "symbols", "kind", "message"),
    [
        (EVERY, lambda root: system(root, first_uid=100000), ALL_SYMBOLS, NoPrivilege, "this is a user namespace"),
        (("kprobe",), lambda root: system(root, capabilities=0), ALL_SYMBOLS, NoPrivilege, "CAP_SYS_ADMIN missing"),
        (
            *(("kprobe",), lambda root: system(root, capabilities=BPF_AND_PERFMON)),
            *(ALL_SYMBOLS, NoPrivilege, "no privilege to attach kprobes: CAP_SYS_ADMIN missing"),
        ),
        (
            *(("kprobe",), lambda root: system(root, capabilities=1 << 39, paranoid=2)),
            *(ALL_SYMBOLS, NoPrivilege, "CAP_PERFMON missing"),
        ),
        (
            *(("fentry", "tracepoint"), lambda root: system(root, capabilities=1 << 39)),
            *(ALL_SYMBOLS, NoPrivilege, "no privilege to load BPF programs: CAP_PERFMON missing"),
        ),
        (
            *(EVERY, lambda root: system(root, lockdown="none integrity [confidentiality]")),
            *(ALL_SYMBOLS, CaptureUnavailable, "locked down (confidentiality)"),
        ),
        (EVERY, without("sys/kernel/btf/vmlinux"), ALL_SYMBOLS, CaptureUnavailable, "gives no BTF type information"),
        (
            *(("kprobe",), without("sys/bus/event_source/devices/kprobe/type")),
            *(ALL_SYMBOLS, CaptureUnavailable, "this kernel has no kprobes"),
        ),
        (("fentry",), system, missing("bpf_trampoline_link_prog"), CaptureUnavailable, "no BPF trampolines"),
        (FUNCTIONS, system, {}, CaptureUnavailable, "/proc/kallsyms, cannot be read"),
        (FUNCTIONS, system, missing("mark_oom_victim"), CaptureUnavailable, "no function mark_oom_victim to attach to"),
    ],
)
def test_what_stands_in_the_way_is_named(
    tmp_path: Path,
    levels: tuple[str, ...],
    build: Callable[[Path], System],
    symbols: dict[str, int],
    kind: type[OomkilldError],
    message: str,
) -> None:
    for level in levels:
        found = obstacle(level, build(tmp_path / level), symbols)
        assert isinstance(found, kind)
        assert message in found.message
        assert found.hint


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


JOB = compiler.Job("/nonexistent", 4096, "kprobe")
Work = Callable[[compiler.Jobs], tuple[compiler._Verdict, list[int]]]


def run_child(work: Work) -> compiler.Armed:
    made = compiler.Compiler(work)
    try:
        made.prepare(JOB)
        return made.arm(JOB)
    finally:
        made.close()


def aborts(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    faulthandler.disable()  # pytest's, which clang's abort has not
    os.write(1, b"Assertion `Ctx' failed.\n")
    os.abort()


def is_killed(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    os.kill(os.getpid(), 9)
    raise AssertionError


def raises(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
    raise RuntimeError("unforeseen")


def fails(step: str, number: int = 0) -> Work:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        os.write(2, b"words of the verifier\n\x1b[2J")
        return compiler._Verdict(step, "kprobe on mark_oom_victim", "detail", number), []

    return work


@pytest.mark.parametrize(
    ("work", "kind", "message", "hint"),
    [
        (aborts, CaptureBroken, "aborted (SIGABRT)", "  bcc: Assertion `Ctx' failed."),
        (is_killed, NoRoom, "was killed (SIGKILL), most likely for want of memory", "160 MB"),
        (raises, CaptureBroken, "ended with status 1", "  bcc: RuntimeError: unforeseen"),
        (fails("import"), CaptureUnavailable, "bcc cannot be imported: kprobe on mark_oom_victim", "python3-bpfcc"),
        (
            fails("compile"),
            CaptureBroken,
            "bcc cannot compile or set up kprobe on mark_oom_victim",
            "  bcc: words of the verifier",
        ),
        (
            fails("load"),
            CaptureBroken,
            "verifier refused the program for a kprobe on mark_oom_victim",
            "  bcc: words of the verifier",
        ),
        (
            fails("load", errno.ENOMEM),
            NoRoom,
            "no room for the probe (kprobe on mark_oom_victim: Cannot allocate memory)",
            "tried again",
        ),
        (
            fails("attach", errno.EMFILE),
            NoRoom,
            "no room for the probe (kprobe on mark_oom_victim: Too many open files)",
            "tried again",
        ),
        (
            fails("load", errno.EPERM),
            NoPrivilege,
            "forbids the probe (kprobe on mark_oom_victim: Operation not permitted)",
            "sandbox",
        ),
        (
            fails("attach", errno.EACCES),
            NoPrivilege,
            "forbids the probe (kprobe on mark_oom_victim: Permission denied)",
            "sandbox",
        ),
        (
            fails("load", errno.EACCES),
            CaptureBroken,
            "verifier refused the program for a kprobe on mark_oom_victim",
            "report this",
        ),
        (
            fails("attach"),
            CaptureUnavailable,
            "refused to attach kprobe on mark_oom_victim",
            "  bcc:  [2J\n  bcc: detail",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_whatever_happens_to_the_compiler_is_survived_and_said(
    work: Work, kind: type[OomkilldError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        run_child(work)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_file_descriptors_outlive_the_child() -> None:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        made = []
        for content in (b"ring", b"counters", b"probe", b"other"):
            fd = os.memfd_create("x")
            os.write(fd, content)
            made.append(fd)
        return compiler._Verdict(None), made

    armed = run_child(work)
    fds = [armed.ring, armed.counters, *armed.probes]
    assert not [fd for fd in fds if os.get_inheritable(fd)]
    assert [os.pread(fd, 10, 0) for fd in fds] == [b"ring", b"counters", b"probe", b"other"]
    for fd in fds:
        os.close(fd)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_what_is_asked_for_is_armed_also_when_something_else_was_prepared() -> None:
    def work(jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        seen = [(job.level, attach) for job, attach in jobs]
        return compiler._Verdict("compile", str(seen)), []

    made = compiler.Compiler(work)
    made.prepare(JOB)
    with pytest.raises(CaptureBroken, match=r"\[\('kprobe', False\), \('fentry', True\)\]"):
        made.arm(JOB._replace(level="fentry"))
    # After a failure the next level has a child of its own, which nothing was prepared for.
    with pytest.raises(CaptureBroken, match=r"\[\('tracepoint', True\)\]"):
        made.arm(JOB._replace(level="tracepoint"))
    made.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_is_not_needed_is_ended() -> None:
    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        time.sleep(60)
        raise AssertionError

    started = time.monotonic()
    made = compiler.Compiler(work)
    made.prepare(JOB)
    made.close()
    made.close()
    assert time.monotonic() - started < 30


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_comes_to_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_SECONDS", 0.2)

    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        time.sleep(60)
        raise AssertionError

    with pytest.raises(CaptureBroken, match="came to no end within 0 s"):
        run_child(work)


KILLED_WHILE_ARMING = """
import os, time
from oomkilld.arm.compiler import Compiler
lock = os.open("/dev/zero", os.O_RDONLY)
print(Compiler(lambda jobs: time.sleep(60))._pid, flush=True)
time.sleep(60)
"""


def test_a_child_has_no_file_but_its_socket_and_ends_with_the_service() -> None:
    command = [sys.executable, "-c", KILLED_WHILE_ARMING]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        child = Path("/proc", service.stdout.readline().strip())

        def files() -> list[str]:
            return sorted(os.readlink(path).partition(":")[0] for path in (child / "fd").iterdir())

        wait(lambda: len(files()) == 4)
        assert files() == ["/dev/null", "/memfd", "/memfd", "socket"]
        service.kill()
        service.wait()
        wait(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text())


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
    assert btf.raw_tracepoint_gives("signal_generate", "kernel_siginfo") is False  # its second argument
    assert btf.raw_tracepoint_gives("sched_process_exit", "task_struct")
    assert not btf.raw_tracepoint_gives("no_such_event", "task_struct")
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
order = handover.Order("fentry", "kprobe", {"kprobe": "why"}, 4096, 2, 6, ["MemFree"], ["CONSTRAINT_NONE"])
handover.hand_over(order, fds)
"""


def test_the_order_and_the_files_arrive_in_the_same_process_and_sealed() -> None:
    output = subprocess.run(
        [sys.executable, "-c", HAND_OVER], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    before, after = output.splitlines()
    pid, order, contents, (seals,) = json.loads(after)
    assert pid == int(before)
    assert Order(*order) == Order("fentry", "kprobe", {"kprobe": "why"}, 4096, 2, 6, ["MemFree"], ["CONSTRAINT_NONE"])
    assert contents == {"lock": "lock", "ring": "ring", "probe-0": "probe-0"}
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def test_files_meant_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    with pytest.raises(BrokenHandover):
        receive()
