# SPDX-License-Identifier: Apache-2.0
"""The capture levels: the obstacles to each, and which one is taken."""

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from oomkilld.arm.armed import Armed
from oomkilld.arm.select import arm_best, level_below, none_works, set_aside
from oomkilld.config.settings import Capture
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoPrivilege, NoRoom, OomkilldError
from oomkilld.host.levels import LEVELS, Level, lacking_functions, wanted_levels, wanted_symbols
from oomkilld.host.system import System, no_address
from oomkilld.record import levelnotice
from oomkilld.service import rundir
from oomkilld.service.handover import Arming, Order, Recording
from oomkilld.service.rundir import Ceiling

SPLIT = "oom_badness.part.0"
ALL_SYMBOLS = dict.fromkeys(wanted_symbols() - {SPLIT}, 0xFFFFFFFF81000000)
SYS_ADMIN, BPF_AND_PERFMON = 1 << 21, 1 << 39 | 1 << 38


def system(
    root: Path,
    *,
    capabilities: int = SYS_ADMIN,
    paranoid: int = 3,
    lockdown: str = "[none] integrity",
    first_uid: int = 0,
) -> System:
    """A system without any obstacle."""
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


EVERY = ("kprobe", "fentry", "tracepoint")  # that look into the kernel


def obstacle(level: str, where: System, symbols: dict[str, int]) -> OomkilldError | None:
    return wanted_levels(level)[0].obstacle(where, symbols)


@pytest.mark.parametrize("level", ["kprobe", "fentry", "tracepoint"])
def test_root_on_a_usual_kernel_has_no_obstacle(tmp_path: Path, level: str) -> None:
    assert obstacle(level, system(tmp_path), ALL_SYMBOLS) is None
    assert obstacle(level, system(tmp_path, lockdown="none [integrity] confidentiality"), ALL_SYMBOLS) is None
    assert obstacle(level, system(tmp_path, capabilities=BPF_AND_PERFMON, paranoid=2), ALL_SYMBOLS) is None
    (tmp_path / "sys/kernel/security/lockdown").unlink()
    assert obstacle(level, System(tmp_path), ALL_SYMBOLS) is None


def test_fentry_and_tracepoint_work_without_what_only_kprobes_need(tmp_path: Path) -> None:
    closed = system(tmp_path, capabilities=BPF_AND_PERFMON, paranoid=3)
    (tmp_path / "sys/bus/event_source/devices/kprobe/type").unlink()
    assert obstacle("kprobe", closed, ALL_SYMBOLS) is not None
    assert obstacle("fentry", closed, ALL_SYMBOLS) is None
    assert obstacle("tracepoint", closed, {}) is None


def test_without_memory_cgroups_only_their_facts_are_missing(tmp_path: Path) -> None:
    of_memory_cgroups = ("mem_cgroup_print_oom_meminfo",)
    symbols = {name: address for name, address in ALL_SYMBOLS.items() if name not in of_memory_cgroups}
    assert obstacle("kprobe", system(tmp_path), symbols) is None
    assert lacking_functions(symbols) == of_memory_cgroups
    assert lacking_functions(ALL_SYMBOLS) == ()


def test_a_function_that_the_compiler_split_is_not_hooked() -> None:
    assert SPLIT in wanted_symbols()
    assert lacking_functions({**ALL_SYMBOLS, SPLIT: 0}) == ("oom_badness",)


def test_the_setting_offers_every_level() -> None:
    (known,) = [field.annotation for name, field in Capture.model_fields.items() if name == "level"]
    assert get_args(known) == ("auto", *(level.name for level in LEVELS))


def test_no_kill_is_misread_while_the_hooks_are_attached_one_by_one() -> None:
    targets = {level.name: [(hook.kind, hook.target) for hook in level.hooks] for level in LEVELS}
    # A mark without its signal would look like a spared process; a signal without a mark means nothing.
    assert [target for _kind, target in targets["tracepoint"]] == [
        "sched_process_exit",
        "signal_generate",
        "mark_victim",
    ]
    # An attempt without its mark means nothing; the hook that closes a decision comes before the one that opens it.
    assert [target for _kind, target in targets["kprobe"]][1:3] == ["__oom_kill_process", "mark_oom_victim"]
    assert targets["kprobe"][-2:] == [("kretprobe", "oom_kill_process"), ("kprobe", "oom_kill_process")]
    # An attempt closed without a mark means a spared process: so the hook on the mark comes first.
    assert targets["kprobe"].index(("kretprobe", "__oom_kill_process")) == 3
    assert [target for _kind, target in targets["fentry"]] == [target for _kind, target in targets["kprobe"]]


def test_the_levels_to_try() -> None:
    assert [level.name for level in wanted_levels("auto")] == ["kprobe", "fentry", "tracepoint", "kmsg"]
    assert [level.name for level in LEVELS if not level.hooks] == ["kmsg"]
    assert [level.name for level in wanted_levels("fentry")] == ["fentry"]


ARMED = Armed(3, 4, [5])


def test_the_best_level_that_works_is_taken_with_the_reasons_against_better_ones() -> None:
    tried = []

    def arm(level: Level) -> Armed:
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


def test_a_lack_of_memory_does_not_count_against_a_level() -> None:
    def arm(_level: Level) -> Armed:
        raise NoRoom("no memory", "later")

    with pytest.raises(NoRoom):
        arm_best(LEVELS, {}, arm)


def test_if_no_level_works_each_gives_its_reason() -> None:
    def arm(level: Level) -> Armed:
        raise CaptureUnavailable(f"no {level.name}", "report it")

    with pytest.raises(NoPrivilege) as caught:
        arm_best(LEVELS, {"kprobe": NoPrivilege("CAP_SYS_ADMIN missing", "run it as root")}, arm)
    assert caught.value.message == (
        "no capture level works on this system\n"
        "kprobe: CAP_SYS_ADMIN missing\nfentry: no fentry\ntracepoint: no tracepoint\nkmsg: no kmsg"
    )
    assert caught.value.hint == "kprobe: run it as root\nfentry, tracepoint, kmsg: report it"
    lacking, broken = CaptureUnavailable("none here", ""), CaptureBroken("a fault", "")
    assert isinstance(none_works({"kprobe": lacking, "fentry": broken}), CaptureBroken)
    assert isinstance(none_works({"kprobe": broken, "fentry": NoPrivilege("no", "")}), NoPrivilege)
    dark = {name: CaptureUnavailable("no BTF", "run another kernel") for name in EVERY}
    grouped = none_works({**dark, "kmsg": NoPrivilege("no privilege", "start it as root")})
    assert grouped.message == (
        "no capture level works on this system\nkprobe, fentry, tracepoint: no BTF\nkmsg: no privilege"
    )
    assert grouped.hint == "kprobe, fentry, tracepoint: run another kernel\nkmsg: start it as root"
    same = CaptureUnavailable("locked down", "boot without")
    assert none_works({"kprobe": same, "fentry": CaptureUnavailable("locked down", "boot without")}) is same


RECORDING = Recording(2, 6, "common", "common", "stuck", 100, "off", [], 0)


@pytest.mark.parametrize(
    ("before", "level", "failures", "changed"),
    [
        (None, "kprobe", {}, False),
        (None, "kmsg", {"kprobe": "none here"}, True),
        ("kprobe", "kprobe", {}, False),
        ("kmsg", "kmsg", {"kprobe": "none here"}, False),
        ("kprobe", "kmsg", {"kprobe": "none here"}, True),
        ("kmsg", "kprobe", {}, True),
    ],
)
def test_the_reason_against_better_levels_is_in_the_entry_of_a_change_or_else_in_the_first_line(
    before: str | None, level: str, failures: dict[str, str], changed: bool
) -> None:
    arming = Arming(level, failures, None, True, 4096, 0, 1, 0, [], {})
    order = Order(arming, kept=False, level_before=before, recording=RECORDING, instead="")
    assert levelnotice.is_change(order) == changed
    reasons = " (not kprobe: none here)" if failures and not changed else ""
    assert levelnotice.first_line(order) == f"recording OOM kills at level {level}{reasons}"


def test_the_level_of_the_previous_run_is_remembered(tmp_path: Path) -> None:
    assert rundir.read_last(tmp_path, EVERY) is None
    rundir.write_last(tmp_path, "fentry")
    assert rundir.read_last(tmp_path, EVERY) == "fentry"
    for nonsense in (b"\xff", b"magic", b"fentry\nMESSAGE=x"):
        (tmp_path / "last-level").write_bytes(nonsense)
        assert rundir.read_last(tmp_path, EVERY) is None


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
        (EVERY, without("sys/kernel/btf/vmlinux"), ALL_SYMBOLS, CaptureUnavailable, "has no BTF type information"),
        (
            *(("kprobe",), without("sys/bus/event_source/devices/kprobe/type")),
            *(ALL_SYMBOLS, CaptureUnavailable, "this kernel has no kprobes"),
        ),
        (("fentry",), system, missing("bpf_trampoline_link_prog"), CaptureUnavailable, "no BPF trampolines"),
        (FUNCTIONS, system, {}, CaptureUnavailable, "/proc/kallsyms, cannot be read"),
        (FUNCTIONS, system, missing("mark_oom_victim"), CaptureUnavailable, "no function mark_oom_victim to attach to"),
    ],
)
def test_an_obstacle_is_named(
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


def test_level_kmsg_needs_the_real_kernel_log(tmp_path: Path) -> None:
    found = obstacle("kmsg", system(tmp_path), {})
    assert isinstance(found, CaptureUnavailable)
    assert "/dev/kmsg: No such file" in found.message
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/kmsg")  # as systemd-nspawn makes it
    found = obstacle("kmsg", system(tmp_path), {})
    assert isinstance(found, CaptureUnavailable)
    assert "it is not the kernel's log" in found.message
    open_files = len(os.listdir("/proc/self/fd"))
    obstacle("kmsg", system(tmp_path), {})
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_a_forbidden_kernel_log_is_a_missing_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "open", refuse)
    found = obstacle("kmsg", System(), {})
    assert isinstance(found, NoPrivilege)
    assert "CAP_SYSLOG" in found.hint


def test_a_lack_of_file_descriptors_does_not_count_against_a_level(tmp_path: Path) -> None:
    tight = system(tmp_path)
    (tmp_path / "proc/kallsyms").write_text("")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            tight.symbols(ALL_SYMBOLS)
        with pytest.raises(OSError, match="Too many open files"):
            obstacle("kmsg", tight, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_symbols_are_found_by_their_whole_name_and_only_in_the_kernel_itself(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (None, "the kernel's list of symbols, /proc/kallsyms, cannot be read"),
        ("ffffffff81000010 t oom_kill_process\n", "this kernel's list of symbols, /proc/kallsyms, has no data"),
        ("0000000000000000 D data\n", "addresses of kernel symbols are hidden"),
    ],
)
def test_the_reason_why_a_symbol_has_no_address(tmp_path: Path, table: str | None, why: str) -> None:
    if table is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/kallsyms").write_text(table)
    symbols = System(tmp_path).symbols(["oom_kill_process", "data"])
    assert no_address(symbols, "data").startswith(why)


def test_an_unreliable_level_is_set_aside_until_the_next_boot(tmp_path: Path) -> None:
    assert rundir.read_ceiling(tmp_path, EVERY) is None
    rundir.write_ceiling(tmp_path, Ceiling("fentry", "3 of its records were wrong"))
    ceiling = rundir.read_ceiling(tmp_path, EVERY)
    assert ceiling == Ceiling("fentry", "3 of its records were wrong")
    (error,) = set_aside(LEVELS, ceiling).values()
    assert error.message == "set aside in this boot: 3 of its records were wrong"
    assert list(set_aside(LEVELS, Ceiling("tracepoint", ""))) == ["kprobe", "fentry"]
    assert set_aside(LEVELS, None) == {}
    (tmp_path / "level").write_text("kprobes everything")
    assert rundir.read_ceiling(tmp_path, EVERY) is None


@pytest.mark.parametrize(
    ("best", "setting", "obstacles", "below"),
    [
        ("kprobe", "auto", (), "fentry"),
        ("kprobe", "auto", ("fentry",), "tracepoint"),
        ("tracepoint", "auto", (), "kmsg"),
        ("tracepoint", "auto", ("kmsg",), None),
        ("kmsg", "auto", (), None),
        ("kprobe", "kprobe", (), None),
    ],
)
def test_the_level_below_is_the_next_without_an_obstacle(
    best: str, setting: str, obstacles: tuple[str, ...], below: str | None
) -> None:
    assert level_below(best, wanted_levels(setting), obstacles) == below
