# SPDX-License-Identifier: Apache-2.0
"""The parts of oomkillctl that need no journal."""

import hashlib
import time
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld.ctl import arguments, times
from oomkilld.ctl import entry as entry_module
from oomkilld.ctl.columns import cut, cut_within, padded, width
from oomkilld.ctl.entry import Entry, Seen
from oomkilld.ctl.files import host_of
from oomkilld.ctl.folding import Folded, Folder
from oomkilld.ctl.jsonform import encoded, fields, lines
from oomkilld.ctl.spelling import nearest
from oomkilld.ctl.table import row_of
from oomkilld.ctl.times import Clock, last_usec_of, usec_of
from oomkilld.errors import WrongArguments
from oomkilld.text import harmless
from tests.support import pace

KILLS = 20_000


def hashed(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest().encode()


def test_an_id_is_new_once() -> None:
    seen = Seen()
    assert all(seen.add(hashed(number)) for number in range(KILLS))
    assert not any(seen.add(hashed(number)) for number in range(KILLS))
    assert all(seen.add(hashed(number)) for number in range(KILLS, 2 * KILLS))


def test_an_id_across_two_others_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are in one bucket, one behind the other, seven bytes of each."""
    monkeypatch.setattr(entry_module, "_BUCKETS", 1)
    seen = Seen()
    assert seen.add(b"0000" + b"11223344556677" + b"0" * 14)
    assert seen.add(b"0000" + b"8899aabbccddee" + b"0" * 14)
    assert seen.add(b"0000" + b"44556677889900" + b"0" * 14)
    assert seen.add(b"0000" + b"223344556677" + b"88" + b"0" * 14)
    assert not seen.add(b"0000" + b"8899aabbccddee" + b"0" * 14)


def test_ids_that_begin_alike_share_no_bucket() -> None:
    """Otherwise a sender could choose its ids so that a list of them takes hours."""
    seen = Seen()
    assert all(seen.add(b"000" + hashed(number)[3:]) for number in range(KILLS))
    assert max(map(len, seen._buckets.values())) < 50 * 7


def entry(decision: str | None, at: int, *, is_group: bool = True, chosen: bool = False) -> Entry:
    known: dict[str, bytes] = {"OOM_EVENT": b"kill"}
    if decision is not None:
        known["OOM_DECISION_ID"] = decision.encode()
    if not is_group:
        known["OOM_GROUP_KILL"] = b"0"
    if chosen:
        known["OOM_VICTIM_BADNESS"] = b"1"
    return Entry(known, at, None)


def folded(entries: list[Entry], *, folds: bool = True) -> list[tuple[int, int]]:
    """The time of the row's entry, and how many more it stands for."""
    folder = Folder[int](folds=folds)

    def rows() -> Iterator[Folded[int]]:
        for each in entries:
            yield from folder.add(each, each.received_usec)
        yield from folder.rest()

    return [(each.row, each.more) for each in rows()]


def test_members_of_a_group_are_one_row_also_if_others_are_between() -> None:
    entries = [
        entry("a", 1),
        entry("b", 2, is_group=False),
        entry("a", 3),
        entry(None, 4),
        entry("c", 5),
        entry("a", 6),
    ]
    assert folded(entries) == [(1, 2), (2, 0), (4, 0), (5, 0)]
    assert folded(entries, folds=False) == [(number, 0) for number in range(1, 7)]


def test_the_row_of_a_group_is_that_of_the_chosen_process() -> None:
    assert folded([entry("a", 1), entry("a", 2, chosen=True), entry("a", 3)]) == [(2, 2)]


def test_a_group_is_complete_after_a_while_and_after_many_others() -> None:
    assert folded([entry("a", 0), entry("x", 5_000_001, is_group=False), entry("a", 5_000_002)]) == [
        (0, 0),
        (5_000_001, 0),
        (5_000_002, 0),
    ]
    others = [entry(None, number) for number in range(1, 100)]
    assert folded([entry("a", 0), *others, entry("a", 100)])[0] == (0, 0)
    assert folded([entry("a", 0), *others[:60], entry("a", 100)])[0] == (0, 1)


def test_a_row_that_is_complete_comes_at_once() -> None:
    folder = Folder[int](folds=True)
    assert [each.row for each in folder.add(entry("a", 1, is_group=False), 1)] == [1]
    assert [each.row for each in folder.add(entry("b", 2), 2)] == []
    assert [each.row for each in folder.add(entry("c", 3, is_group=False), 3)] == []
    assert [each.row for each in folder.rest()] == [2, 3]


WIDE = "日本語テキスト"


@pytest.mark.parametrize(
    ("function", "text", "columns", "expected"),
    [
        (cut, "postgres", 8, "postgres"),
        (cut, "postgres", 7, "postgr…"),
        (cut, "postgres", 1, "…"),
        (cut, WIDE, 14, WIDE),
        (cut, WIDE, 13, "日本語テキス…"),
        (cut, WIDE, 6, "日本…"),
        (cut_within, "app-editor.service", 18, "app-editor.service"),
        (cut_within, "app-editor.service", 9, "app-…vice"),
        (cut_within, "app-editor.service", 10, "app-e…vice"),
        (cut_within, "app-editor.service", 2, "a…"),
        (cut_within, "app-editor.service", 1, "…"),
        (cut_within, WIDE, 9, "日本…スト"),
        (cut, "postgres", 0, "…"),
        (cut_within, "postgres", 0, "…"),
        (padded, "a", 3, "a  "),
        (padded, "日", 3, "日 "),
        (padded, "abcd", 3, "abcd"),
    ],
)
def test_text_in_columns(function: object, text: str, columns: int, expected: str) -> None:
    assert callable(function)
    assert function(text, columns) == expected


@settings(max_examples=pace.examples(500))
@given(st.text(), st.integers(1, 40))
def test_no_text_is_wider_than_its_columns(text: str, columns: int) -> None:
    shown = harmless(text)
    for function in (cut, cut_within):
        assert width(function(shown, columns)) <= columns
        if width(shown) <= columns:
            assert function(shown, columns) == shown
    assert width(padded(cut(shown, columns), columns)) == columns


@given(st.text())
def test_harmless_text_has_neither_controls_nor_marks_and_stays_as_it_is(text: str) -> None:
    shown = harmless(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Mn", "Me", "Zl", "Zp"}
    assert harmless(shown) == shown


@pytest.mark.parametrize("text", ["a", "", r"\x2d", "日本語", "a b", "über"])
def test_what_is_harmless_stays(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b", r"\x1b"), ("\udcff", r"\xff"), ("a\u0301", r"a\xcc\x81"), ("\x7f", r"\x7f"), ("\u202e", r"\xe2\x80\xae")],
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, shown: str) -> None:
    assert harmless(text) == shown


@pytest.mark.parametrize(
    ("text", "usec"),
    [
        ("@0", 0),
        ("@1795785812", 1795785812_000000),
        ("@1795785812.5", 1795785812_500000),
        ("2026-11-27", 1795737600_000000),
        ("2026-11-27 13:23", 1795785780_000000),
        ("2026-11-27 13:23:32", 1795785812_000000),
    ],
)
def test_usual_times_need_no_other_program(text: str, usec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert usec_of(text, "--since") == usec


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("2026-11-27 13:23:32", 1795785812_999999),
        ("2026-11-27 13:23:32 UTC", 1795785812_999999),
        ("@1795785812", 1795785812_999999),
        ("2026-11-27 13:23:32.5", 1795785812_500000),
        ("@1795785812.5", 1795785812_500000),
        # As systemd reads them: the first moment of the minute, and of the day.
        ("2026-11-27 13:23", 1795785780_000000),
        ("2026-11-27", 1795737600_000000),
    ],
)
def test_a_second_belongs_to_the_period_that_ends_with_it(
    text: str, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert last_usec_of(text, "--until") == last


def test_other_times_are_systemds(monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 3600 * 1_000_000
    now, before = usec_of("now", "--since"), usec_of("-2h", "--since")
    assert 2 * hour - 60_000_000 < now - before <= 2 * hour
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WrongArguments, match=r"found 'now', and .*systemd-analyze"):
        usec_of("now", "--since")


def test_an_hour_that_the_clock_has_twice_is_left_to_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    asked: list[str] = []

    def analyzed(text: str, _option: str) -> int:
        asked.append(text)
        return 0

    monkeypatch.setattr(times, "_analyzed", analyzed)
    for text in ("2026-10-25 02:30", "2026-03-29 02:30", "2026-10-25 03:30", "2026-10-25 01:30"):
        usec_of(text, "--since")
    monkeypatch.delenv("TZ")
    time.tzset()
    assert asked == ["2026-10-25 02:30", "2026-03-29 02:30"]


@pytest.mark.parametrize("usec", [1 << 62, -1, 1 << 100, 253402300800_000000])
def test_a_time_without_a_year_is_unknown(usec: int) -> None:
    clock = Clock(utc=True)
    assert {clock.long(usec), clock.short(usec), clock.day(usec), clock.hour(usec)} == {"-"}


HALF = 1775311200  # 01:00 in summer, an hour before the clock goes back by half an hour
HOURS = [
    ("Australia/Lord_Howe", HALF - 1, "2026-04-05 00:00"),
    ("Australia/Lord_Howe", HALF, "2026-04-05 01:00 +1100"),
    ("Australia/Lord_Howe", HALF + 3599, "2026-04-05 01:00 +1100"),
    ("Australia/Lord_Howe", HALF + 3600, "2026-04-05 01:00 +1030"),
    ("Australia/Lord_Howe", HALF + 5400, "2026-04-05 02:00"),
    # By two hours; and without summer time.
    ("Antarctica/Troll", 1792882800, "2026-10-25 01:00 +0200"),
    ("Antarctica/Troll", 1792893600, "2026-10-25 02:00 +0000"),
    ("Europe/Moscow", 1414274399, "2014-10-26 01:00 +0400"),
    ("Europe/Moscow", 1414274400, "2014-10-26 01:00 +0300"),
    # A day is missing.
    ("Pacific/Apia", 1325239200 - 1, "2011-12-29 23:00"),
    ("Pacific/Apia", 1325239200, "2011-12-31 00:00"),
]


@pytest.mark.parametrize(("zone", "seconds", "label"), HOURS)
def test_an_hour_that_the_clock_has_twice_has_its_offset(
    zone: str, seconds: int, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert Clock(utc=False).hour(seconds * 1_000_000) == label
    assert Clock(utc=True).hour(seconds * 1_000_000) == time.strftime("%Y-%m-%d %H:00", time.gmtime(seconds))
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("words", "found", "others"),
    [
        (["-n", "3", "list"], ["-n3"], ["list"]),
        (["-S", "-2h", "x"], ["-S-2h"], ["x"]),
        (["--since", "-2h"], ["--since=-2h"], []),
        (["-rS", "-2h"], ["-rS-2h"], []),
        (["-Sr", "-2h"], ["-Sr", "-2h"], []),
        (["-b", "-1"], ["-b-1"], []),
        (["-b", "postgres"], ["-b"], ["postgres"]),
        (["-b", "1" * 32], ["-b" + "1" * 32], []),
        (["-b", "1" * 31], ["-b"], ["1" * 31]),
        (["-b", "+"], ["-b"], ["+"]),
        (["-b", "-r"], ["-b", "-r"], []),
        (["--boot", "1"], ["--boot=1"], []),
        (["-b"], ["-b"], []),
        (["-r", "--", "-n", "--"], ["-r"], ["-n", "--"]),
        (["-"], [], ["-"]),
        (["-F", "--"], ["-F--"], []),
    ],
)
def test_each_value_comes_to_its_option(words: list[str], found: list[str], others: list[str]) -> None:
    assert arguments._split(words) == (found, others)


@pytest.mark.parametrize(
    ("file", "host"),
    [
        ("remote-web1.journal", "web1"),
        ("/x/remote-web1.example.org.journal~", "web1.example.org"),
        ("remote-10.0.0.7@0d0a5dd30dfa4246b251d1e79a918b27-0000000000000001-000652e68bb343e8.journal", "10.0.0.7"),
        ("remote-web1@000652e68bb343e8-0123456789abcdef.journal~", "web1"),
        ("remote.journal", "remote"),
        (f"remote@{'a' * 32}-{1:016x}-{2:016x}.journal", "remote"),
        ("system.journal", None),
        ("system@0d0a5dd30dfa4246b251d1e79a918b27-1-2.journal", None),
        ("my-remote-web1.journal", None),
    ],
)
def test_the_host_of_a_file(file: str, host: str | None) -> None:
    assert host_of(file) == host


@pytest.mark.parametrize(
    ("size", "shown_as"),
    [
        (None, "-"),
        (0, "0B"),
        (1023 << 20, "1023M"),
        (1 << 30, "1.0G"),
        (31457280, "30.0M"),
        ((1000 << 20) - 1, "1000M"),
    ],
)
def test_a_size_has_at_most_six_columns(size: int | None, shown_as: str) -> None:
    raw = {} if size is None else {"OOM_VICTIM_RSS_BYTES": str(size).encode()}
    assert row_of(Entry(raw, 0, None)).resident == shown_as


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"0", 0),
        (b"-17", None),
        (b"18446744073709551615", (1 << 64) - 1),
        (b"18446744073709551616", None),
        (b"-18446744073709551617", None),
        (b"9" * 400, None),
        (b"9" * 5000, None),
        (b"1.5", None),
        (b"", None),
    ],
)
def test_a_number_has_64_bits(raw: bytes, number: int | None) -> None:
    assert Entry({"OOM_VICTIM_RSS_BYTES": raw}, 0, None).number("OOM_VICTIM_RSS_BYTES") == number


def test_what_is_no_size_may_be_negative() -> None:
    assert Entry({"OOM_VICTIM_OOM_SCORE_ADJ": b"-17"}, 0, None).number("OOM_VICTIM_OOM_SCORE_ADJ") == -17
    assert Entry({"OOM_ORDER": b"-18446744073709551617"}, 0, None).number("OOM_ORDER") is None


def test_numbers_are_numbers_where_the_field_table_says_so() -> None:
    raw = {
        "OOM_VICTIM_PID": b"553",
        "OOM_VICTIM_RSS_BYTES": b"9007199254740993",
        "OOM_VICTIM_OOM_SCORE_ADJ": b"-17",
        "OOM_LOADAVG_1": b"1.70",
        "OOM_GFP_MASK": b"0xcc0",
        "OOM_MEMINFO_ACTIVE_ANON_BYTES": b"1",
        "OOM_MEMINFO_HUGEPAGES_TOTAL": b"2",
        "OOM_VMSTAT_OOM_KILL": b"3",
        "OOM_TOP_1_CGROUP": b"/4",
        "OOM_TOP_1_BYTES": b"5",
        "OOM_DOMAIN_STAT_ANON_BYTES": b"6",
        "OOM_VICTIM_COMM": b"7",
        "OOM_ORDER": b"eight",
        "_PID": b"9",
        "TWICE": [b"1", b"2"],
    }
    assert fields(Entry(raw, 5, "web1")) == {
        "__REALTIME_TIMESTAMP": 5,
        "__RECEIVED_FROM": "web1",
        "OOM_VICTIM_PID": 553,
        "OOM_VICTIM_RSS_BYTES": 9007199254740993,
        "OOM_VICTIM_OOM_SCORE_ADJ": -17,
        "OOM_LOADAVG_1": 1.7,
        "OOM_GFP_MASK": "0xcc0",
        "OOM_MEMINFO_ACTIVE_ANON_BYTES": 1,
        "OOM_MEMINFO_HUGEPAGES_TOTAL": 2,
        "OOM_VMSTAT_OOM_KILL": 3,
        "OOM_TOP_1_CGROUP": "/4",
        "OOM_TOP_1_BYTES": 5,
        "OOM_DOMAIN_STAT_ANON_BYTES": 6,
        "OOM_VICTIM_COMM": "7",
        "OOM_ORDER": "eight",
        "_PID": 9,
        "TWICE": ["1", "2"],
    }


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("stats", "stats"),
        ("statz", "stats"),
        ("sats", "stats"),
        ("stat", "stats"),
        ("lsit", "list"),
        ("stxxs", "stats"),
        ("chek", "check"),
        ("hcekc", None),
        ("cheese", None),
        ("postgres", None),
        ("", None),
    ],
)
def test_the_word_that_was_meant_differs_in_two_letters_at_most(word: str, meant: str | None) -> None:
    assert nearest(word, ["list", "info", "stats", "check", "follow"]) == meant
    assert nearest(word, []) is None


def test_the_forms_of_json() -> None:
    assert [*lines([], "pretty")] == ["[]"]
    assert [*lines([], "short")] == []
    assert "\n".join(lines([{"a": 1}, {"b": "ü\x7f"}], "pretty")) == (
        '[\n  {\n    "a": 1\n  },\n  {\n    "b": "\\u00fc\\u007f"\n  }\n]'
    )
    assert encoded({"a": "\x1b"}) == '{"a": "\\u001b"}'
