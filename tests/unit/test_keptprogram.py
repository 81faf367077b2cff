# SPDX-License-Identifier: Apache-2.0
"""The program that outlives the boot: what is kept, when it counts, and every way in which it is refused."""

import marshal
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oomkilld.arm import armed, fingerprint, headers, keptfiles, keptprogram, loader, restore
from oomkilld.arm import main as stage
from oomkilld.arm.armed import Armed, Found, Made
from oomkilld.arm.fingerprint import Fingerprint, Wanted, build_id, program_mark
from oomkilld.arm.keptprogram import Map, Program, Unusable
from oomkilld.arm.order import wanted_probe
from oomkilld.arm.select import arm_wanted
from oomkilld.config import validated
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoRoom
from oomkilld.host.levels import LEVELS, Hook, Level, lockdown
from oomkilld.host.system import System
from oomkilld.service import rundir
from oomkilld.service.handover import Arming, Order
from oomkilld.service.rundir import Ceiling
from tests.unit.test_arming import SETTINGS, Handed
from tests.unit.test_levels import ALL_SYMBOLS, SYS_ADMIN, system

START = 0xFFFFFFFF92000000
SYMBOLS = dict.fromkeys(ALL_SYMBOLS, START + 16) | {"_text": START, "avenrun": START + 0x5000}
PROGRAM = Program([Map("drafts", 2, 4, 64, 1, 0), Map("kills", 27, 0, 0, 4096, 0)], [b"\0" * 16, b"\1" * 8])


def a_system(root: Path, start: int = START) -> System:
    """A system without any obstacle, whose kernel begins at ``start``."""
    for name, content in {
        "proc/kallsyms": f"0000000000000000 A fixed_percpu_data\n{start:016x} T _stext\n{start:016x} T _text\n",
        "sys/kernel/notes": "build id",
        "sys/devices/system/cpu/possible": "0-3\n",
        "sys/kernel/tracing/events/kmem/mm_page_alloc/format": "flags",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return system(root, capabilities=SYS_ADMIN | 1 << 34)


class Scene:
    """A program of level kprobe, kept by a start with the compiler."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.state, self.run = (path / name for name in ("root", "state", "run"))
        for directory in (self.state, self.run):
            directory.mkdir(mode=0o700)
        self.file = self.state / "program"
        self.system = a_system(self.root)
        self.loaded: list[tuple[Program, list[Hook], list[int], list[int]]] = []
        monkeypatch.setenv("STATE_DIRECTORY", str(self.state))
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        monkeypatch.setattr(rundir, "RUNTIME_DIRECTORY", str(self.run))
        monkeypatch.setattr(restore, "System", lambda: self.system)
        monkeypatch.setattr(armed, "hand_over", hand_over)
        monkeypatch.setattr(keptfiles, "wrong", lambda _arming, _fds: None)
        monkeypatch.setattr(loader, "load", self.load)
        self.keep()

    def mark(self) -> str:
        return Fingerprint(self.system).mark(wanted_probe(SETTINGS, self.run))

    def keep(self, made: Made | None = None, warnings: list[str] | None = None) -> None:
        """What a start does that has compiled ``made``."""
        stage._keep(made or a_made(), self.mark(), self.system, SYMBOLS, warnings or [])

    def load(self, program: Program, hooks: list[Hook], type_ids: list[int], addresses: list[int]) -> Armed:
        self.loaded.append((program, hooks, type_ids, addresses))
        return Armed(os.memfd_create("x"), os.memfd_create("x"), [os.memfd_create("x") for _ in hooks])

    def start(self) -> Order | None:
        """The order to the resident stage; None: the compiler is to be used."""
        try:
            assert restore.run(str(self.state), {}, os.open("/dev/null", os.O_RDONLY), SETTINGS) == SETTINGS
        except Handed as handed:
            for fd in handed.fds.values():
                os.close(fd)
            return handed.order
        return None


def hand_over(order: Order, fds: dict[str, int]) -> None:
    raise Handed(order, fds)


def a_made(level: str = "kprobe", *, by_obstacles: bool = True) -> Made:
    arming = Arming(level, {}, None, True, 4096, 9, 77, 3, ["CONSTRAINT_NONE"], {"GFP_USER": 0x100CC0})
    return Made(SETTINGS, arming, Armed(3, 4, [5], PROGRAM.dump()), by_obstacles)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_a_start_in_another_boot_loads_it_with_the_addresses_of_that_boot(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.keep(warnings=["Failed to read something, ignoring"])
    moved = START + (77 << 21)
    a_system(scene.root, moved)
    order = scene.start()
    assert order is not None
    ((program, hooks, type_ids, addresses),) = scene.loaded
    assert program == PROGRAM
    assert hooks == list(LEVELS[0].hooks)
    assert type_ids == [0] * 9
    assert dict(zip(headers.ADDRESSES, addresses, strict=True)) == dict.fromkeys(headers.ADDRESSES, 0) | {
        "avenrun": moved + 0x5000
    }
    assert (order.arming.level, order.arming.level_failures, order.arming.level_below) == ("kprobe", {}, "fentry")
    assert (order.arming.constraints, order.arming.gfp_names) == (["CONSTRAINT_NONE"], {"GFP_USER": 0x100CC0})
    assert (order.arming.probes, order.arming.ring_bytes, order.arming.exact) == (9, 4096, True)
    assert order.arming.kills_before != 3, "it is read anew"
    assert order.arming.made_boottime_ns != 77
    assert (order.recording, order.instead) == (SETTINGS.recording, SETTINGS.instead)
    assert capfd.readouterr().err.splitlines() == [
        "oomkilld: Failed to read something, ignoring",
        "oomkilld: attached the kept program, without compiling it",
    ]
    assert scene.file.exists()
    assert stat.S_IMODE(scene.file.stat().st_mode) == 0o600


def test_no_address_is_in_the_file(scene: Scene) -> None:
    content = scene.file.read_bytes()
    words = [START.to_bytes(8, "little")[2:6], f"{START:x}".encode(), str(START).encode()]
    assert [word for word in words if word in content] == []


def test_where_addresses_are_hidden_none_is_used(scene: Scene) -> None:
    hidden = {"_text": 0} | dict.fromkeys(ALL_SYMBOLS, 0)
    a_system(scene.root, 0)
    stage._keep(a_made(), scene.mark(), scene.system, hidden, [])
    assert scene.start() is not None
    assert scene.loaded[0][3] == [0] * len(headers.ADDRESSES)
    # Now they are shown, and the compiler's program would read more.
    a_system(scene.root)
    assert scene.start() is None


def test_obstacles_are_looked_for_anew(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    (scene.root / "sys/bus/event_source/devices/kprobe/type").unlink()
    assert scene.start() is None
    why = "it was made for level kprobe, and fentry is now the best"
    assert capfd.readouterr().err == f"oomkilld: Failed to use the kept program: {why}, compiling it\n"
    scene.keep(a_made("fentry"), [])
    order = scene.start()
    assert order is not None
    assert "this kernel has no kprobes" in order.arming.level_failures["kprobe"]


def symbolic(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def listening(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def changed(how: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_bytes(how(path.read_bytes()))

    return change


def with_right_digest(body: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Content after the mark that this program never writes."""

    def change(content: bytes) -> bytes:
        changed_body = body(content[32:])
        return keptprogram._digest(changed_body) + changed_body

    return changed(change)


def other_content(content: Any) -> Callable[[Path], None]:
    return with_right_digest(lambda body: body[:16] + marshal.dumps(content))


def in_another_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


IS = "{file}"
DAMAGED = f"{IS} is damaged"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "its group may write": (
        lambda path: path.chmod(0o620),
        f"found mode 0620 of {IS}, expected one by which only its owner",
    ),
    "others may write": (
        lambda path: path.chmod(0o602),
        f"found mode 0602 of {IS}, expected one by which only its owner",
    ),
    "others may write to the directory": (
        lambda path: path.parent.chmod(0o777),
        "found mode 0777 of {state}, expected one by which only its owner can write to it",
    ),
    "a link": (symbolic, f"{IS}: Too many levels of symbolic links"),
    "a second name": (lambda path: os.link(path, path.with_name("other")), f"found 2 links to {IS}, expected 1"),
    "a link to the directory": (in_another_directory, f"{IS}: Not a directory"),
    "a FIFO": (replaced(lambda path: os.mkfifo(path, 0o600)), f"found something else at {IS}, expected a regular file"),
    "a directory": (replaced(lambda path: path.mkdir(0o700)), f"found something else at {IS}, expected a regular file"),
    "a socket": (listening, f"{IS}: No such device or address"),
    "nothing": (lambda path: path.unlink(), f"{IS}: No such file or directory"),
    "too large": (
        lambda path: os.truncate(path, (1 << 20) + 1),
        f"found 1048577 bytes in {IS}, expected at most 1048576",
    ),
    "empty": (changed(lambda _content: b""), DAMAGED),
    "only the digest": (changed(lambda content: content[:32]), DAMAGED),
    "cut": (changed(lambda content: content[:-1]), DAMAGED),
    "longer": (changed(lambda content: content + b"\0"), DAMAGED),
    "zeros, as after a power cut": (changed(lambda content: bytes(len(content))), DAMAGED),
    "a changed digest": (changed(lambda content: b"\0" + content[1:]), DAMAGED),
    "another mark": (
        with_right_digest(lambda body: bytes(16) + body[16:]),
        "it was made for another kernel, machine or program, or for other settings",
    ),
    "no content": (with_right_digest(lambda body: body[:16]), f"{IS}: "),
    "another format": (with_right_digest(lambda body: body[:16] + b"{}"), f"{IS}: "),
    "fewer facts": (other_content(("kprobe", b"")), f"{IS}: "),
    "one number": (other_content(7), f"{IS}: "),
    "no program": (
        other_content(("kprobe", b"", [], sorted(ALL_SYMBOLS), [], [], {}, [])),
        "found other content than a program: ",
    ),
    "another level": (
        other_content(("tracepoint", b"", [], sorted(ALL_SYMBOLS), [], [], {}, [])),
        "it was made for level tracepoint, and kprobe is now the best",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_reported_in_one_line_and_removed_and_the_compiler_is_used(
    scene: Scene, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, why = BAD[name]
    spoil(scene.file)
    assert scene.start() is None
    assert scene.loaded == []
    (line,) = capfd.readouterr().err.splitlines()
    said = why.format(file=scene.file, state=scene.state)
    assert line.startswith(f"oomkilld: Failed to use the kept program: {said}"), line
    assert line.endswith(", compiling it")
    if name != "a directory":
        assert not os.path.lexists(scene.file)
    assert scene.start() is None


@pytest.mark.parametrize("kind", [stat.S_ISREG, stat.S_ISDIR])
def test_only_a_file_and_a_directory_of_its_own_user_count(tmp_path: Path, kind: Callable[[int], bool]) -> None:
    mode = stat.S_IFREG if kind is stat.S_ISREG else stat.S_IFDIR
    of_another = os.stat_result((mode | 0o600, 1, 1, 1, os.geteuid() + 1, 0, 9, 0, 0, 0))
    with pytest.raises(Unusable, match=f"found user {os.geteuid() + 1} as the owner of {tmp_path}, expected"):
        keptprogram._check(of_another, tmp_path, kind)


def test_no_changed_byte_passes(scene: Scene) -> None:
    mark = program_mark(scene.mark(), scene.system, visible=True)
    good = scene.file.read_bytes()
    assert keptprogram.read(scene.state, mark).level == "kprobe"
    for at in range(len(good)):
        scene.file.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        with pytest.raises(Unusable, match="damaged"):
            keptprogram.read(scene.state, mark)


def test_what_the_kernel_refuses_is_reported_and_removed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*_arguments: object) -> Armed:
        raise Unusable("the kernel refused the program for a kprobe on mark_oom_victim: Invalid argument")

    monkeypatch.setattr(loader, "load", refused)
    assert scene.start() is None
    assert capfd.readouterr().err == (
        "oomkilld: Failed to use the kept program: the kernel refused the program for a kprobe on mark_oom_victim: "
        "Invalid argument, compiling it\n"
    )
    assert not scene.file.exists()


def test_what_was_attached_but_is_not_what_the_level_has_is_detached(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given: list[int] = []

    def wrong(_arming: Arming, fds: dict[str, int]) -> str:
        given.extend(fds.values())
        return "found ring with max_entries 1, expected 4096"

    monkeypatch.setattr(keptfiles, "wrong", wrong)
    assert scene.start() is None
    assert "program: found ring with max_entries 1, expected 4096, compiling it" in capfd.readouterr().err
    assert len(given) == 11
    for fd in given:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    assert not scene.file.exists()


@pytest.mark.parametrize("error", [loader.Forbidden("no"), NoRoom("no memory", "free some")])
def test_a_missing_privilege_or_memory_is_no_fault_of_the_file(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fails(*_arguments: object) -> Armed:
        raise error

    monkeypatch.setattr(loader, "load", fails)
    if isinstance(error, NoRoom):
        with pytest.raises(NoRoom):
            scene.start()
    else:
        assert scene.start() is None
    assert capfd.readouterr().err == ""
    assert scene.file.exists()


MARKED = Wanted("auto", 4096, False, None)


@pytest.mark.parametrize(
    "part",
    [
        *("sys/kernel/notes", "sys/kernel/btf/vmlinux", "sys/devices/system/cpu/possible"),
        "sys/kernel/tracing/events/kmem/mm_page_alloc/format",
    ],
)
def test_each_file_of_the_machine_is_in_the_mark(tmp_path: Path, part: str) -> None:
    where = a_system(tmp_path)
    before = program_mark("abc", where, visible=True)
    assert program_mark("abc", where, visible=True) == before
    (tmp_path / part).write_text("another")
    assert program_mark("abc", where, visible=True) != before


def note(kind: int, name: bytes, content: bytes) -> bytes:
    padded = (each.ljust(len(each) + -len(each) % 4, b"\0") for each in (name, content))
    return struct.pack("=III", len(name), len(content), kind) + b"".join(padded)


def test_of_the_kernels_notes_only_the_build_id_counts(tmp_path: Path) -> None:
    """Those for Xen may hold addresses of this boot."""

    def mark(xen: bytes, build: bytes) -> bytes:
        notes = note(18, b"Xen\0", xen) + note(3, b"GNU\0", build) + note(0, b"Linux\0", b"")
        (tmp_path / "sys/kernel/notes").write_bytes(notes)
        return program_mark("abc", where, visible=True)

    where = a_system(tmp_path)
    assert mark(b"12345", b"1") == mark(b"54321", b"1") != mark(b"12345", b"2")


@pytest.mark.parametrize("notes", [b"", b"\1", note(3, b"Xen\0", b"12"), note(4, b"GNU\0", b"12")[:-3]])
def test_without_a_build_id_all_notes_count(notes: bytes) -> None:
    assert build_id(notes) == notes


def test_this_kernels_build_id_has_the_usual_length() -> None:
    assert len(build_id(Path("/sys/kernel/notes").read_bytes())) == 20


def test_page_size_python_visible_addresses_and_the_probes_mark_are_in_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = a_system(tmp_path)
    found = [program_mark("abc", where, visible=True), program_mark("abd", where, visible=True)]
    found.append(program_mark("abc", where, visible=False))
    monkeypatch.setattr(os, "sysconf", lambda _name: 65536)
    found.append(program_mark("abc", where, visible=True))
    monkeypatch.setattr(sys, "version", "4.0")
    found.append(program_mark("abc", where, visible=True))
    assert len(set(found)) == 5


@pytest.mark.parametrize(
    "other",
    [{"level": "fentry"}, {"ring_bytes": 8192}, {"cmdline": True}, {"ceiling": "fentry"}],
)
def test_each_setting_that_shapes_the_probe_is_in_its_mark(tmp_path: Path, other: dict[str, object]) -> None:
    where = a_system(tmp_path)
    assert Fingerprint(where).mark(MARKED) != Fingerprint(where).mark(MARKED._replace(**other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["arm/new.py", "arm/bpf/new.h", "arm/headers/include/linux/new.h", "recordlayout.py", "host/levels.py"]
)
def test_every_source_of_the_probe_is_in_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for path in ("host/levels.py", "host/system.py", "recordlayout.py", "service/handover.py", "arm/x.py", name):
        (tmp_path / "package" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / path).write_text("1")
    monkeypatch.setattr(fingerprint, "_PACKAGE", tmp_path / "package")
    where = a_system(tmp_path / "root")
    before = Fingerprint(where).mark(MARKED)
    (tmp_path / "package" / name).write_text("2")
    assert Fingerprint(where).mark(MARKED) != before


def test_without_a_build_id_no_program_is_used_or_kept(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    (scene.root / "sys/kernel/notes").unlink()
    assert scene.start() is None
    scene.keep()
    assert not scene.file.exists()
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith("sys/kernel/notes: No such file or directory, compiling it")
    assert second.startswith("oomkilld: Failed to keep the program for the next start: ")
    assert second.endswith(", ignoring")


def test_a_directory_where_others_can_write_gets_no_program(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    scene.file.unlink()
    scene.state.chmod(0o770)
    scene.keep()
    assert list(scene.state.iterdir()) == []
    assert capfd.readouterr().err.startswith("oomkilld: Failed to keep the program for the next start: found mode 0770")


def test_no_program_is_kept_without_a_directory_or_if_a_better_level_may_work_next_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.file.unlink()
    scene.keep(a_made(by_obstacles=False))
    scene.keep(a_made()._replace(armed=None))
    # The start of the kernel is unknown, but not the address of its data.
    stage._keep(a_made(), scene.mark(), scene.system, SYMBOLS | {"_text": 0}, [])
    monkeypatch.delenv("STATE_DIRECTORY")
    scene.keep()
    assert list(scene.state.iterdir()) == []


def test_why_bcc_gave_out_no_program_is_reported(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    scene.file.unlink()
    scene.keep(a_made()._replace(armed=Armed(3, 4, [5], "bcc has changed")))
    expected = "oomkilld: Failed to keep the program for the next start: bcc has changed, ignoring\n"
    assert capfd.readouterr().err == expected
    assert list(scene.state.iterdir()) == []


def test_a_new_program_replaces_the_file_as_a_whole(scene: Scene) -> None:
    inode = scene.file.stat().st_ino
    with scene.file.open("rb") as before:
        scene.keep()
        assert before.read() == scene.file.read_bytes(), "the old one is whole as long as it is open"
    assert scene.file.stat().st_ino != inode
    assert os.listdir(scene.state) == ["program"]


FOUND = Found([], {}, 0, 1, ())


def test_a_level_counts_as_repeatable_if_better_ones_have_obstacles_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "RUNTIME_DIRECTORY", str(tmp_path))
    locked = lockdown(system(tmp_path / "root", lockdown="[confidentiality]"), {})
    assert locked is not None

    def works_from(name: str) -> Callable[[Level], Armed]:
        def arm(level: Level) -> Armed:
            if [each.name for each in LEVELS].index(level.name) < [each.name for each in LEVELS].index(name):
                raise CaptureBroken("refused", "report this")
            return Armed(3, 4, [5])

        return arm

    def repeatable(first: str, obstacles: dict[str, CaptureUnavailable]) -> bool:
        made = arm_wanted(SETTINGS, dict(obstacles), FOUND, works_from(first))
        assert made.arming.level == first
        return made.by_obstacles

    assert isinstance(locked, CaptureUnavailable)
    assert repeatable("kprobe", {})
    assert repeatable("fentry", {"kprobe": locked})
    assert not repeatable("fentry", {})
    assert not repeatable("tracepoint", {"kprobe": locked})
    rundir.write_ceiling(tmp_path, Ceiling("tracepoint", "it did not see a kill"))
    assert repeatable("tracepoint", {})

    # No level below the ceiling works, so one above it is used after all.
    def only_fentry(level: Level) -> Armed:
        if level.name != "fentry":
            raise CaptureBroken("refused", "report this")
        return Armed(3, 4, [5])

    made = arm_wanted(SETTINGS, {"kprobe": locked}, FOUND, only_fentry)
    assert (made.arming.level, made.by_obstacles) == ("fentry", False)


def test_settings_that_were_validated_in_an_earlier_boot_count(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(directory: str) -> validated.Chosen:
        asked.append(directory)
        return SETTINGS

    monkeypatch.setattr(validated, "load", load)
    with pytest.raises(Handed):
        restore.run(str(scene.state), {}, os.open("/dev/null", os.O_RDONLY), None)
    monkeypatch.delenv("STATE_DIRECTORY")
    assert rundir.lasting_directory() == str(scene.run)
    assert asked == [str(scene.state)]


@pytest.mark.parametrize("before", [0, 1, 4060, 4070, 4080, 4090, 4096, 9000])
def test_the_start_of_the_kernel_is_found_wherever_it_is_listed(tmp_path: Path, before: int) -> None:
    lines = ["ffffffff81000000 T x", *("0000000000000000 A " + "y" * 300 for _ in range(before // 320))]
    lines.append("0000000000000000 A " + "z" * (before % 320))
    (tmp_path / "proc").mkdir()
    table = tmp_path / "proc/kallsyms"
    for name in ("_text", "_textual", "a_text"):
        table.write_text("\n".join([*lines, f"ffffffff9c000000 T {name}", "ffffffff9c000010 t y\t[z]", ""]))
        assert System(tmp_path).text_address() == (0xFFFFFFFF9C000000 if name == "_text" else 0)
    table.unlink()
    assert System(tmp_path).text_address() == 0
