# SPDX-License-Identifier: Apache-2.0
"""Kept files, checked by what /proc shows about them."""

from pathlib import Path

import pytest

from oomkilld import recordlayout
from oomkilld.arm import keptfiles
from oomkilld.host.levels import LEVELS
from oomkilld.service.handover import Arming

# As Linux 6.12 shows them.
RING = (
    "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\nmap_type:\t27\nkey_size:\t0\nvalue_size:\t0\n"
    "max_entries:\t4096\nmap_flags:\t0x0\n"
)
COUNTERS = (
    f"flags:\t02000002\nmap_type:\t2\nkey_size:\t4\nvalue_size:\t8\nmax_entries:\t{len(recordlayout.COUNTERS)}\nmap_flags:\t0x400\n"
    "map_extra:\t0x0\nmemlock:\t4096\nmap_id:\t33\nfrozen:\t0\n"
)
FEWER = COUNTERS.replace(f"max_entries:\t{len(recordlayout.COUNTERS)}", "max_entries:\t1")
LINK = "flags:\t02000000\nlink_type:\t{}\nlink_id:\t5\nprog_tag:\t4ac1\nprog_id:\t78\n{}"
MAP, PERF_EVENT, BPF_LINK = "anon_inode:bpf-map", "anon_inode:[perf_event]", "anon_inode:bpf_link"
File = tuple[str, str]
HOOKS = {level.name: level.hooks for level in LEVELS}


def arming_of(level: str) -> Arming:
    return Arming(level, {}, None, True, 4096, len(HOOKS[level]), 77, 3, [], {})


def files_of(level: str) -> dict[str, File]:
    """The files of such a probe, by name."""
    probes: dict[str, File] = {}
    for number, hook in enumerate(HOOKS[level]):
        if level == "kprobe":
            file = PERF_EVENT, "flags:\t02000002\n"
        elif level == "fentry":
            file = BPF_LINK, LINK.format("tracing", "attach_type:\t24\n")
        else:
            file = BPF_LINK, LINK.format("raw_tracepoint", f"tp_name:\t{hook.target}\n")
        probes[f"probe-{number}"] = file
    return {"ring": (MAP, RING), "counters": (MAP, COUNTERS), **probes}


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("fd", "fdinfo"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(keptfiles, "_PROC", str(tmp_path))
    return tmp_path


def wrong(proc: Path, level: str, files: dict[str, File]) -> str | None:
    for fd, (target, told) in enumerate(files.values()):
        (proc / f"fd/{fd}").symlink_to(target)
        (proc / f"fdinfo/{fd}").write_text(told)
    arming = arming_of(level)._replace(probes=sum(name.startswith("probe-") for name in files))
    return keptfiles.wrong(arming, {name: fd for fd, name in enumerate(files)})


@pytest.mark.parametrize("level", ["kprobe", "fentry", "tracepoint"])
def test_the_files_of_a_probe_pass(proc: Path, level: str) -> None:
    assert wrong(proc, level, files_of(level)) is None


@pytest.mark.parametrize(
    ("level", "name", "file", "why"),
    [
        ("kprobe", "ring", ("/memfd:ring", RING), "found '/memfd:ring' as ring, expected anon_inode:bpf-map"),
        ("kprobe", "ring", (MAP, COUNTERS), "found ring with map_type 2, expected 27"),
        ("kprobe", "ring", (MAP, RING.replace("4096", "8192")), "found ring with max_entries 8192, expected 4096"),
        ("kprobe", "ring", (MAP, RING.replace("2000002", "2000000")), "found ring with flags 02000000, expected 2"),
        ("kprobe", "counters", (MAP, RING), "found counters with map_type 27, expected 2"),
        (
            "kprobe",
            "counters",
            (MAP, FEWER),
            f"found counters with max_entries 1, expected {len(recordlayout.COUNTERS)}",
        ),
        (
            "kprobe",
            "counters",
            (MAP, COUNTERS.replace("x400", "x0")),
            "found counters with map_flags 0x0, expected 1024",
        ),
        ("kprobe", "probe-2", (BPF_LINK, ""), f"found '{BPF_LINK}' as probe-2, expected {PERF_EVENT}"),
        ("fentry", "probe-5", ("socket:[77]", ""), f"found 'socket:[77]' as probe-5, expected {BPF_LINK}"),
        (
            "tracepoint",
            "probe-2",
            (BPF_LINK, LINK.format("raw_tracepoint", "tp_name:\tskip_task_reaping\n")),
            "found probe-2 at the tracepoint skip_task_reaping, expected mark_victim",
        ),
        (
            "tracepoint",
            "probe-2",
            (BPF_LINK, LINK.format("tracing", "attach_type:\t24\n")),
            "found probe-2 at the tracepoint None, expected mark_victim",
        ),
    ],
)
def test_another_file_in_place_of_one_is_reported(proc: Path, level: str, name: str, file: File, why: str) -> None:
    assert wrong(proc, level, {**files_of(level), name: file}) == why


@pytest.mark.parametrize("name", ["ring", "counters", "probe-0", "probe-5"])
def test_a_missing_file_is_reported(name: str) -> None:
    files = files_of("fentry")
    fds = {other: 0 for other in files if other != name}
    assert keptfiles.wrong(arming_of("fentry"), fds) == f"found no {name}"


@pytest.mark.parametrize(
    ("level", "probes", "expected"),
    [
        *(("fentry", probes, "6 to 9") for probes in (0, 5, 10)),
        *(("tracepoint", probes, "3") for probes in (0, 2, 4)),
    ],
)
def test_a_level_has_as_many_probes_as_hooks(level: str, probes: int, expected: str) -> None:
    fds = dict.fromkeys(("ring", "counters", *(f"probe-{number}" for number in range(10))), 0)
    found = keptfiles.wrong(arming_of(level)._replace(probes=probes), fds)
    assert found == f"found {probes} probes, expected {expected} of level {level}"


@pytest.mark.parametrize("probes", [6, 7, 8, 9])
def test_a_level_may_lack_probes_whose_functions_the_kernel_lacks(proc: Path, probes: int) -> None:
    files = files_of("fentry")
    for number in range(probes, 9):
        del files[f"probe-{number}"]
    assert wrong(proc, "fentry", files) is None
