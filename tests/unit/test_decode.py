# SPDX-License-Identifier: Apache-2.0
"""The decoder accepts what the BPF program writes and refuses everything else."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomkilld import recordlayout
from oomkilld.record.capture.decode import BadRecord, decode, is_kill
from oomkilld.record.kill import KillRecord, Release, Unkillable
from tests.support import pace
from tests.unit.records import (
    FACTS,
    RELEASE_FACTS,
    kill_of,
    raw_candidates,
    raw_cmdline,
    raw_record,
    raw_release,
)

SIZE = struct.calcsize(recordlayout.struct_format())
RELEASE_SIZE = struct.calcsize(recordlayout.struct_format(recordlayout.RELEASE_RECORD))
TEXT_SIZE = len(raw_record()) - SIZE
# Only a kill that was read in the kernel log has these.
NOT_LOGGED = ("logged_usec", "decision_logged_usec", "victim_within")
# Only another kind of domain has these.
OF_NODES: dict[str, int | bytes] = {"domain_nodes": 0b10_0110, "domain_cpuset": b"docker-1.scope"}


def test_every_fact_arrives_as_it_was_written() -> None:
    kill = kill_of((), cmdline=raw_cmdline(b"asker\0-x\0"), **OF_NODES)
    sent: dict[str, object] = {name: value for name, value in FACTS.items() if name in KillRecord._fields}
    sent |= {**OF_NODES, "domain_nodes": b"1-2,5"}
    sent["largest_candidates"] = ((8000, 4242, b"victim", -17), (1900, 17, b"exempt", -1000))
    of_the_log = dict.fromkeys(NOT_LOGGED)
    cut = {f"{role}_cgroup_cut": False for role in ("victim", "trigger", "domain")}
    assert {**sent, "trigger_cmdline": (b"asker\0-x\0", False), **of_the_log, **cut} == kill._asdict()


@pytest.mark.parametrize("name", [*recordlayout.fact_bits(), *recordlayout.TEXTS])
def test_an_absent_fact_is_unknown_whatever_its_bytes(name: str) -> None:
    kill = kill_of(unknown=(name,), cmdline=raw_cmdline(b"asker\0"), **OF_NODES)
    assert {field for field, value in kill._asdict().items() if value is None} == {name, *NOT_LOGGED}
    assert not any(value for field, value in kill._asdict().items() if field.endswith("_cut"))


@pytest.mark.parametrize(
    ("mask", "nodes"), [(0, None), (1, b"0"), (0b10, b"1"), (0b1011, b"0-1,3"), ((1 << 64) - 1, b"0-63")]
)
def test_nodes_are_listed_as_the_kernel_lists_them(mask: int, nodes: bytes | None) -> None:
    assert kill_of(domain_nodes=mask).domain_nodes == nodes


def test_the_largest_candidates_arrive_in_order_without_unused_places() -> None:
    five = [(9 - at, 100 + at, -at, b"%d" % at * 16) for at in range(5)]
    kill = kill_of(largest_candidates=raw_candidates(*five))
    assert kill.largest_candidates == tuple((pages, pid, comm, adj) for pages, pid, adj, comm in five)
    assert kill_of(largest_candidates=raw_candidates()).largest_candidates is None


def test_negative_page_counts_become_zero_as_in_the_kernels_report() -> None:
    assert kill_of(victim_shmem_pages=-3).victim_shmem_pages == 0


def test_negative_badness_is_kept() -> None:
    assert kill_of(chosen_points=-5).chosen_points == -5


def test_text_ends_at_its_first_nul() -> None:
    assert kill_of(victim_comm=b"ab\0cd").victim_comm == b"ab"
    assert kill_of(victim_comm=b"\xff" * 16).victim_comm == b"\xff" * 16


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a.slice/b.service", b"/x" * 31, b"/" + b"\xff\x1b" * 100])
def test_a_path_arrives_whole(path: bytes) -> None:
    kill = kill_of(domain_cgroup=path, trigger_cgroup=b"/t", victim_cgroup=path)
    assert (kill.domain_cgroup, kill.trigger_cgroup, kill.victim_cgroup) == (path, b"/t", path)


def with_texts(**texts: tuple[int, bytes]) -> KillRecord:
    """A record with these texts only, each with the marks that go into its length."""
    lengths = {f"{name}_length": mark | len(text) for name, (mark, text) in texts.items()}
    kill = decode(raw_record(unknown=recordlayout.TEXTS, **lengths) + b"".join(text for _mark, text in texts.values()))
    assert isinstance(kill, KillRecord)
    return kill


@pytest.mark.parametrize(
    ("names", "path"),
    [(b"", b"/d/e"), (b"f\0", b"/d/e/f"), (b"f\0g\0", b"/d/e/f/g"), (b"f\0g", None), (b"f\0\0g\0", None)],
)
def test_a_path_may_continue_that_of_the_domain(names: bytes, path: bytes | None) -> None:
    goes_on = (recordlayout.PATH_CONTINUES, names)
    kill = with_texts(domain_cgroup=(0, b"\0d\0e\0"), trigger_cgroup=goes_on, victim_cgroup=goes_on)
    assert (kill.domain_cgroup, kill.trigger_cgroup, kill.victim_cgroup) == (b"/d/e", path, path)


def test_a_path_that_continues_an_unknown_one_is_unknown() -> None:
    kill = with_texts(victim_cgroup=(recordlayout.PATH_CONTINUES | recordlayout.PATH_CUT, b"f\0"))
    assert (kill.domain_cgroup, kill.victim_cgroup, kill.victim_cgroup_cut) == (None, None, False)


def test_a_cut_path_has_its_outermost_names() -> None:
    kill = with_texts(
        domain_cgroup=(recordlayout.PATH_CUT, b"\0d\0"),
        trigger_cgroup=(0, b"\0t\0"),
        victim_cgroup=(recordlayout.PATH_CUT | recordlayout.PATH_CONTINUES, b""),
    )
    assert (kill.domain_cgroup, kill.domain_cgroup_cut) == (b"/d", True)
    assert (kill.trigger_cgroup, kill.trigger_cgroup_cut) == (b"/t", False)
    assert (kill.victim_cgroup, kill.victim_cgroup_cut) == (b"/d", True)


def test_a_path_without_any_name_left_is_unknown() -> None:
    kill = with_texts(domain_cgroup=(recordlayout.PATH_CUT, b"\0"), victim_cgroup=(recordlayout.PATH_CUT, b"\0"))
    assert (kill.domain_cgroup, kill.victim_cgroup) == (None, None)
    assert not kill.domain_cgroup_cut
    assert not kill.victim_cgroup_cut


def test_a_trigger_that_is_a_thread_of_the_victim_has_the_facts_of_its_process() -> None:
    same = {f"trigger_{text}_length": recordlayout.SAME_AS_VICTIM for text in ("cgroup", "exe")}
    of_trigger = ("trigger_start_boottime_ns", "trigger_ns_pid", "trigger_parent_pid", "trigger_parent_comm")
    kill = kill_of(unknown=("trigger_cgroup", "trigger_exe", *of_trigger), trigger_pid=4242, **same)
    assert (kill.trigger_cgroup, kill.trigger_exe) == (b"/tenants.slice/victim.service", b"victim-bin")
    assert (kill.trigger_start_boottime_ns, kill.trigger_ns_pid) == (3_000_000_000, 7)
    assert (kill.trigger_parent_pid, kill.trigger_parent_comm) == (4200, b"victim's parent")
    # These belong to the thread: id, name, user.
    assert (kill.trigger_tid, kill.trigger_comm, kill.trigger_uid) == (4241, b"trigger", 1001)


def test_the_path_of_such_a_trigger_is_cut_as_the_victims_is() -> None:
    same = {f"trigger_{text}_length": recordlayout.SAME_AS_VICTIM for text in ("cgroup", "exe")}
    kill = kill_of(unknown=("trigger_cgroup", "trigger_exe"), victim_cgroup=b"/v", victim_cgroup_cut=True, **same)
    assert (
        (kill.trigger_cgroup, kill.trigger_cgroup_cut) == (kill.victim_cgroup, kill.victim_cgroup_cut) == (b"/v", True)
    )


@pytest.mark.parametrize("names", [b"leaf\0middle\0", b"\0a", b"\0a\0\0b\0"])
def test_names_that_do_not_begin_at_the_root_are_no_path(names: bytes) -> None:
    kill = with_texts(victim_cgroup=(0, names))
    assert (kill.victim_cgroup, kill.victim_cgroup_cut) == (None, False)


def test_an_unkillable_record_has_no_victim_and_a_count() -> None:
    victims = [name for name in FACTS if name.startswith("victim_") and name != "victim_tid"]
    raw = raw_record(unknown=(*victims, "reason"), victim_pid=0, victim_tid=17, spared=recordlayout.NOTHING_KILLED)
    assert not is_kill(raw)
    nothing = decode(raw)
    assert isinstance(nothing, Unkillable)
    assert nothing.times == 17
    told = nothing.decision._asdict()
    assert {value for name, value in told.items() if name.startswith("victim_")} == {None, False}
    assert told["reason"] == b"Out of memory and no killable processes"
    assert (told["trigger_pid"], told["domain_cgroup"], told["domain_limit_pages"]) == (4240, b"/tenants.slice", 7680)


def test_a_release_is_distinct_from_a_kill() -> None:
    release = decode(raw_release())
    assert isinstance(release, Release)
    assert {name: value for name, value in RELEASE_FACTS.items() if name in Release._fields} == release._asdict()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", f"found 0 bytes, expected {RELEASE_SIZE}, or {SIZE} and text"),
        (raw_record() + b"\0", "found 1 byte after the text, expected none or a command line"),
        (raw_record()[:-1], f"found {TEXT_SIZE - 1} bytes of text, expected {TEXT_SIZE}"),
        (raw_record(victim_exe_length=0), "found 11 bytes after the text, expected none or a command line"),
        (
            raw_record(largest_candidates=raw_candidates()[1:]),
            "found 159 bytes of candidates, expected 32 for each",
        ),
        (raw_release(layout=1), f"found layout 0x1, expected {recordlayout.layout_id():#x}"),
        (raw_release(pid=0), "found the release of process 0, expected a process id"),
        (raw_record(layout=1), f"found layout 0x1, expected {recordlayout.layout_id():#x}"),
        (raw_record(victim_pid=0), "found victim 0/4243, expected process and thread ids"),
        (raw_record(victim_pid=0, spared=1), "found victim 0/4243, expected process and thread ids"),
        (
            raw_record(victim_tid=0, spared=recordlayout.SPARED_THREAD),
            "found victim 4242/0, expected process and thread ids",
        ),
        (raw_record(victim_tid=0), "found victim 4242/0, expected process and thread ids"),
    ],
)
def test_an_impossible_record_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason.replace("(", r"\(")):
        decode(raw)


SIZES = ((0, SIZE + 200), (SIZE, SIZE), (RELEASE_SIZE, RELEASE_SIZE))


@settings(max_examples=pace.examples(10_000))
@given(st.one_of(*(st.binary(min_size=at, max_size=to) for at, to in SIZES)), st.booleans())
def test_no_bytes_raise_anything_else(raw: bytes, own_layout: bool) -> None:
    if own_layout and len(raw) >= RELEASE_SIZE:
        record = recordlayout.RELEASE_RECORD if len(raw) == RELEASE_SIZE else recordlayout.KILL_RECORD
        at = recordlayout.struct_format(record).index("I")
        at = struct.calcsize(recordlayout.struct_format(record)[:at])
        raw = raw[:at] + struct.pack("=I", recordlayout.layout_id()) + raw[at + 4 :]
    try:
        decoded = decode(raw)
    except BadRecord:
        return
    if isinstance(decoded, Release):
        assert decoded.pid
    elif isinstance(decoded, Unkillable):
        assert decoded.times
    else:
        assert isinstance(decoded, KillRecord)
        assert decoded.victim_tid
        assert decoded.victim_pid or decoded.spared == recordlayout.SPARED_THREAD


NAMED = [name for name in recordlayout.TEXTS if name != "largest_candidates"]
NAMES = st.lists(st.binary(max_size=3), max_size=4).map(lambda names: b"".join(name + b"\0" for name in names))
TEXT = st.tuples(
    st.sampled_from(
        [0, recordlayout.PATH_CUT, recordlayout.PATH_CONTINUES, recordlayout.PATH_CUT | recordlayout.PATH_CONTINUES]
    ),
    st.one_of(st.binary(max_size=300), NAMES),
)


@settings(max_examples=pace.examples(10_000))
@given(st.lists(TEXT, min_size=len(NAMED), max_size=len(NAMED)))
def test_any_texts_decode_to_one_name_or_one_path(texts: list[tuple[int, bytes]]) -> None:
    kill = with_texts(
        **{
            name: (mark if name.endswith("_cgroup") else 0, text)
            for name, (mark, text) in zip(NAMED, texts, strict=True)
        }
    )
    for path, cut in (
        (kill.domain_cgroup, kill.domain_cgroup_cut),
        (kill.trigger_cgroup, kill.trigger_cgroup_cut),
        (kill.victim_cgroup, kill.victim_cgroup_cut),
    ):
        assert (not cut) if path is None else path.startswith(b"/")
        assert path != b"/" or not cut


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", None),
        (raw_cmdline(b"a\0-b\0"), (b"a\0-b\0", False)),
        (raw_cmdline(b"a\0-b", 100), (b"a\0-b", True)),
        (raw_cmdline(b"x" * 4095, 4096), (b"x" * 4095, True)),
        # A title that the process set itself.
        (raw_cmdline(b"a: idle\0junk"), (b"a: idle", False)),
        (raw_cmdline(b"a: idle"), (b"a: idle", False)),
    ],
)
def test_the_command_line_follows_the_texts(raw: bytes, expected: tuple[bytes, bool] | None) -> None:
    assert kill_of(cmdline=raw).trigger_cmdline == expected


@pytest.mark.parametrize(
    "raw",
    [b"x", b"\0\0\0\0", raw_cmdline(b""), raw_cmdline(b"ab", 1), raw_cmdline(b"x" * 4097), raw_cmdline(b"x", 1 << 31)],
)
def test_what_comes_last_and_is_no_command_line_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRecord, match=rf"found {len(raw)} bytes? after the text"):
        kill_of(cmdline=raw)
