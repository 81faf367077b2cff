# SPDX-License-Identifier: Apache-2.0
"""As many kills as this machine makes: none is missing, the service does not grow, and the journal grows little."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from oomkilld.schema import REDUCED
from tests.host.service.daemon import (
    Daemon,
    assert_balanced,
    beginning,
    kills,
    kills_after,
    names_of_each,
    settings,
    settled,
)
from tests.host.service.feigned import USER_1000, USER_1001, group_at, seen_from_the_root
from tests.support import live
from tests.support.journalfiles import journal_bytes
from tests.support.storm import CGROUPS, storm

MIB = 1 << 20
FULL = "OOMKILLD_TEST_FULL" in os.environ
FLOOD = 100_000 if FULL else 2_000
# From this number of kills in 10 s in a cgroup, entries are reduced. --full keeps the default; otherwise the number
# suits any slow machine.
REDUCE_FROM = 100 if FULL else 3
# Bounds for the sizes of a full and of a reduced entry.
FULL_ENTRY_BYTES, REDUCED_ENTRY_BYTES = 14_000, 3_000
# Kills and cgroups of one user, and meanwhile kills of another.
ATTACK, CGROUPS_OF_ATTACK, QUIET = (4_000, 200, 20) if FULL else (150, 100, 10)
ATTACK_REDUCE_FROM = 100 if FULL else 15
FLOOD_BYTES = 350_000_000


@pytest.fixture
def told_in_full(daemon: Daemon) -> Iterator[None]:
    with settings(daemon, "[entry]\nreduce_from = 0\n"):
        daemon.restart()
        yield


@pytest.fixture
def reduced(daemon: Daemon) -> Iterator[None]:
    """A low number for floods; the restart also forgets all earlier kills."""
    with settings(daemon, f"[entry]\nreduce_from = {REDUCE_FROM}\n"):
        daemon.restart()
        yield


@pytest.mark.usefixtures("told_in_full")
@pytest.mark.parametrize("seconds", [60 if FULL else 10])
def test_in_a_storm_the_books_balance_and_the_service_does_not_grow(daemon: Daemon, seconds: int) -> None:
    storm(1)  # so that it has allocated what it needs in a storm
    began = beginning(daemon)
    here = live.now()
    resident = live.process_status(daemon.pid(), "VmRSS")
    reaped = storm(seconds)
    delta = live.vmstat_kills() - began.vmstat
    live.wait_for("all entries", lambda: len(kills(daemon, here)) >= delta, 60, daemon.status)
    after = live.process_status(daemon.pid(), "VmRSS")
    rate = reaped / seconds
    print(f"{rate:.0f} kills/s; resident: {resident} kB before, {after} kB after")
    entries = kills(daemon, here)
    assert_balanced(daemon, began, len(entries), reaped)
    assert after - resident <= 1024
    assert after <= 16 * 1024
    assert_told_in_full(entries)
    if FULL:
        assert rate >= 300


def assert_told_in_full(entries: list[live.Entry]) -> None:
    """However short their lives: the BPF program read these facts during the kill."""
    ages = sorted(int(entry["OOM_VICTIM_AGE_USEC"]) for entry in entries)
    short = sum(age < 10_000 for age in ages)
    print(f"lived: median {ages[len(ages) // 2] / 1000:.1f} ms, {short} of {len(ages)} less than 10 ms")
    told = {f"OOM_VICTIM_{name}" for name in ("PID", "COMM", "UID", "CGROUP", "EXE_NAME", "TOTAL_VM_BYTES")}
    assert [entry["MESSAGE"] for entry in entries if not told <= entry.keys()] == []
    assert {entry["OOM_DETAIL"] for entry in entries} == {"full"}
    assert {entry["OOM_VICTIM_CGROUP"].rpartition("/")[2] for entry in entries} == {
        f"storm-{number}" for number in range(CGROUPS)
    }
    if FULL:
        assert short >= 1000


@pytest.mark.usefixtures("reduced")
def test_a_flood_leaves_room_in_the_journal_and_full_detail_to_a_kill_elsewhere(daemon: Daemon) -> None:
    storm(1)
    began = beginning(daemon)  # after all entries of that storm
    here, written = live.now(), journal_bytes()
    resident = live.process_status(daemon.pid(), "VmRSS")
    reaped = 0
    while reaped < FLOOD:
        reaped += storm(60 if FULL else 4)
    assert_elsewhere_is_told_in_full(daemon)
    reaped += 2
    settled_after(daemon, began.counts.kills + reaped)
    grown = journal_bytes().since(written)
    after = live.process_status(daemon.pid(), "VmRSS")
    assert_balanced(daemon, began, None, reaped)
    full, reduced = (kill_ids(daemon, here, f"OOM_DETAIL={detail}") for detail in ("full", "reduced"))
    print(
        f"{reaped} kills, {len(full)} of them in full: {grown.entries} bytes of journal, "
        f"{grown.entries / reaped:.0f} per kill, and {grown.tables} for new files; "
        f"resident: {resident} kB before, {after} kB after"
    )
    assert len(full | reduced) == len(full) + len(reduced) == reaped
    # Without the tables of new files, whose number does not depend on the entries.
    assert grown.entries <= FULL_ENTRY_BYTES * len(full) + REDUCED_ENTRY_BYTES * len(reduced)
    if FULL:
        assert sum(grown) / reaped <= FLOOD_BYTES / FLOOD
    assert after - resident <= 1024
    assert after <= 16 * 1024


def assert_elsewhere_is_told_in_full(daemon: Daemon) -> None:
    """Right after a storm: one kill in a unit, and one in one of the storm's cgroups."""
    here = live.now()
    with group_at("system.slice/elsewhere.service", 4 * MIB) as where:
        live.kill_one(where)
        where_else = where
    with live.cgroup("storm-0", 4 * MIB) as where:
        live.kill_one(where)
    elsewhere, stormy = kills_after(daemon, here, 2, 60)
    assert elsewhere["OOM_VICTIM_CGROUP"].endswith("/elsewhere.service")
    assert stormy["OOM_DETAIL"] == "reduced"
    sent = {name for name in stormy if is_ours(name)}
    assert sent <= REDUCED
    if not seen_from_the_root(where_else, elsewhere):
        return  # a container is one owner
    assert elsewhere["OOM_DETAIL"] == "full"
    assert names_of_each(elsewhere) >= names_of_each(stormy)
    assert {"OOM_VICTIM_TOTAL_VM_BYTES", "OOM_MEMINFO_MEMFREE_BYTES", "OOM_VMSTAT_OOM_KILL"} <= elsewhere.keys()
    assert {"OOM_VICTIM_CGROUP", "OOM_VICTIM_COMM", "OOM_TRIGGER_PID", "OOM_LOADAVG"} <= stormy.keys()


def settled_after(daemon: Daemon, kills: int) -> live.ServiceCounts:
    """Its counts, once they include this number of kills."""

    def told() -> live.ServiceCounts | None:
        counts = live.counts_in(daemon.status())
        return counts if counts and counts.kills >= kills else None

    live.wait_for(f"status of {kills} kills", told, 60, daemon.status, every=0.5)
    return settled(daemon)


def kill_ids(daemon: Daemon, here: live.Moment, match: str) -> set[str]:
    """Entries with only the fields that are asserted, because they are many."""
    matches = [*daemon.sender, "_UID=0", "OOM_EVENT=kill", match, here.after_cursor]
    return {entry["OOM_KILL_ID"] for entry in live.journal("--output-fields=OOM_KILL_ID", *matches)}


@pytest.fixture
def reduced_later(daemon: Daemon) -> Iterator[None]:
    """The quiet user's kills stay below this number."""
    with settings(daemon, f"[entry]\nreduce_from = {ATTACK_REDUCE_FROM}\n"):
        daemon.restart()
        yield


@pytest.mark.usefixtures("reduced_later")
def test_a_flood_from_many_deep_cgroups_reduces_no_entry_of_another_user(daemon: Daemon, here: live.Moment) -> None:
    names = "/".join("\udcff" * 200 for _ in range(3))
    with ExitStack() as stack:
        quiet = stack.enter_context(group_at(f"{USER_1001}/app.slice/editor.service", 4 * MIB))
        hostile = [
            stack.enter_context(group_at(f"{USER_1000}/docker-{number:064x}.scope/{names}", 4 * MIB))
            for number in range(CGROUPS_OF_ATTACK)
        ]
        began = time.monotonic()
        for number in range(ATTACK):
            live.kill_one(hostile[number % len(hostile)], "uid=65534", "name=" + "\udcff" * 15)
            if number % (ATTACK // QUIET) == 0:
                live.kill_one(quiet, "name=editor")
        seconds = time.monotonic() - began
        entries = kills_after(daemon, here, ATTACK + QUIET, 60)
    of_quiet = [entry for entry in entries if entry["OOM_VICTIM_COMM"] == "editor"]
    of_flood = [entry for entry in entries if entry["OOM_VICTIM_COMM"] != "editor"]
    sizes = [size(entry) for entry in of_flood if entry["OOM_DETAIL"] == "reduced"]
    full = len(of_flood) - len(sizes)
    print(f"{ATTACK} kills from {len(hostile)} cgroups in {seconds:.0f} s: {full} in full; others {max(sizes)} bytes")
    assert max(sizes) <= REDUCED_ENTRY_BYTES
    # Nothing here is so slow that the flood would pause for ten seconds.
    if not seen_from_the_root(quiet, of_quiet[0]):
        # A container is one owner.
        assert full + [entry["OOM_DETAIL"] for entry in of_quiet].count("full") == ATTACK_REDUCE_FROM - 1
    else:
        assert full == ATTACK_REDUCE_FROM - 1
        assert {entry["OOM_DETAIL"] for entry in of_quiet} == {"full"}
        assert {entry["OOM_VICTIM_USER_UNIT"] for entry in of_quiet} == {"editor.service"}


def size(entry: live.Entry) -> int:
    """As it was sent."""
    return sum(len(f"{name}={value}".encode()) for name, value in entry.items() if is_ours(name))


def is_ours(field: str) -> bool:
    return field.isupper() and not field.startswith(("_", "SYSLOG_FACILITY"))
