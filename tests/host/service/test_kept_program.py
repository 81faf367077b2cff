# SPDX-License-Identifier: Apache-2.0
"""Starts without the compiler: the program that an earlier start compiled, loaded into this machine's kernel."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from oomkilld.arm import keptprogram
from oomkilld.arm.fingerprint import PROGRAM_MARK_BYTES
from oomkilld.arm.keptprogram import KeptProgram, Program
from oomkilld.arm.pagecache import give_back, mapped_files
from tests.host.service.daemon import DROP_IN, Daemon, changed, names_of_each, settings
from tests.support import live, pace

MIB = 1 << 20
MAX_PEAK_MIB = 30
# For the service, which needs some 15, and for those who eat what is left.
LITTLE, EATERS = 48 * MIB, 3
BACK_WITHIN_SECONDS = 10
# Of this machine's kernel, which may lack the better ones.
TRACEPOINT = '[capture]\nlevel = "tracepoint"\n'
LOADED = "oomkilld: attached the kept program, without compiling it"
REFUSED = "oomkilld: Failed to use the kept program: "
# Notes what the stage has loaded, right before it becomes the other one.
NOTED = Path("/run/oomkilld/loaded")
BEFORE_THE_END = "    hand_over(resident_order("
# Joins a cgroup, and becomes another program there.
IN_CGROUP = 'echo 0 >"$1" && shift && exec "$@"'
NOTE = f"""    import json, resource, sys
    def read(path):
        with open(path) as file:
            return file.read()
    own = int(read("/proc/self/status").split("VmHWM:")[1].split()[0])
    peaks = [own >> 10, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10]
    with open({str(NOTED)!r}, "w") as note:
        json.dump([sorted(sys.modules), read("/proc/self/maps"), peaks], note)
"""


class Start(NamedTuple):
    """A start of the service, which no manager keeps files for."""

    pid: int
    seconds: float  # until ready
    cpu_seconds: float  # of it and its child processes, until ready
    said: list[str]


class Service:
    """The service with a directory of state."""

    def __init__(self, daemon: Daemon, scratch: Path) -> None:
        self.daemon = daemon
        self.state = scratch / "state"
        self.state.mkdir(mode=0o700)
        self.file = self.state / "program"
        self._output = scratch / "said"
        self._address = scratch / "notify"

    @contextmanager
    def running(self, end: signal.Signals = signal.SIGTERM, within: live.Cgroup | None = None) -> Iterator[Start]:
        """Ready when the block begins; then it gets that signal. ``within``: the cgroup that it starts in."""
        before = [] if within is None else ["sh", "-c", IN_CGROUP, "sh", str(within.procs)]
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager,
            self._output.open("wb") as output,
        ):
            manager.bind(str(self._address))
            began = time.monotonic()
            service = subprocess.Popen(
                [*before, self.daemon.program],
                stdin=subprocess.DEVNULL,
                stderr=output,
                env={
                    "PATH": os.environ["PATH"],
                    "NOTIFY_SOCKET": str(self._address),
                    "STATE_DIRECTORY": str(self.state),
                },
            )
            try:
                live.wait_for("readiness", lambda: self._is_ready(manager, service), 60, self._said, every=0.005)
                seconds = time.monotonic() - began
                told = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
                cpu_seconds = sum(map(int, told[11:15])) / os.sysconf("SC_CLK_TCK")
                yield Start(service.pid, seconds, cpu_seconds, self._said().splitlines())
            finally:
                service.send_signal(end)
                service.wait(20)
                self._address.unlink()

    def _is_ready(self, manager: socket.socket, service: "subprocess.Popen[bytes]") -> bool:
        assert service.poll() is None, f"it ended with status {service.returncode}: {self._said()}"
        try:
            return "READY=1" in manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return False

    def _said(self) -> str:
        return self._output.read_text()

    def start(self) -> list[str]:
        """What one start says."""
        with self.running() as started:
            return started.said

    def kill_one(self, here: live.Moment) -> live.Entry:
        with live.cgroup("kept", 4 * MIB) as where:
            victim = live.kill_one(where)

        def entries() -> list[live.Entry]:
            return live.service_entries("kill", here, sender=self.daemon.sender)

        (entry,) = live.wait_for("its entry", entries, 5, self._said)
        assert int(entry["OOM_VICTIM_PID"]) == victim.pid
        return entry


@pytest.fixture(scope="module")
def service(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The program is kept already."""
    daemon.stop()
    made = Service(daemon, tmp_path_factory.mktemp("kept"))
    with settings(daemon, TRACEPOINT):
        assert [line for line in made.start() if "kept program" in line] == []
        yield made


@pytest.fixture(autouse=True)
def kept(service: Service) -> Iterator[None]:
    if not service.file.exists():
        service.start()
    yield
    assert service.file.exists(), "each start leaves a program"


def test_it_sees_what_the_compilers_program_sees(service: Service, here: live.Moment) -> None:
    service.file.unlink()
    with service.running() as compiled:
        by_compiler = service.kill_one(here)
    again = live.now()
    with service.running() as loaded:
        by_file = service.kill_one(again)
    assert LOADED not in compiled.said
    assert LOADED in loaded.said
    assert names_of_each(by_file) == names_of_each(by_compiler)
    same = ("OOM_SOURCE", "OOM_SCHEMA", "OOM_VICTIM_COMM", "OOM_VICTIM_EXE_NAME", "OOM_VICTIM_UID", "OOM_VICTIM_CGROUP")
    assert [by_file.get(name) for name in same] == [by_compiler.get(name) for name in same]
    sizes = ("OOM_VICTIM_TOTAL_VM_BYTES", "OOM_VICTIM_RSS_BYTES", "OOM_VICTIM_PGTABLES_BYTES")
    for name in sizes:
        assert int(by_file[name]) == pytest.approx(int(by_compiler[name]), rel=0.2), name


def test_it_takes_a_small_part_of_the_compilers_memory_and_time_and_loads_no_library_of_it(service: Service) -> None:
    with changed(service.daemon, "arm/armed.py", BEFORE_THE_END, NOTE + BEFORE_THE_END):
        with service.running() as compiled:
            by_compiler = noted()
        with service.running() as loaded:
            by_file = noted()
        assert any("made for another kernel, machine or program" in line for line in compiled.said), "it was changed"
        assert LOADED in loaded.said
    service.start()
    for name, start, note in (("compiled", compiled, by_compiler), ("from the file", loaded, by_file)):
        print(f"{name}: ready after {start.seconds:.2f} s, {start.cpu_seconds:.2f} s of CPU, peaks {note.peaks} MiB")
    assert sum(by_compiler.peaks) > 100
    assert sum(by_file.peaks) < MAX_PEAK_MIB
    assert loaded.cpu_seconds < compiled.cpu_seconds / 2
    assert "libbpf" in by_file.maps
    assert [name for name in ("libbcc", "libLLVM", "libclang", "pydantic") if name in by_file.maps] == []
    assert {name.partition(".")[0] for name in by_file.modules} & {"bcc", "pydantic", "pydantic_core"} == set()


class Note(NamedTuple):
    """``peaks``: in MiB, of the stage and of its child processes."""

    modules: list[str]
    maps: str
    peaks: list[int]


def noted() -> Note:
    return Note(*json.loads(NOTED.read_text()))


def test_after_a_crash_of_which_nothing_is_kept_it_loads_the_program(service: Service, here: live.Moment) -> None:
    with service.running(signal.SIGKILL):
        service.kill_one(here)
    down = live.now()
    with live.cgroup("down", 4 * MIB) as where:
        missed = live.kill_one(where)
    vmstat = live.vmstat_kills()
    with service.running() as started:
        assert LOADED in started.said

        def recalled() -> list[live.Entry]:
            return live.service_entries("kill", down, sender=service.daemon.sender)

        (entry,) = live.wait_for("the kill meanwhile", recalled, 10)
        assert (int(entry["OOM_VICTIM_TID"]), entry["OOM_SOURCE"]) == (missed.pid, "kmsg")
        assert service.kill_one(live.now())["OOM_SOURCE"] == "tracepoint"
    assert live.vmstat_kills() == vmstat + 1


@contextmanager
def out_of_memory(where: live.Cgroup) -> Iterator[list[int]]:
    """Processes eat all that the cgroup has, without end; afterwards the list has the number of those killed."""
    enough = threading.Event()
    reaped: list[int] = []

    def eat() -> int:
        killed = 0
        while not enough.is_set():
            eater = subprocess.Popen(
                [live.hog_program(), where.procs, "adjust=1000", "eat"], stdout=subprocess.DEVNULL, text=True
            )
            killed += live.killed(eater)
        return killed

    with ThreadPoolExecutor(EATERS) as pool:
        eaters = [pool.submit(eat) for _ in range(EATERS)]
        try:
            yield reaped
        finally:
            enough.set()
    reaped += [eater.result() for eater in eaters]


def forget_files(of: int) -> None:
    """Of that process, from the page cache, and of the Python that it runs."""
    give_back({*mapped_files(str(of)), *map(str, Path("/usr/lib").glob("python3*/**/*.py*"))})


def test_when_it_lost_everything_where_memory_runs_out_without_end_it_is_back_in_time(
    service: Service, here: live.Moment
) -> None:
    """The files that it reads count against the same limit, and are dropped again and again."""
    vmstat = live.vmstat_kills()
    with live.cgroup("without-memory", LITTLE) as where:
        with service.running(signal.SIGKILL) as crashed, out_of_memory(where) as first:
            time.sleep(1)
            forget_files(crashed.pid)
        with out_of_memory(where) as second:
            time.sleep(1)
            with service.running(within=where) as started:
                assert LOADED in started.said
                meanwhile = live.vmstat_kills()
                live.wait_for("a kill", lambda: live.vmstat_kills() > meanwhile, 10)
        with service.running():
            kills = sum(first) + sum(second)

            def told() -> int:
                entries = live.service_entries("kill", here, sender=service.daemon.sender)
                assert len({entry["OOM_KILL_ID"] for entry in entries}) == len(entries)
                return len(entries)

            live.wait_for("all entries", lambda: told() >= kills, 30, lambda: f"{told()} of {kills}")
            assert told() == kills == live.vmstat_kills() - vmstat
    assert live.service_entries("missed", here, sender=service.daemon.sender) == []
    print(f"back after {started.seconds:.2f} s, {started.cpu_seconds:.2f} s of CPU, among {kills} kills")
    assert started.seconds <= BACK_WITHIN_SECONDS


def test_a_changed_configuration_is_validated_and_keeps_the_program_unless_it_shapes_it(
    service: Service, here: live.Moment
) -> None:
    DROP_IN.write_text(f'{TRACEPOINT}[entry]\npriority = "notice"\n')
    with service.running() as started:
        assert LOADED in started.said
        assert service.kill_one(here)["PRIORITY"] == "5"
    DROP_IN.write_text(f'{TRACEPOINT}ring_size = "64KiB"\n')
    said = service.start()
    assert f"{REFUSED}it was made for another kernel, machine or program, or for other settings, compiling it" in said
    assert LOADED in service.start()
    DROP_IN.write_text(f"{TRACEPOINT}ring_size = 1\n")
    assert any("the configuration is invalid" in line for line in service.start())
    DROP_IN.write_text(TRACEPOINT)
    service.start()


def flipped(service: Service) -> None:
    content = bytearray(service.file.read_bytes())
    content[len(content) // 2] ^= 1
    service.file.write_bytes(content)


def rewritten(change: Callable[[KeptProgram], KeptProgram]) -> Callable[[Service], None]:
    """A file with the right mark and digest."""

    def write(service: Service) -> None:
        mark = service.file.read_bytes()[32 : 32 + PROGRAM_MARK_BYTES]
        keptprogram.write(service.state, mark, change(keptprogram.read(service.state, mark)))

    return write


def with_program(change: Callable[[Program], Program]) -> Callable[[Service], None]:
    return rewritten(lambda kept: kept._replace(program=change(Program.parse(kept.program)).dump()))


def with_map(name: str, entries: int) -> Callable[[Service], None]:
    return with_program(
        lambda program: program._replace(
            maps=[each._replace(entries=entries) if each.name == name else each for each in program.maps]
        )
    )


def reads_what_it_may_not(program: Program) -> Program:
    # r1 = *(u64 *)(r2 + 0), and nothing has set r2.
    first = bytes.fromhex("7921000000000000")
    *others, last = program.instructions
    return program._replace(instructions=[*others, first + last[8:]])


BAD: dict[str, tuple[Callable[[Service], None], str]] = {
    "a bit": (flipped, "is damaged"),
    "its mode": (lambda service: service.file.chmod(0o666), "found mode 0666 of"),
    "its owner": (lambda service: os.chown(service.file, 65534, 0), "found user 65534 as the owner of"),
    "what the verifier refuses": (
        with_program(reads_what_it_may_not),
        "the kernel refused the program for a raw_tracepoint on mark_victim: Permission denied",
    ),
    "another hook's program": (
        with_program(lambda program: program._replace(instructions=program.instructions[:-1])),
        "found programs for 2 hooks, expected 3",
    ),
    "a map that the kernel refuses": (with_map("marked", entries=0), "the kernel refused to create the map marked: "),
    "another size of the ring": (with_map("kills", entries=4096), "found ring with max_entries 4096, expected 4194304"),
    "fewer counters": (
        with_map("counters", entries=1),
        "the kernel refused|found counters with max_entries 1, expected",
    ),
    "another level": (
        rewritten(lambda kept: kept._replace(level="kprobe")),
        "it was made for level kprobe, and tracepoint is now the best",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_reported_removed_and_compiled_anew(service: Service, here: live.Moment, name: str) -> None:
    spoil, why = BAD[name]
    spoil(service)
    with service.running() as started:
        lines = [line for line in started.said if line.startswith(REFUSED)]
        assert len(lines) == 1, started.said
        assert any(each in lines[0] for each in why.split("|")), lines
        assert lines[0].endswith(", compiling it")
        assert LOADED not in started.said
        service.kill_one(here)
    assert LOADED in service.start()


PYTHON = ("/usr/bin/python3", "-I", "-c")
# As in two boots: compiles with the addresses of one, and with those of the other.
COMPILE = """
import os, sys
state, run, moved = sys.argv[2], sys.argv[3], int(sys.argv[4])
sys.path.insert(0, sys.argv[1])
os.environ["STATE_DIRECTORY"] = state
from oomkilld import __main__
from oomkilld.arm import armed, headers
from oomkilld.host.system import System
from oomkilld.service import rundir
START = 0xFFFFFFFF81000000 + moved
invented = {"_text": START} | {name: START + 0x123450 * i for i, name in enumerate(headers.ADDRESSES, start=1)}
real = System.symbols
System.symbols = lambda self, names: real(self, names) | invented
rundir.RUNTIME_DIRECTORY = run
armed.hand_over = lambda order, fds: os._exit(0)
__main__.main([])
"""


def test_two_boots_compile_the_same_bytes(service: Service, tmp_path: Path) -> None:
    found = []
    for boot, moved in enumerate((0, 0x1B400000)):
        state, run = tmp_path / f"state-{boot}", tmp_path / f"run-{boot}"
        state.mkdir(mode=0o700)
        words = [*PYTHON, COMPILE, str(service.daemon.package.parent), str(state), str(run), str(moved)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120 * pace.patience())
        assert done.returncode == 0, done.stderr
        content = (state / "program").read_bytes()
        kept = keptprogram.read(state, content[32 : 32 + PROGRAM_MARK_BYTES])
        assert kept.addresses == [0x123450 * i for i in range(1, len(kept.addresses) + 1)]
        found.append(kept)
    assert found[0] == found[1]
