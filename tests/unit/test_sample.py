# SPDX-License-Identifier: Apache-2.0
"""/proc as the kernel writes it, text as strangers write it, clocks as they run."""

import ctypes
import locale
import os
import unicodedata
from pathlib import Path

import pytest

from oomkilld.host.clock import KernelClock
from oomkilld.host.procformats import LoadAverage, MeminfoRow, Stall
from oomkilld.host.procfs import ProcReader
from oomkilld.record.enrich.rows import ALL, wanted
from oomkilld.record.enrich.sample import MAX_SAMPLE_DELAY_NS, Sampler
from oomkilld.schema import MEMINFO_BYTES, MEMINFO_COUNT, family_name
from oomkilld.text import human_bytes, pasteable, printable
from tests.unit.records import kill_of

MEMINFO = """\
MemTotal:        8062420 kB
Active(anon):       1234 kB
HugePages_Total:       2
not a row
Strange:  many kB
"""
KILL = kill_of()


class Clock(KernelClock):
    def __init__(self, boottime_ns: int) -> None:
        self._boottime_ns = boottime_ns

    def boottime_ns(self) -> int:
        return self._boottime_ns

    def realtime_ns(self) -> int:
        return 1_000 * 10**9 + self._boottime_ns

    def monotonic_ns(self) -> int:
        raise NotImplementedError


@pytest.fixture
def proc(tmp_path: Path) -> ProcReader:
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 1/200 4242\n")
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "vmstat").write_text("nr_free_pages 5\npgscan_direct 3\n")
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/memory").write_text("some avg10=1.00 avg60=2.00 avg300=3.00 total=4\n")
    return ProcReader(str(tmp_path))


def test_load_average(proc: ProcReader) -> None:
    assert proc.load_average() == LoadAverage("0.10 0.20 0.30 1/200 4242", (0.1, 0.2, 0.3))


def test_meminfo_has_every_row_in_bytes_if_it_has_a_unit(proc: ProcReader) -> None:
    assert proc.meminfo() == {
        "MemTotal": MeminfoRow(8062420 * 1024, True),
        "Active(anon)": MeminfoRow(1234 * 1024, True),
        "HugePages_Total": MeminfoRow(2, False),
    }


def test_this_machines_own_meminfo_is_understood_to_the_last_row() -> None:
    assert len(ProcReader().meminfo()) == len(Path("/proc/meminfo").read_text().splitlines())


def test_a_sample_has_its_delay_and_the_boots_wall_clock(proc: ProcReader) -> None:
    sample = Sampler(proc, Clock(KILL.kill_boottime_ns + 7), ALL).sample(KILL)
    assert sample.delay_ns == 7
    assert sample.boot_realtime_ns == 1_000 * 10**9
    assert sample.load_average == proc.load_average()
    assert sample.meminfo == proc.meminfo()
    assert sample.pressure == proc.pressure() == {"memory": {"some": Stall((1.0, 2.0, 3.0), 4)}}
    assert sample.vmstat == proc.vmstat() == {"pgscan_direct": 3}


def test_every_sample_is_read_again_from_files_that_stay_open(proc: ProcReader, tmp_path: Path) -> None:
    sampler = Sampler(proc, Clock(KILL.kill_boottime_ns), ALL)
    sampler.open_files()
    before = set(os.listdir("/proc/self/fd"))
    (tmp_path / "loadavg").write_text("9.00 8.00 7.00 1/200 4242\n")
    (tmp_path / "meminfo").write_text("MemFree: 7 kB\n" * 9000)
    (tmp_path / "vmstat").write_text("pgscan_direct 33\n")
    (tmp_path / "pressure/memory").write_text("full avg10=1.00 avg60=2.00 avg300=3.00 total=5\n")
    sample = sampler.sample(KILL)
    assert sample.load_average is not None
    assert sample.load_average.averages == (9.0, 8.0, 7.0)
    assert sample.meminfo == {"MemFree": MeminfoRow(7 * 1024, True)}
    assert sample.vmstat == {"pgscan_direct": 33}
    assert sample.pressure == {"memory": {"full": Stall((1.0, 2.0, 3.0), 5)}}
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_missing_file_is_tried_again_at_the_next_sample(tmp_path: Path) -> None:
    reader = ProcReader(str(tmp_path))
    sampler = Sampler(reader, Clock(KILL.kill_boottime_ns), ALL)
    sampler.open_files()
    assert reader.pressure() == {}
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/io").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
    assert sampler.sample(KILL).pressure == {"io": {"some": Stall((0.0, 0.0, 0.0), 1)}}


def test_in_a_flood_only_the_load_average_is_read(proc: ProcReader) -> None:
    sample = Sampler(proc, Clock(KILL.kill_boottime_ns), ALL).sample(KILL, reduced=True)
    assert sample.load_average == proc.load_average()
    assert (sample.meminfo, sample.pressure, sample.vmstat) == ({}, {}, {})


def test_only_selected_rows_are_kept_and_unknown_ones_named(proc: ProcReader) -> None:
    sampler = Sampler(proc, Clock(KILL.kill_boottime_ns), wanted(["Active(anon)", "NoSuchRow"], "all"))
    assert list(sampler.sample(KILL).meminfo) == ["Active(anon)"]
    assert sampler.without_row(["Active(anon)", "NoSuchRow"]) == ["NoSuchRow"]


def test_common_statistics_are_kept(proc: ProcReader, tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_zspages 7\nnr_mlock 1\npgscan_direct 3\npgscan_anon 4\n")
    (tmp_path / "pressure/cpu").write_text("some avg10=1.00 avg60=2.00 avg300=3.00 total=4\n")
    sample = Sampler(proc, Clock(KILL.kill_boottime_ns), wanted("all", "common")).sample(KILL)
    assert sample.meminfo == proc.meminfo()
    assert sample.vmstat == {"nr_zspages": 7, "pgscan_direct": 3}
    assert list(sample.pressure) == ["memory"]


def test_common_rows_that_this_kernel_has_are_kept(proc: ProcReader, tmp_path: Path) -> None:
    rows = "Mlocked: 1 kB\nSecPageTables: 2 kB\nHugePages_Free: 3\nBalloon: 4 kB\nHugePages_Rsvd: 5\n"
    (tmp_path / "meminfo").write_text(rows)
    sample = Sampler(proc, Clock(KILL.kill_boottime_ns), wanted("common", "common")).sample(KILL)
    assert {key: row.value for key, row in sample.meminfo.items()} == {
        "Mlocked": 1024,
        "SecPageTables": 2048,
        "HugePages_Free": 3,
        "Balloon": 4096,
    }


@pytest.mark.parametrize(("over_ns", "sampled"), [(0, True), (1, False)])
def test_ten_seconds_after_the_kill_nothing_is_sampled(proc: ProcReader, over_ns: int, sampled: bool) -> None:
    sample = Sampler(proc, Clock(KILL.kill_boottime_ns + MAX_SAMPLE_DELAY_NS + over_ns), ALL).sample(KILL)
    assert [bool(each) for each in sample[2:]] == [sampled] * 4


@pytest.mark.parametrize("content", ["", "nonsense here now\n"])
def test_an_unreadable_file_costs_only_its_fields(tmp_path: Path, content: str) -> None:
    (tmp_path / "loadavg").write_text(content)
    sample = Sampler(ProcReader(str(tmp_path)), Clock(KILL.kill_boottime_ns), ALL).sample(KILL)
    assert sample[2:] == (None, {}, {}, {})


def test_the_kernels_clocks_agree_with_proc_uptime() -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert abs(KernelClock().boottime_ns() / 1e9 - uptime) < 1
    assert KernelClock().realtime_ns() > 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("row", "in_bytes", "count"),
    [
        ("MemTotal", "OOM_MEMINFO_MEMTOTAL_BYTES", "OOM_MEMINFO_MEMTOTAL"),
        ("Active(anon)", "OOM_MEMINFO_ACTIVE_ANON_BYTES", "OOM_MEMINFO_ACTIVE_ANON"),
        ("HugePages_Rsvd", "OOM_MEMINFO_HUGEPAGES_RSVD_BYTES", "OOM_MEMINFO_HUGEPAGES_RSVD"),
    ],
)
def test_rows_become_field_names(row: str, in_bytes: str, count: str) -> None:
    assert (family_name(MEMINFO_BYTES, row), family_name(MEMINFO_COUNT, row)) == (in_bytes, count)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"", ""),
        (b"a\nPRIORITY=0", "a\\x0aPRIORITY=0"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"back\\slash", "back\\x5cslash"),
        ("zoë 猫".encode(), "zoë 猫"),
        ("\u202e".encode(), "\\xe2\\x80\\xae"),
        ("half a 猫".encode()[:-1], "half a \\xe7\\x8c"),
        # Precomposed or not, it looks the same.
        ("\u00e9 e\u0301".encode(), "\u00e9 e\\xcc\\x81"),
        ("\ud55c \u1112\u1161\u11ab".encode(), "\ud55c \u1112\\xe1\\x85\\xa1\\xe1\\x86\\xab"),
        ("db\u200d \u200b \u00ad".encode(), "db\\xe2\\x80\\x8d \\xe2\\x80\\x8b \\xc2\\xad"),
        ("db\ufe0f \U000e0100".encode(), "db\\xef\\xb8\\x8f \\xf3\\xa0\\x84\\x80"),
        ("\u3164 \uffa0 \u115f \u2800".encode(), "\\xe3\\x85\\xa4 \\xef\\xbe\\xa0 \\xe1\\x85\\x9f \\xe2\\xa0\\x80"),
        ("Ångström Привет 東京 naïve".encode(), "Ångström Привет 東京 naïve"),
    ],
)
def test_text_of_strangers_is_escaped(raw: bytes, shown: str) -> None:
    assert printable(raw) == shown


def test_no_invisible_character_is_shown() -> None:
    codes = [*range(0x80, 0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)]
    text = "".join(map(chr, codes)).encode()
    shown = sorted(char for char in set(printable(text)) if not char.isascii())
    assert shown == sorted(char for char in set(pasteable(text)) if not char.isascii())
    libc = ctypes.CDLL(None)
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    try:
        assert [hex(ord(char)) for char in shown if libc.wcwidth(ord(char)) == 0] == []
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert [hex(ord(char)) for char in shown if unicodedata.category(char)[0] in "MC"] == []
    letters = {chr(code) for code in codes if chr(code).isalnum()}
    print(f"{len(letters.difference(shown))} of {len(letters)} letters and digits are not shown as they are")
    assert len(letters.difference(shown)) < 300


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (30 << 20, "30.0M"), (3 << 30, "3.0G"), (5 << 60, "5120.0P")],
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert human_bytes(size) == shown
