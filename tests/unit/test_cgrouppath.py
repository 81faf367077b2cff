# SPDX-License-Identifier: Apache-2.0
"""A cgroup's path identifies its owner, and no name in it can fake one."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oomkilld import schema
from oomkilld.host.cgrouppath import ROOT_SLICE, CgroupNames, is_unit_name, names, outermost, owner_key
from oomkilld.text import pasteable
from tests.support import pace
from tests.unit.cgroups import ANY_ID, ANY_POD_SLICE, ANY_UID, ROWS, USER_1000, Row

# A cgroup name for the kernel: any bytes but these, see cgroup_mkdir() in kernel/cgroup/cgroup.c.
RANDOM_PART = st.binary(min_size=1, max_size=40).map(lambda raw: raw.translate(None, b"/\0\n") or b"x")
KNOWN_PART = st.sampled_from(sorted({part for row in ROWS for part in row.path.split(b"/") if part}))
BEGINNINGS = (b"", b"_", b"session-", b"user@", b"machine-", b"docker-", b"lxc.payload.", b"pod", b"kubepods-pod")
ENDS = (b"", b".slice", b".scope", b".service", b"@.service", b":docker:" + ANY_ID, b"\\x2d")
MADE_UP_PART = st.builds(
    lambda before, middle, after: before + middle + after,
    st.sampled_from(BEGINNINGS),
    st.one_of(RANDOM_PART, st.sampled_from([b"", b"1000", b"a\\x2db", ANY_ID, ANY_UID])),
    st.sampled_from(ENDS),
).filter(bool)
PART = st.one_of(
    KNOWN_PART, RANDOM_PART, MADE_UP_PART, st.sampled_from([b"docker", b"lxc", b"kubepods", ANY_POD_SLICE])
)
PATH = st.lists(PART, max_size=8).map(lambda parts: b"/" + b"/".join(parts))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.origin)
def test_a_path_gives_its_facts(row: Row) -> None:
    assert names(row.path) == row.told


def test_each_row_occurs_once() -> None:
    assert len({row.path for row in ROWS}) == len(ROWS)
    assert len({row.origin for row in ROWS}) == len(ROWS)


@settings(max_examples=pace.examples(10_000))
@given(st.one_of(PATH, st.binary(max_size=200)))
def test_every_name_that_is_given_is_in_the_path(path: bytes) -> None:
    told = names(path)
    parts = path.split(b"/")
    for unit in (told.unit, told.user_unit):
        assert unit is None or (is_unit_name(unit) and not unit.endswith(b".slice") and {unit, b"_" + unit} & {*parts})
    assert told.slice == ROOT_SLICE or {told.slice, b"_" + (told.slice or b"")} & {*parts}
    assert told.user_unit is None or told.unit is not None
    assert told.session is None or (told.session.isalnum() and told.unit == b"session-%s.scope" % told.session)
    if told.machine is not None:
        assert told.unit is not None
        assert told.machine in told.unit.replace(b"\\x2d", b"-")
        assert not told.machine.lower().translate(None, b"abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert told.container_id is None or any(told.container_id in part for part in parts)
    assert (told.container_id or told.container_runtime) == (told.container_id or None)
    assert told.container_runtime == "lxc" or told.container_id is None or len(told.container_id) == 64
    assert told.inner_container_id is None or any(told.inner_container_id in part for part in parts)
    assert told.inner_container_runtime is None or told.inner_container_id is not None
    assert told.pod_uid is None or any(told.pod_uid in part.replace(b"_", b"-") for part in parts)
    assert all(not isinstance(value, bytes) or (value and b"/" not in value) for value in told)


@settings(max_examples=pace.examples(2_000))
@given(PATH, PATH)
@example(b"/kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice", b"/capsule@lab.service")
@example(b"/user-0.slice", b"/capsule@lab.service")
def test_inner_names_cannot_change_the_facts_of_the_host(outside: bytes, inside: bytes) -> None:
    host = names(outside)
    both = names(outside + inside)
    if host.unit is not None:
        assert (both.unit, both.slice, both.session, both.machine, both.user) == (
            *(host.unit, host.slice, host.session, host.machine, host.user),
        )
    if host.user_unit is not None:
        assert both.user_unit == host.user_unit
    if host.pod_uid is not None:
        assert both.pod_uid == host.pod_uid
    if host.container_id is not None:
        assert both[6:9] == host[6:9]
        assert both.pod_uid == host.pod_uid
    if host.inner_container_id is not None:
        assert both.inner_container_id == host.inner_container_id
    if owner_key(outside)[1]:
        # Below a runtime's own unit, the runtime names containers and pods.
        of_runtime = both.pod_uid != host.pod_uid or both.container_id != host.container_id
        assert owner_key(outside + inside) == owner_key(outside) or of_runtime


OWNED = st.sampled_from(
    [
        (USER_1000, b"user 1000"),
        (b"/user.slice/user-1000.slice/session-3.scope", b"user 1000"),
        (b"/capsule.slice/capsule@lab.service", b"capsule lab"),
        (b"/system.slice/ci.service", b"ci.service"),
        (b"/machine.slice/machine-box.scope", b"machine-box.scope"),
        (b"/machine.slice/systemd-nspawn@box.service/payload", b"systemd-nspawn@box.service"),
    ]
)


@settings(max_examples=pace.examples(1_000))
@given(OWNED, PATH)
def test_the_owner_of_a_subtree_cannot_appear_as_somebody_else(owned: tuple[bytes, bytes], inside: bytes) -> None:
    above, owner = owned
    told, whole = names(above + inside), names(above)
    assert (told.container_id, told.container_runtime, told.pod_uid) == (None, None, None)
    assert (told.unit, told.slice, told.session, told.machine, told.user) == (
        *(whole.unit, whole.slice, whole.session, whole.machine, whole.user),
    )
    assert (told.user_unit is None) or owner.startswith((b"user ", b"capsule "))
    assert owner_key(above + inside) == (owner, True)


@settings(max_examples=pace.examples(1_000))
@given(PATH, st.integers(1, 600))
def test_a_cut_path_ends_with_a_whole_name_and_fits(path: bytes, room: int) -> None:
    kept = outermost(path, room)
    assert kept == path or len(pasteable(kept).encode()) <= room
    whole = [part for part in path.split(b"/") if part]
    some = [part for part in kept.split(b"/") if part]
    assert some == whole[: len(some)]
    if some != whole:
        assert len(pasteable(b"/" + b"/".join(whole[: len(some) + 1])).encode()) > room


@pytest.mark.parametrize("part", [b"/a.slice", b"/lxc/a", b"/pod", b"-pod", b"/docker-" + ANY_ID, b"\\x2d", b"."])
def test_a_path_of_a_megabyte_takes_linear_time(part: bytes) -> None:
    path = b"/machine-" + part * ((1 << 20) // len(part)) + b".scope"
    begun = time.process_time()
    assert isinstance(names(path), CgroupNames)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("above", "of_host"),
    [
        (b"", True),
        (b"/system.slice/containerd.service", True),
        (b"/machine.slice/systemd-nspawn@box.service/payload", False),
        (b"/machine.slice/machine-box.scope", False),
        (b"/system.slice/ci.service", False),
        (b"/docker/" + ANY_ID, False),
        (b"/user.slice/user-1000.slice/user@1000.service", False),
    ],
)
def test_a_pod_in_a_unit_that_names_its_own_groups_is_not_the_hosts(above: bytes, of_host: bool) -> None:
    told = names(above + b"/kubepods/burstable/pod5b2c1d9a-8d2e-4c60-8e5e-1f1b8c0a7a11/" + b"ab" * 32)
    assert (told.pod_uid is not None, told.container_id == b"ab" * 32) == (of_host, of_host)


@pytest.mark.parametrize(
    ("path", "owner", "answers"),
    [
        (b"/user.slice", b"/user.slice", False),
        (b"/tenants.slice/tenants-a.slice", b"/tenants.slice/tenants-a.slice", False),
        (b"/user.slice/user-1000.slice", b"user 1000", True),
        (b"/user.slice/user-1000.slice/session-7.scope/x", b"user 1000", True),
        (USER_1000 + b"/app.slice/run-7.scope", b"user 1000", True),
        (b"/kubepods/burstable/pod" + ANY_UID + b"/" + ANY_ID, ANY_UID, True),
        (b"/docker/" + ANY_ID + b"/x/y", ANY_ID, True),
        (b"/system.slice/a.service/x", b"a.service", True),
        (b"/1000.slice/a.service", b"a.service", True),
        (b"/actions_job/" + ANY_ID, b"/actions_job", False),
        (b"/", b"/", False),
    ],
)
def test_each_cgroup_has_an_owner(path: bytes, owner: bytes, answers: bool) -> None:
    assert owner_key(path) == (owner, answers)


def test_the_field_table_names_every_runtime() -> None:
    runtimes = {name for row in ROWS for name in (row.told.container_runtime, row.told.inner_container_runtime)}
    assert runtimes - {None} == set(schema.RUNTIMES)
