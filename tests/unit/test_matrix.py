# SPDX-License-Identifier: Apache-2.0
"""The table of kernels, and which guests boot for it."""

import math
import re
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.host import __main__ as host
from tests.support import pace
from tests.vm import __main__ as vm
from tests.vm import arm64, kernels
from tests.vm.__main__ import EACH_KERNEL, EACH_KERNEL_IN_FULL, KERNELS, VERSION_1, Guest, plan
from tests.vm.machine import ARM64, X86, BootResult, Processor, copy_checkout, give_ten_times_as_long
from tests.vm.table import Cell, parse, render

CELLS = (
    Cell("5.10.0-32-cloud-amd64", "kprobe", "single kill", "passed"),
    Cell("5.10.0-32-cloud-amd64", "tracepoint", "single kill", "FAILED"),
    Cell("6.1.0-50-cloud-amd64", "kprobe", "group of 6", "passed"),
)
TABLE = """\
kernel                 level       single kill  group of 6
5.10.0-32-cloud-amd64  kprobe      passed
5.10.0-32-cloud-amd64  tracepoint  FAILED
6.1.0-50-cloud-amd64   kprobe                   passed"""


def test_the_table_has_a_row_per_kernel_and_level_and_a_column_per_assertion() -> None:
    assert render(CELLS) == TABLE


def test_a_guests_lines_for_the_table_are_read_back_and_no_others() -> None:
    assert [parse(cell.line()) for cell in CELLS] == list(CELLS)
    assert parse("tests/vm/guest/kernel/usual/test_1_kills.py::test_a PASSED\n") is None


def test_other_kernels_get_the_tests_that_depend_on_the_kernel_and_with_full_at_every_level() -> None:
    own = Guest("6.12", ("first_boot", "second_boot"), 2048)
    others = [name for name in kernels.SUITES if name != kernels.OWN]
    usual = [Guest(name, ("kernel/usual",), 512, EACH_KERNEL) for name in others]
    usual.append(Guest("6.12", ("kernel/usual", "kernel/minutes"), 512))
    assert sorted(plan(list(kernels.SUITES), full=False)) == sorted([own, *usual, Guest("6.12", ("lockdown",), 512)])
    locked = [Guest(name, ("lockdown",), 512) for name in KERNELS]
    all_of_it = [Guest(name, ("kernel",), 512, EACH_KERNEL_IN_FULL) for name in KERNELS if name != kernels.OWN]
    all_of_it.append(Guest("6.12", ("kernel",), 512))
    restart = [Guest(name, ("restart",), 1024) for name in ("6.12", "arm64")]
    upgrade = Guest("6.12", ("upgrade",), 1024)
    sizes = [
        Guest("6.12", ("sizes",), 256, cpus=1),
        Guest("6.12", ("sizes",), 8192, cpus=8),
        Guest("6.1", ("sizes",), 512, words=VERSION_1[1]),
    ]
    planned = list(plan(KERNELS, full=True))
    assert sorted(planned) == sorted([own, *locked, *all_of_it, *restart, upgrade, *sizes])
    titles = [guest.title(boot) for guest in planned for boot in guest.boots]
    assert len(set(titles)) == len(titles)
    # It takes longest of the guests that run at the same time.
    assert next(plan(list(kernels.SUITES), full=False)) == own
    assert list(plan(["5.10"], full=True)) == [
        Guest("5.10", ("kernel",), 512, EACH_KERNEL_IN_FULL),
        Guest("5.10", ("lockdown",), 512),
    ]


def test_a_guest_that_would_not_end_in_time_is_not_booted_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boots: list[str] = []

    class FakeMachine:
        def __init__(self, image: str, _work: Path, *_about: object, ten_times: bool, **_more: object) -> None:
            assert ten_times
            self._kernel = image

        def boot(self, *_arguments: object) -> BootResult:
            boots.append(self._kernel)
            return BootResult(0, [])

    monkeypatch.setattr(vm, "Machine", FakeMachine)
    monkeypatch.setattr(vm, "images_of", lambda _chosen, _cache, _mirror: {name: name for name in KERNELS})
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(pace, "slowness", lambda: 1.0)
    monkeypatch.setattr(pace, "ends_in_time", lambda minutes, until, _factor: minutes <= until)
    arguments = ["--cache", str(tmp_path), "--mirror", ""]
    own, others = [kernels.OWN] * 2, [*kernels.SUITES, *[kernels.OWN] * 2]
    for until, booted in ((17, own + others), (8, others), (1.9, [])):
        boots.clear()
        assert vm.main([*arguments, "--until", str(until)]) == 0
        assert sorted(boots) == sorted(booted)
        assert ("LEFT OUT" in capsys.readouterr().out) == (until < 17)


def test_if_the_run_ends_early_its_guests_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another_runs = threading.Event()
    begun: list[str] = []
    ended: list[str] = []

    class FakeMachine:
        def __init__(
            self, _image: str, _work: Path, name: str, *_about: object, ten_times: bool, **_more: object
        ) -> None:
            assert ten_times
            self._name = name
            self._told_to_end = threading.Event()

        def boot(self, *_arguments: object) -> BootResult:
            if self._name.endswith("first_boot"):
                assert another_runs.wait(10)
                raise OSError("no room left")
            begun.append(self._name)
            another_runs.set()
            if self._told_to_end.wait(10):
                ended.append(self._name)
            return BootResult(1, [])

        def end(self) -> None:
            self._told_to_end.set()

    monkeypatch.setattr(vm, "Machine", FakeMachine)
    monkeypatch.setattr(vm, "images_of", lambda _chosen, _cache, _mirror: {name: name for name in KERNELS})
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(pace, "slowness", lambda: 1.0)
    with pytest.raises(OSError, match="no room left"):
        vm.main(["--cache", str(tmp_path), "--mirror", ""])
    assert begun
    assert sorted(ended) == sorted(begun)
    assert list(tmp_path.iterdir()) == []


def test_in_a_guest_the_program_has_ten_times_longer_deadlines(tmp_path: Path) -> None:
    for name in ("as_it_is", "changed"):
        copy_checkout(tmp_path / name)
    give_ten_times_as_long(tmp_path / "changed")
    changed = {
        file.stem: text
        for file in (tmp_path / "changed").rglob("*.py")
        if (text := file.read_text()) != (tmp_path / "as_it_is" / file.relative_to(tmp_path / "changed")).read_text()
    }
    assert changed.keys() == {"memcgusage", "confirm", "reader", "sample", "loglines"}
    assert "MAX_MILLISECONDS = 10 * 20\n" in changed["memcgusage"]
    assert "DEADLINE_NS = 10 * 5 * 10**9\n" in changed["confirm"]
    assert "DEADLINE_NS = 10 * 100 * 10**6\n" in changed["reader"]
    assert "MAX_SAMPLE_DELAY_NS = 10 * 10 * 10**9\n" in changed["sample"]
    assert "WAIT_NS = 10 * 100 * 10**6\n" in changed["loglines"]


def test_each_boot_and_part_of_the_plan_has_its_usual_time() -> None:
    boots = {boot for full in (False, True) for guest in vm.plan(vm.KERNELS, full=full) for boot in guest.boots}
    assert boots == vm.USUAL_MINUTES.keys()
    assert host.PARTS.keys() == host.USUAL_MINUTES.keys()


def test_on_a_slow_machine_fewer_cases_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OOMKILLD_TEST_SLOWNESS", raising=False)
    assert pace.examples(10_000) == 10_000
    monkeypatch.setenv("OOMKILLD_TEST_SLOWNESS", "8.0")
    assert (pace.examples(10_000), pace.examples(100)) == (1250, 50)


def test_on_a_slow_machine_parts_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OOMKILLD_TEST_SLOWNESS", raising=False)
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    monkeypatch.setattr(pace, "_processes_per_second", lambda _seconds: pace._USUAL / 4)
    assert pace.ends_in_time(10, 1000.0 + 60 * 60)
    assert not pace.ends_in_time(10, 1000.0 + 60 * 60 - 1)
    assert pace.ends_in_time(10, math.inf)
    # The slowness at the start counts too, if it was worse.
    monkeypatch.setenv("OOMKILLD_TEST_SLOWNESS", "5.0")
    assert not pace.ends_in_time(10, 1000.0 + 1000 * 60)
    monkeypatch.setenv("OOMKILLD_TEST_SLOWNESS", "3.0")
    assert pace.ends_in_time(10, 1000.0 + 60 * 60)


def test_the_command_offers_the_known_kernels() -> None:
    script = Path(__file__).parents[1].joinpath("run").read_text()
    found = re.search(r"^readonly KERNELS=\((.*)\)$", script, re.MULTILINE)
    assert found
    assert found[1].split() == list(KERNELS)


def test_arm64_is_booted_and_made_only_with_full_or_if_its_name_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    booted: list[tuple[str, Processor]] = []

    def images_of(names: Iterable[str], what: str) -> dict[str, str]:
        made.append(what)
        return {name: name for name in names}

    class FakeMachine:
        def __init__(self, image: str, _work: Path, *_about: object, processor: Processor, **_more: object) -> None:
            booted.append((image, processor))

        def boot(self, *_arguments: object) -> BootResult:
            return BootResult(0, [])

    monkeypatch.setattr(vm, "Machine", FakeMachine)
    monkeypatch.setattr(vm, "base_images", lambda _cache, _mirror: images_of(kernels.SUITES, "x86"))
    monkeypatch.setattr(arm64, "images", lambda _cache, _mirror: images_of(arm64.KERNELS, "arm64"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(pace, "slowness", lambda: 1.0)
    x86, both = {(name, X86) for name in kernels.SUITES}, {(name, ARM64) for name in arm64.KERNELS}
    for words, makes, boots in (
        ([], ["x86"], x86),
        (["--full"], ["x86", "arm64"], x86 | both),
        (["--kernel", "arm64"], ["arm64"], {("arm64", ARM64)}),
        (["--kernel", "6.1", "--full"], ["x86"], {("6.1", X86)}),
    ):
        made.clear()
        booted.clear()
        assert vm.main(["--cache", str(tmp_path), "--mirror", "", *words]) == 0
        assert made == makes
        assert set(booted) == boots
