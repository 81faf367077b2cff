# SPDX-License-Identifier: Apache-2.0
"""Pressure and counters, as kernels write them and in malformed versions."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.host import procformats
from oomkilld.host.procformats import VMSTAT_KEYS, Stall
from oomkilld.host.procfs import ProcReader
from oomkilld.schema import PRESSURE_RESOURCES, VMSTAT, family_name
from tests.support import pace

SOME = b"some avg10=12.34 avg60=5.60 avg300=0.00 total=17925412\n"
FULL = b"full avg10=1.00 avg60=0.10 avg300=100.00 total=18446744073709551615\n"
VMSTAT_FILE = b"""\
nr_free_pages 905948
workingset_refault_anon 11
workingset_refault_file 41877
workingset_activate_file 3445
pswpin 1
pswpout 2
allocstall_normal 3
pgscan_kswapd 4
pgscan_direct 5
pgsteal_direct 6
pgfault 1973692
oom_kill 7
nr_unstable 0
"""


def test_how_long_tasks_waited() -> None:
    assert procformats.stalls(SOME + FULL) == {
        "some": Stall((12.34, 5.6, 0.0), 17925412),
        "full": Stall((1.0, 0.1, 100.0), 18446744073709551615),
    }


def test_the_cpu_of_old_kernels_has_one_row() -> None:
    assert procformats.stalls(SOME).keys() == {"some"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        SOME[:-1],  # without the newline, the number may be incomplete
        SOME[:20],
        b"x" + SOME,
        b" " + SOME,
        SOME.replace(b"some", b"Some"),
        SOME.replace(b"some", b"many"),
        SOME.replace(b"12.34", b"nan"),
        SOME.replace(b"12.34", b"-1.00"),
        SOME.replace(b"12.34", b"1e9"),
        SOME.replace(b"12.34", b""),
        SOME.replace(b"17925412", b"9" * 21),
        SOME.replace(b"17925412", b"-5"),
        SOME.replace(b"17925412", "\u0661".encode()),
        SOME.replace(b" avg60", b"\navg60"),
        SOME.replace(b" total", b" new=1 total"),
    ],
)
def test_a_malformed_row_is_left_out(raw: bytes) -> None:
    assert procformats.stalls(raw) == {}
    assert procformats.stalls(raw.rstrip(b"\n") + b"\n" + FULL).keys() - {"some"} == {"full"}


def test_counters_that_explain_a_kill_are_kept() -> None:
    assert procformats.counters(VMSTAT_FILE) == {
        "workingset_refault_anon": 11,
        "workingset_refault_file": 41877,
        "pswpin": 1,
        "pswpout": 2,
        "allocstall_normal": 3,
        "pgscan_kswapd": 4,
        "pgscan_direct": 5,
        "pgsteal_direct": 6,
        "oom_kill": 7,
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"oom_kill",
        b"oom_kill 7",
        b"oom_kill x\n",
        b"oom_kill -7\n",
        b"oom_kill 7 8\n",
        b"oom_kill  7\n",
        b" oom_kill 7\n",
    ],
)
def test_a_malformed_counter_is_left_out(raw: bytes) -> None:
    assert procformats.counters(raw) == {}


@settings(max_examples=pace.examples(10_000))
@given(st.one_of(st.binary(max_size=80), st.text("someful avgtl=.0123\n", max_size=120).map(str.encode)))
def test_no_content_raises_anything(raw: bytes) -> None:
    assert all(value >= 0 for value in procformats.counters(raw).values())
    for kind, stall in procformats.stalls(SOME + raw).items():
        assert kind in ("some", "full")
        assert all(0 <= average < 1000 for average in stall.averages)


def test_of_the_rows_about_now_only_compressed_memory_is_kept() -> None:
    assert procformats.counters(b"nr_free_pages 5\nnr_zspages 7\nnr_mlock 1\noom_kill 3\n") == {
        "nr_zspages": 7,
        "oom_kill": 3,
    }


def test_this_machines_own_counters_are_understood() -> None:
    own = [line.split()[0] for line in Path("/proc/vmstat").read_text().splitlines()]
    wanted = [key for key in own if key.startswith(VMSTAT_KEYS)]
    assert list(ProcReader().vmstat()) == wanted
    assert "oom_kill" in wanted
    assert len({family_name(VMSTAT, key) for key in wanted}) == len(wanted)


def test_this_machines_own_pressure_is_understood_to_the_last_row() -> None:
    told = ProcReader().pressure()
    for resource in PRESSURE_RESOURCES:
        try:
            own = Path(f"/proc/pressure/{resource}").read_text().splitlines()
        except OSError:  # a kernel without PSI
            own = []
        assert list(told.get(resource, ())) == [line.split()[0] for line in own]
