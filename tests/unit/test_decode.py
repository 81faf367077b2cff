# SPDX-License-Identifier: Apache-2.0
"""The decoder takes what the kernel writes and refuses everything else."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld import layout
from oomkilld.record.decode import BadRecord, KillRecord, Release, decode
from tests.support import pace
from tests.unit.records import FACTS, RELEASE_FACTS, kill_of, raw_cmdline, raw_record, raw_release

SIZE = struct.calcsize(layout.struct_format())
RELEASE_SIZE = struct.calcsize(layout.struct_format(layout.RELEASE_RECORD))
TEXT_SIZE = len(raw_record()) - SIZE
# Of a kill that was read in the kernel's log only.
NOT_LOGGED = ("logged_usec", "decision_logged_usec")


def test_every_fact_arrives_as_it_was_sent() -> None:
    kill = kill_of(cmdline=raw_cmdline(b"asker\0-x\0"))
    sent = {name: value for name, value in FACTS.items() if name in KillRecord._fields}
    of_the_log = dict.fromkeys(NOT_LOGGED)
    cut = {f"{role}_cgroup_cut": False for role in ("victim", "trigger", "domain")}
    assert {**sent, "trigger_cmdline": (b"asker\0-x\0", False), **of_the_log, **cut} == kill._asdict()


@pytest.mark.parametrize("name", [*layout.fact_bits(), *layout.TEXTS])
def test_a_fact_that_is_not_present_is_unknown_whatever_its_bytes(name: str) -> None:
    kill = kill_of(unknown=(name,), cmdline=raw_cmdline(b"asker\0"))
    assert [field for field, value in kill._asdict().items() if value is None] == [name, *NOT_LOGGED]


def test_pages_below_zero_are_shown_as_the_kernel_shows_them() -> None:
    assert kill_of(victim_shmem_pages=-3).victim_shmem_pages == 0


def test_points_below_zero_are_kept() -> None:
    assert kill_of(chosen_points=-5).chosen_points == -5


def test_text_ends_at_its_first_nul() -> None:
    assert kill_of(victim_comm=b"ab\0cd").victim_comm == b"ab"
    assert kill_of(victim_comm=b"\xff" * 16).victim_comm == b"\xff" * 16


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a.slice/b.service", b"/x" * 31, b"/" + b"\xff\x1b" * 100])
def test_a_path_arrives_whole(path: bytes) -> None:
    kill = kill_of(domain_cgroup=path, trigger_cgroup=b"/t", victim_cgroup=path)
    assert (kill.domain_cgroup, kill.trigger_cgroup, kill.victim_cgroup) == (path, b"/t", path)


def test_a_path_that_is_the_one_before_is_not_sent_again() -> None:
    again = {f"{role}_cgroup_length": layout.SAME_PATH for role in ("trigger", "victim")}
    kill = kill_of(unknown=("trigger_cgroup", "victim_cgroup"), domain_cgroup=b"/d", **again)
    assert kill.domain_cgroup == kill.trigger_cgroup == kill.victim_cgroup == b"/d"


def test_a_trigger_that_is_a_thread_of_the_victim_has_the_facts_of_its_process() -> None:
    same = {f"trigger_{text}_length": layout.SAME_AS_VICTIM for text in ("cgroup", "exe")}
    of_trigger = ("trigger_start_boottime_ns", "trigger_ns_pid", "trigger_parent_pid", "trigger_parent_comm")
    kill = kill_of(unknown=("trigger_cgroup", "trigger_exe", *of_trigger), trigger_pid=4242, **same)
    assert (kill.trigger_cgroup, kill.trigger_exe) == (b"/tenants.slice/victim.service", b"victim-bin")
    assert (kill.trigger_start_boottime_ns, kill.trigger_ns_pid) == (3_000_000_000, 7)
    assert (kill.trigger_parent_pid, kill.trigger_parent_comm) == (4200, b"victim's parent")
    # Its own, as a thread: what it is called, who it is.
    assert (kill.trigger_tid, kill.trigger_comm, kill.trigger_uid) == (4241, b"trigger", 1001)


def test_the_path_of_a_victim_may_be_the_domains_with_no_triggers_in_between() -> None:
    lengths = {"trigger_cgroup_length": layout.SAME_AS_VICTIM, "victim_cgroup_length": layout.SAME_PATH}
    kill = kill_of(unknown=("trigger_cgroup", "victim_cgroup"), domain_cgroup=b"/d", **lengths)
    assert kill.domain_cgroup == kill.trigger_cgroup == kill.victim_cgroup == b"/d"


def test_the_path_of_a_victim_may_be_the_domains_with_an_unknown_one_in_between() -> None:
    unknown = ("trigger_cgroup", "victim_cgroup")
    kill = kill_of(unknown=unknown, domain_cgroup=b"/d", victim_cgroup_length=layout.SAME_PATH)
    assert (kill.domain_cgroup, kill.trigger_cgroup, kill.victim_cgroup) == (b"/d", None, b"/d")


def test_a_path_that_ends_before_the_root_is_unknown() -> None:
    cut = b"leaf\0middle\0"
    raw = raw_record(unknown=layout.TEXTS, victim_cgroup_length=len(cut)) + cut
    kill = decode(raw)
    assert isinstance(kill, KillRecord)
    assert kill.victim_cgroup is None


def test_a_release_is_told_apart_from_a_kill() -> None:
    release = decode(raw_release())
    assert isinstance(release, Release)
    assert {name: value for name, value in RELEASE_FACTS.items() if name in Release._fields} == release._asdict()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", f"found 0 bytes, expected {RELEASE_SIZE}, or {SIZE} and text"),
        (raw_record() + b"\0", "found 1 bytes behind the text, expected none or a command line"),
        (raw_record()[:-1], f"found {TEXT_SIZE - 1} bytes of text, expected {TEXT_SIZE}"),
        (raw_record(victim_exe_length=0), "found 11 bytes behind the text, expected none or a command line"),
        (raw_release(layout=1), f"found layout 0x1, expected {layout.layout_id():#x}"),
        (raw_release(pid=0), "found the release of process 0, expected a process id"),
        (raw_record(layout=1), f"found layout 0x1, expected {layout.layout_id():#x}"),
        (raw_record(victim_pid=0), "found victim 0/4243, expected process and thread ids"),
        (raw_record(victim_pid=0, spared=1), "found victim 0/4243, expected process and thread ids"),
        (raw_record(victim_tid=0, spared=layout.SPARED_THREAD), "found victim 4242/0, expected process and thread ids"),
        (raw_record(victim_tid=0), "found victim 4242/0, expected process and thread ids"),
    ],
)
def test_what_cannot_be_a_kill_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason.replace("(", r"\(")):
        decode(raw)


SIZES = ((0, SIZE + 200), (SIZE, SIZE), (RELEASE_SIZE, RELEASE_SIZE))


@settings(max_examples=pace.examples(10_000), deadline=None)
@given(st.one_of(*(st.binary(min_size=at, max_size=to) for at, to in SIZES)), st.booleans())
def test_no_bytes_raise_anything_else(raw: bytes, own_layout: bool) -> None:
    if own_layout and len(raw) >= RELEASE_SIZE:
        record = layout.RELEASE_RECORD if len(raw) == RELEASE_SIZE else layout.KILL_RECORD
        at = layout.struct_format(record).index("I")
        at = struct.calcsize(layout.struct_format(record)[:at])
        raw = raw[:at] + struct.pack("=I", layout.layout_id()) + raw[at + 4 :]
    try:
        decoded = decode(raw)
    except BadRecord:
        return
    if isinstance(decoded, Release):
        assert decoded.pid
    else:
        assert decoded.victim_tid
        assert decoded.victim_pid or decoded.spared == layout.SPARED_THREAD


@settings(max_examples=pace.examples(10_000), deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=5, max_size=5))
def test_whatever_the_texts_are_they_are_one_name_or_one_path(texts: list[bytes]) -> None:
    lengths = {f"{name}_length": len(text) for name, text in zip(layout.TEXTS, texts, strict=True)}
    raw = raw_record(unknown=layout.TEXTS, **lengths) + b"".join(texts)
    kill = decode(raw)
    assert isinstance(kill, KillRecord)
    for path in (kill.domain_cgroup, kill.trigger_cgroup, kill.victim_cgroup):
        assert path is None or path.startswith(b"/")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", None),
        (raw_cmdline(b"a\0-b\0"), (b"a\0-b\0", False)),
        (raw_cmdline(b"a\0-b", 100), (b"a\0-b", True)),
        (raw_cmdline(b"x" * 4095, 4096), (b"x" * 4095, True)),
        # A title that the process gave itself.
        (raw_cmdline(b"a: idle\0junk"), (b"a: idle", False)),
        (raw_cmdline(b"a: idle"), (b"a: idle", False)),
    ],
)
def test_the_command_line_is_what_comes_last(raw: bytes, expected: tuple[bytes, bool] | None) -> None:
    assert kill_of(cmdline=raw).trigger_cmdline == expected


@pytest.mark.parametrize(
    "raw",
    [b"x", b"\0\0\0\0", raw_cmdline(b""), raw_cmdline(b"ab", 1), raw_cmdline(b"x" * 4097), raw_cmdline(b"x", 1 << 31)],
)
def test_what_comes_last_and_is_no_command_line_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRecord, match=rf"found {len(raw)} bytes behind the text"):
        kill_of(cmdline=raw)
