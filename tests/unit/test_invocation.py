# SPDX-License-Identifier: Apache-2.0
"""The invocation id of a unit's run, from the links that PID 1 makes in /run and removes again."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.host.clock import KernelClock
from oomkilld.record.enrich.invocation import MAX_UNITS, STAMP_OFF_NS, Invocations
from tests.unit.records import kill_of

FIRST, SECOND, THIRD = ("166765845413463db9445ba25ccfefb0", "2" * 32, "3" * 32)
UNITS = ("nginx.service", "getty@tty1.service", r"machine-qemu\x2d1\x2dvm.scope")


class Units:
    """PID 1 with its directory, and what the service knows about it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directory = root / "run/systemd/units"
        self._directory.mkdir(parents=True)
        self._known: Invocations | None = None

    @property
    def known(self) -> Invocations:
        if self._known is None:
            self._known = Invocations(KernelClock(), str(self._root))
        return self._known

    def start(self, unit: str, run: str) -> None:
        """Replace the link atomically, as systemd does."""
        temporary = self._directory / f".#invocation:{unit}"
        temporary.symlink_to(run)
        temporary.rename(self._directory / f"invocation:{unit}")

    def end(self, unit: str) -> None:
        (self._directory / f"invocation:{unit}").unlink()

    def of(self, unit: str, killed_ns: int | None = None, started_ns: int | None = None) -> str | None:
        """The id for a process that started and was killed just now, unless given; ``started_ns`` 0: unknown."""
        killed_ns = killed_ns or now_ns()
        started_ns = killed_ns if started_ns is None else started_ns
        unknown = () if started_ns else ("victim_start_boottime_ns",)
        kill = kill_of(unknown=unknown, kill_boottime_ns=killed_ns, victim_start_boottime_ns=started_ns)
        found = self.known.of(os.fsencode(unit), kill)
        return None if found is None else found.decode()

    def close(self) -> None:
        if self._known is not None:
            os.close(self._known.fileno())


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def pass_a_tick() -> None:
    """The kernel stamps files with the time of the last tick."""
    time.sleep(0.012)


@pytest.fixture
def units(tmp_path: Path) -> Iterator[Units]:
    units = Units(tmp_path)
    for unit in UNITS:
        units.start(unit, FIRST)
    yield units
    units.close()


@pytest.mark.parametrize("unit", UNITS)
def test_a_running_unit_has_an_id(units: Units, unit: str) -> None:
    assert units.of(unit) == FIRST


def test_a_unit_that_has_run_for_long_is_known() -> None:
    # In memory, as /run is: there the kernel also records when such a link was first read.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        units = Units(Path(root))
        units.start("nginx.service", FIRST)
        os.utime(Path(root, "run/systemd/units/invocation:nginx.service"), (1, 1), follow_symlinks=False)
        units.known.check()
        killed_ns = now_ns()
        units.end("nginx.service")
        assert units.of("nginx.service", killed_ns) == FIRST
        units.close()


def test_a_unit_that_the_kill_ended_is_still_known(units: Units) -> None:
    assert units.of("nginx.service") == FIRST
    units.start("job.service", SECOND)
    units.known.check()
    killed_ns = now_ns()
    for unit in ("nginx.service", "job.service"):
        units.end(unit)
    assert [units.of(unit, killed_ns) for unit in ("nginx.service", "job.service")] == [FIRST, SECOND]


def test_a_kill_before_a_restart_belongs_to_the_run_before_it(units: Units) -> None:
    assert units.of("nginx.service") == FIRST
    killed_ns = now_ns()
    pass_a_tick()
    units.start("nginx.service", SECOND)
    assert units.of("nginx.service", killed_ns) == FIRST
    assert units.of("nginx.service") == SECOND
    # By the stamp of its link, which has the resolution of a tick, this kill would already belong to the third run.
    later_ns = now_ns()
    units.start("nginx.service", THIRD)
    assert units.of("nginx.service", later_ns, started_ns=killed_ns) == SECOND


def test_a_run_that_was_not_read_in_time_is_unknown_and_not_mistaken_for_another(units: Units) -> None:
    assert units.of("nginx.service") == FIRST
    pass_a_tick()
    units.start("nginx.service", SECOND)
    killed_ns = now_ns()
    units.end("nginx.service")
    assert units.of("nginx.service", killed_ns) is None
    units.start("nginx.service", FIRST)
    assert units.of("nginx.service") == FIRST
    pass_a_tick()
    units.start("nginx.service", SECOND)
    killed_ns = now_ns()
    pass_a_tick()
    units.start("nginx.service", THIRD)
    assert units.of("nginx.service", killed_ns) is None
    assert units.of("nginx.service") == THIRD


def test_a_run_that_began_after_the_kill_is_not_taken_even_if_it_began_before_this_service(units: Units) -> None:
    killed_ns = now_ns()
    pass_a_tick()
    units.start("late.service", SECOND)
    assert units.of("late.service", killed_ns) is None


def test_a_scope_may_hold_processes_older_than_itself(units: Units) -> None:
    started_ns = now_ns()
    pass_a_tick()
    killed_before_ns = now_ns()
    units.start("login.scope", SECOND)
    units.start("login.service", SECOND)
    pass_a_tick()
    killed_ns = now_ns()
    assert units.of("login.scope", killed_before_ns, started_ns) is None  # the link is younger than that time
    assert units.of("login.scope", killed_ns, started_ns) == SECOND
    assert units.of("login.service", killed_ns, started_ns) is None


def test_a_kill_from_the_log_belongs_to_a_run_only_if_its_stamp_cannot_mislead(units: Units) -> None:
    units.start("nginx.service", SECOND)
    assert units.of("nginx.service", started_ns=0) is None
    assert units.of("nginx.service", now_ns() + STAMP_OFF_NS, started_ns=0) == SECOND
    assert units.of("nginx.service", now_ns() - STAMP_OFF_NS // 2, started_ns=0) is None


def test_after_lost_notifications_older_knowledge_is_dropped(units: Units, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oomkilld.record.enrich.invocation._READS", 1)
    monkeypatch.setattr("oomkilld.record.enrich.invocation._READ_BYTES", 100)
    assert units.of("nginx.service") == FIRST
    killed_ns = now_ns()
    for number in range(5):
        units.start(f"other{number}.service", SECOND)
    units.end("nginx.service")
    assert units.of("nginx.service", killed_ns) is None
    assert units.of("other4.service") == SECOND


def test_the_number_of_units_it_remembers_is_bounded_and_others_are_looked_up(units: Units) -> None:
    for number in range(MAX_UNITS + 10):
        units.start(f"job{number}.service", SECOND)
        units.known.check()
    assert len(units.known._runs) == MAX_UNITS
    assert units.of("nginx.service") == FIRST


@pytest.mark.parametrize("target", [FIRST.upper(), FIRST[1:], FIRST + "0", "x" * 32, f"/{FIRST}", FIRST[1:] + "\n"])
def test_a_link_without_an_id_gives_none(units: Units, target: str) -> None:
    units.start("odd.service", target)
    assert units.of("odd.service") is None


def test_a_unit_that_does_not_run_has_no_id(units: Units) -> None:
    assert units.of("stopped.service") is None
    assert units.of("a" * 247 + ".service") is None


def test_without_systemd_there_is_no_id(tmp_path: Path) -> None:
    known = Invocations(KernelClock(), str(tmp_path))
    assert known.of(b"nginx.service", kill_of()) is None
    known.check()
    os.close(known.fileno())


def test_without_notifications_links_are_read_when_asked(units: Units, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_arguments: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("oomkilld.record.enrich.invocation.checked", none_left)
    assert units.of("nginx.service") == FIRST
    killed_ns = now_ns()
    pass_a_tick()
    units.start("nginx.service", SECOND)
    units.known.check()
    assert units.of("nginx.service", killed_ns) is None
    assert units.of("nginx.service") == SECOND


def test_a_file_in_place_of_the_link_gives_no_id(units: Units, tmp_path: Path) -> None:
    (tmp_path / "run/systemd/units/invocation:file.service").write_text(FIRST)
    assert units.of("file.service") is None


@pytest.mark.parametrize(
    "unit",
    [
        b"",
        b"nginx",
        b"x/nginx.service",
        b"/../units/invocation:nginx.service",
        b"a/../invocation:nginx.service",
        b"nginx.service\0",
        b"nginx.service/",
        b"\xff.service",
        b".",
        b"..",
        b"a" * 5000 + b".service",
    ],
)
def test_no_name_leads_elsewhere(units: Units, tmp_path: Path, unit: bytes) -> None:
    # If slashes were allowed, some of these would lead to the link of nginx.service.
    links = tmp_path / "run/systemd/units"
    (links / "invocation:x").mkdir()
    (links / "invocation:x/nginx.service").symlink_to(FIRST)
    (links / "invocation:").mkdir()
    (links / "invocation:a").mkdir()
    assert units.known.of(unit, kill_of(kill_boottime_ns=now_ns())) is None
