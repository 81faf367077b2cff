# SPDX-License-Identifier: Apache-2.0
"""A flight recorder over a small tree on tmpfs, with a clock that stands still until a test moves it."""

import errno
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oomkilld.host.cgroupfs import Hierarchy
from oomkilld.record.enrich.cause import cause_of
from oomkilld.record.enrich.enrich import LedUp
from oomkilld.record.history.before import Before, Known, Place
from oomkilld.record.history.entry import Report, history_entry
from oomkilld.record.history.meminfo import Meminfo
from oomkilld.record.history.recorder import Recorder, Target
from oomkilld.record.history.rings import HOST, Rings
from oomkilld.record.history.sampled import Cgroups, Sampled
from oomkilld.record.history.signs import Signs
from oomkilld.record.kill import KillRecord
from tests.unit.fakes import FakeClock, FakeJournal
from tests.unit.records import ORIGIN, kill_of

PAGE = ORIGIN.page_bytes
MIB = 1 << 20
SECOND = 10**9
TICK = 12
GIB_PAGES = (1 << 30) // PAGE
UNLIMITED = {1: 9223372036854771712, 2: "max"}
# The clock's first time: far from 0, as on a machine that has been up for a while.
BEGIN_NS = 10_000 * SECOND


class Tree:
    """Cgroups as directories. On tmpfs, because there as in the kernel a later directory has a higher inode."""

    def __init__(self, root: Path, version: int = 2) -> None:
        self.root = root
        self.hierarchy = Hierarchy(str(root), version)
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._limit_file = "memory.max" if version == 2 else "memory.limit_in_bytes"

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def add(self, path: str, usage: int = 0, limit: int | None = None, stat: str = "") -> None:
        """A cgroup, and those above it. Sizes in bytes."""
        directory = self.at(path)
        for each in (*reversed(directory.parents), directory):
            if each.is_relative_to(self.root) and each != self.root and not each.exists():
                each.mkdir()
                texts = {self.hierarchy.usage_file.decode(): "0", "memory.stat": stat, "memory.events.local": "max 0"}
                for name, text in texts.items():
                    (each / name).write_text(f"{text}\n")
                (each / self._limit_file).write_text(f"{UNLIMITED[self.hierarchy.version]}\n")
        self.set(path, usage)
        if limit is not None:
            (directory / self._limit_file).write_text(f"{limit}\n")
        if stat:
            (directory / "memory.stat").write_text(stat)

    def set(self, path: str, usage: int) -> None:
        """Its memory in use; the file stays the same one."""
        (self.at(path) / self.hierarchy.usage_file.decode()).write_text(f"{usage}\n")

    def remove(self, path: str) -> None:
        shutil.rmtree(self.at(path))

    @staticmethod
    def read(fd: int, size: int, offset: int) -> bytes:
        """As the kernel answers for a removed cgroup."""
        if os.readlink(f"/proc/self/fd/{fd}").endswith(" (deleted)"):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return os.pread(fd, size, offset)


class FakeSigns(Signs):
    """``wanted``: whether the trigger may wake the loop. ``awaited``: files of which cgroups may. Neither ever does."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root / "no-such-file"))
        self._root = root
        self._paths: dict[int, str] = {}  # by descriptor
        self._changed: set[int] = set()
        self.wanted = False
        self.awaited: set[str] = set()

    def listen(self, *, wanted: bool) -> None:
        self.wanted = wanted

    def await_change(self, fd: int) -> None:
        file = Path(os.readlink(f"/proc/self/fd/{fd}"))
        assert file.name == "memory.events.local"
        self._paths[fd] = f"/{file.parent.relative_to(self._root)}"
        self.awaited.add(self._paths[fd])

    def change(self, path: str) -> None:
        """As if that cgroup's file had changed."""
        self.awaited.remove(path)
        self._changed |= {fd for fd, of in self._paths.items() if of == path}

    def changed(self) -> set[int]:
        changed, self._changed = self._changed, set()
        return changed


@contextmanager
def tree(version: int = 2) -> Iterator[Tree]:
    root = Path(tempfile.mkdtemp(prefix="oomkilld-cgroups-", dir="/dev/shm"))
    try:
        made = Tree(root, version)
        yield made
        os.close(made.fd)
    finally:
        shutil.rmtree(root)


def whole_history() -> list[bytes]:
    """The fields of a ``history`` entry with every field."""
    rings = Rings(HOST + 1)
    rings.add(SECOND, array("I", [5] * rings.columns))
    place = Place(b"/a", HOST, Sampled(b"/a", 1, -1, None), None, 3)
    others = [place._replace(path=b"/%d" % number) for number in range(5)]
    before = Before(2 * SECOND, LedUp("leak", SECOND, []), place, others[0], others)
    return history_entry(Report("0" * 32, before, 0, "cgroup", b"/a"), rings, 3 * SECOND, ORIGIN)


class Scene:
    """A recorder of that tree. ``entries``: those that were sent."""

    def __init__(self, cgroups: Tree, directory: Path, room: int = 256) -> None:
        self.tree = cgroups
        self.directory = directory
        self.clock = FakeClock()
        self.clock.now_ns = BEGIN_NS
        self.meminfo(available=8 * GIB_PAGES, total=16 * GIB_PAGES)
        self.entries: list[str] = []
        self.warnings: list[str] = []
        self.journal = FakeJournal(self.entries)
        self.rings = Rings(HOST + room)
        root = os.dup(cgroups.fd)
        self.signs = FakeSigns(cgroups.root)
        self.cgroups = Cgroups(cgroups.hierarchy, root, self.rings, PAGE, cgroups.read)
        self.known = Known(self.rings, self.cgroups, root, PAGE, is_rooted=True)
        target = Target(self.journal, self.warnings.append)
        self.recorder = Recorder(self.known, (Meminfo(PAGE, str(directory)), self.signs), self.clock, ORIGIN, target)

    def meminfo(self, *, available: int, total: int = 16 * GIB_PAGES) -> None:
        """In pages."""
        rows = {"MemTotal": total, "MemFree": available // 2, "MemAvailable": available, "SwapCached": 9, "Cached": 7}
        text = "".join(f"{key}:{pages * PAGE // 1024:>15} kB\n" for key, pages in rows.items())
        (self.directory / "meminfo").write_text(text)

    def now_s(self) -> int:
        """Seconds since the first time."""
        return (self.clock.boottime_ns() - BEGIN_NS) // SECOND

    def turn(self) -> None:
        """One turn of the loop."""
        self.recorder.check(may_send=True)

    def run(self, seconds: int, then: "dict[str, int] | None" = None) -> int:
        """The loop for that time: it ticks, and wakes when the recorder says so. Returns how often it woke.

        ``then``: bytes by which each cgroup grows every second.
        """
        end_ns = self.clock.now_ns + seconds * SECOND
        tick_ns = self.clock.now_ns
        sizes = {path: float(self.usage(path)) for path in then or {}}
        woke = 0
        while self.clock.now_ns < end_ns:
            self.turn()
            woke += 1
            if tick_ns <= self.clock.now_ns:
                tick_ns = self.clock.now_ns + TICK * SECOND
            due_ns = self.recorder.due_ns
            next_ns = min(end_ns, tick_ns, *([] if due_ns is None else [due_ns]))
            for path, each in (then or {}).items():
                sizes[path] += each * (next_ns - self.clock.now_ns) / SECOND
                self.tree.set(path, int(sizes[path]))
            self.clock.now_ns = next_ns
        return woke

    def usage(self, path: str) -> int:
        return int((self.tree.at(path) / self.tree.hierarchy.usage_file.decode()).read_text())

    def kill(
        self, domain: str | None, victim: str | None = None, *, usage: int | None = None, **changes: object
    ) -> KillRecord:
        """A kill a microsecond from now. ``domain`` None: the machine ran out; ``usage``: the domain's, in bytes."""
        self.clock.now_ns += 1000
        facts: dict[str, int | bytes] = {
            "decision_boottime_ns": self.clock.boottime_ns(),
            "kill_boottime_ns": self.clock.boottime_ns() + 1,
            "constraint": 3 if domain else 0,
            "domain_cgroup": (domain or "").encode(),
            "victim_cgroup": (victim or domain or "").encode(),
            "victim_start_boottime_ns": 1,
            "victim_anon_pages": 1,
            "domain_usage_pages": 0,
            "machine_free_pages": 8 * GIB_PAGES,
        }
        facts |= changes  # type: ignore[arg-type]
        usage = self.usage(domain) if usage is None and domain and self.tree.at(domain).exists() else usage
        kill = kill_of((), **facts)
        return kill._replace(domain_usage_pages=None if usage is None else usage // PAGE)

    def before(self, kill: KillRecord) -> LedUp:
        """With the window in whole seconds."""
        found = self.recorder.before(kill, cause_of(kill, ORIGIN.constraints, PAGE))
        return found._replace(window_ns=found.window_ns and found.window_ns // SECOND * SECOND)

    def grew(self, kill: KillRecord) -> dict[str, float]:
        """The cgroups that grew most, in MiB."""
        return {path.decode(): round(size / MIB, 1) for path, size in self.before(kill).grew}
