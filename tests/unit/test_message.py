# SPDX-License-Identifier: Apache-2.0
"""MESSAGE, the sentence that an operator reads first: what ran out, what was killed, who asked."""

from typing import NamedTuple

import pytest

from oomkilld.host.kubelet import PodDirectory, PodNames
from oomkilld.record.enrich.cause import cause_of
from oomkilld.record.enrich.enrich import Context, LedUp
from oomkilld.record.enrich.memcgusage import Contents
from oomkilld.record.enrich.owner import Identifier
from oomkilld.record.enrich.sample import Sample
from oomkilld.record.entry.message import kill_message, process_name
from oomkilld.text import counted, grouped
from tests.unit.records import ORIGIN, kill_of, raw_candidates

POD = b"/kubepods.slice/kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice"
CONTAINER = b"cri-containerd-" + b"ab" * 32 + b".scope"
CRIO = POD + b"/crio-" + b"cd" * 32 + b".scope"
DOCKER = b"/system.slice/docker-" + b"cd" * 32 + b".scope"
USER = b"/user.slice/user-1000.slice/user@1000.service"

ON_THIS_HOST = "Out of memory on this host (30.0M of RAM and 1.0M of swap)"


class OnePod(PodDirectory):
    """Knows the names of one pod."""

    def names(self, pod_uid: bytes, container_id: bytes | None) -> PodNames:  # noqa: ARG002
        return PodNames(b"shop", b"web-7d9", b"web" if container_id else None)


class Beside(NamedTuple):
    """What else an entry may know."""

    led_up: LedUp | None = None
    units: tuple[bytes | None, ...] = ()
    reduced: bool = False


def sentence(*stat: tuple[str, int], **changes: int | bytes) -> str:
    return sentence_with(Beside(), *stat, **changes)


def sentence_with(beside: Beside, *stat: tuple[str, int], **changes: int | bytes) -> str:
    # Unless given: processes without a PID namespace of their own, and of unknown size.
    changes = {"victim_ns_pid": 4242, "trigger_ns_pid": 4240, "victim_anon_pages": b"", **changes}
    unknown = tuple(name for name, value in changes.items() if value == b"")
    kill = kill_of(unknown=unknown, **{name: value for name, value in changes.items() if value != b""})
    identifier = Identifier(OnePod(), lambda _unit, _kill: None, lambda _tid, _ns: None)
    sample = Sample(0, 0, None, {}, {}, {})
    trigger, victim, domain = identifier.of_kill(kill)
    contents = Contents(dict(stat), [])
    context = Context(sample, trigger, victim, domain, None, contents, beside.reduced)
    context = context._replace(led_up=beside.led_up, candidate_units=beside.units)
    return kill_message(kill, cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes), context, ORIGIN.page_bytes)


@pytest.mark.parametrize(
    ("domain", "victim", "trigger", "expected"),
    [
        (
            b"/system.slice/nginx.service",
            b"/system.slice/nginx.service",
            b"/system.slice/nginx.service",
            "Out of memory in nginx.service (limit 30.0M): killed process 4242 (victim); asked by 4240 (trigger)",
        ),
        (
            rb"/system.slice/foo\x2dbar@a-b.service",
            rb"/system.slice/foo\x2dbar@a-b.service",
            rb"/system.slice/disk\x2d1.service",
            (
                r"Out of memory in foo\x2dbar@a-b.service (limit 30.0M): killed process 4242 (victim); "
                r"asked by 4240 (trigger, disk\x2d1.service)"
            ),
        ),
        (
            b"/tenants.slice",
            b"/tenants.slice/db.service",
            b"/tenants.slice",
            (
                "Out of memory in tenants.slice (limit 30.0M, an ancestor of db.service): "
                "killed process 4242 (victim, db.service); asked by 4240 (trigger)"
            ),
        ),
        (
            POD,
            POD + b"/" + CONTAINER,
            POD + b"/" + CONTAINER,
            (
                "Out of memory in pod shop/web-7d9 (limit 30.0M, an ancestor of container web): "
                "killed process 4242 (victim, container web); asked by 4240 (trigger, container web)"
            ),
        ),
        (
            POD + b"/" + CONTAINER,
            POD + b"/" + CONTAINER,
            b"/system.slice/cron.service",
            (
                "Out of memory in container web of pod shop/web-7d9 (limit 30.0M): "
                "killed process 4242 (victim); asked by 4240 (trigger, cron.service)"
            ),
        ),
        (
            CRIO,
            CRIO + b"/container",
            CRIO + b"/container",
            (
                "Out of memory in container web of pod shop/web-7d9 (limit 30.0M): "
                "killed process 4242 (victim); asked by 4240 (trigger)"
            ),
        ),
        (
            CRIO + b"/container",
            CRIO + b"/container/deeper",
            CRIO + b"/container",
            (
                "Out of memory in container web of pod shop/web-7d9 (limit 30.0M, an ancestor of cgroup "
                f"'{CRIO.decode()[:120]}...'): killed process 4242 (victim); asked by 4240 (trigger)"
            ),
        ),
        (
            DOCKER,
            DOCKER + b"/inner",
            DOCKER,
            "Out of memory in docker container cdcdcdcdcdcd (limit 30.0M, an ancestor of cgroup '/system.slice/docker-"
            + "cd" * 32
            + ".scope/inner'): killed process 4242 (victim); asked by 4240 (trigger)",
        ),
        (
            b"/user.slice",
            USER + b"/app.slice/app-editor.service",
            USER + b"/init.scope",
            (
                "Out of memory in user.slice (limit 30.0M, an ancestor of app-editor.service of user 1000): "
                "killed process 4242 (victim, app-editor.service of user 1000); "
                "asked by 4240 (trigger, init.scope of user 1000)"
            ),
        ),
        (
            b"/system.slice/big.service/workers",
            b"/system.slice/big.service/workers/7",
            b"/system.slice/big.service",
            (
                "Out of memory in cgroup '/system.slice/big.service/workers' (limit 30.0M, an ancestor of cgroup "
                "'/system.slice/big.service/workers/7'): killed process 4242 (victim); "
                "asked by 4240 (trigger)"
            ),
        ),
        (
            b"",
            b"",
            b"",
            "Out of memory in a cgroup (limit 30.0M): killed process 4242 (victim); asked by 4240 (trigger)",
        ),
    ],
)
def test_the_domain_is_named_as_an_operator_knows_it(
    domain: bytes, victim: bytes, trigger: bytes, expected: str
) -> None:
    assert sentence(domain_cgroup=domain, victim_cgroup=victim, trigger_cgroup=trigger) == expected


@pytest.mark.parametrize(
    ("comm", "exe", "shown"),
    [
        (b"16", b"systemd-executor", "4242 (16, program systemd-executor, victim.service)"),
        (b"16", b"x, ssh.service)", "4242 (16, program 'x, ssh.service)', victim.service)"),
        (b"16", b"16", "4242 (16, victim.service)"),
        (b"16", b"", "4242 (16, victim.service)"),
        (b"a16", b"systemd-executor", "4242 (a16, victim.service)"),
    ],
)
def test_if_the_name_is_a_number_the_program_is_shown_beside_it(comm: bytes, exe: bytes, shown: str) -> None:
    assert f"killed process {shown}" in sentence(constraint=0, victim_comm=comm, victim_exe=exe)
    assert f"asked by {shown.replace('4242', '4240').replace('victim', 'asker')}" in sentence(
        constraint=0, trigger_comm=comm, trigger_exe=exe
    )


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({"constraint": 0}, f"{ON_THIS_HOST}: killed process 4242 (victim, victim.service)"),
        (
            {"constraint": 0, "order": -1},
            f"{ON_THIS_HOST}, called by hand (sysrq-f): killed process 4242 (victim, victim.service)",
        ),
        (
            {"constraint": 0, "reason": b"Out of memory (oom_kill_allocating_task)"},
            f"{ON_THIS_HOST} (oom_kill_allocating_task): killed process",
        ),
        (
            {"constraint": 0, "trigger_cgroup": b"/tenants.slice/victim.service"},
            f"{ON_THIS_HOST}: killed process 4242 (victim, victim.service); asked by 4240 (trigger)",
        ),
        ({"constraint": 0, "domain_swap_limit_pages": 0}, "Out of memory on this host (30.0M of RAM): killed"),
        (
            {"constraint": 0, "domain_limit_pages": b""},
            "Out of memory on this host (30.0M of RAM and swap): killed",
        ),
        ({"constraint": 0, "domain_limit_pages": b"", "total_pages": b""}, "Out of memory on this host: killed"),
        ({"constraint": 1}, "Out of memory in a cpuset (limit 30.0M): killed process"),
        ({"constraint": 2}, "Out of memory under a memory policy (limit 30.0M): killed process"),
    ],
)
def test_other_domains_and_causes_are_distinct(changes: dict[str, int | bytes], beginning: str) -> None:
    if changes["constraint"] != 0:
        changes = {**changes, "domain_limit_pages": b""}
    text = sentence(domain_cgroup=b"", **changes)
    assert text.startswith(beginning)
    assert ("asked by" in text) == ("by hand" not in text)


@pytest.mark.parametrize(
    ("anon", "shmem", "swap", "size"),
    [
        (7000, 4, 0, "29.3M resident"),
        (7000, 4, 7504, "29.3M resident"),
        (7000, 4, 7505, "29.3M resident and 29.3M swapped out"),
        (4364, 4, 32742, "19.0M resident and 127.9M swapped out"),
        (0, 500, 0, "3.9M resident"),
        (0, 501, 0, "3.9M resident (2.0M of it shared)"),
        (0, 1000, 2000, "5.9M resident (3.9M of it shared) and 7.8M swapped out"),
    ],
)
def test_swapped_or_shared_memory_is_shown_if_it_is_the_larger_part(
    anon: int, shmem: int, swap: int, size: str
) -> None:
    text = sentence(victim_anon_pages=anon, victim_shmem_pages=shmem, victim_swap_pages=swap)
    assert f"killed process 4242 (victim, victim.service), {size}; asked by" in text
    unknown = sentence(victim_anon_pages=anon, victim_shmem_pages=4, victim_swap_pages=b"")
    assert "swapped" not in unknown


@pytest.mark.parametrize("anon", [7000, b""], ids=["size known", "size unknown"])
@pytest.mark.parametrize("sharers", [0, 1, 5])
def test_other_users_of_the_victims_memory_are_mentioned(anon: int | bytes, sharers: int) -> None:
    told = sentence(victim_anon_pages=anon, victim_memory_sharers=sharers)
    assert (", in memory that others use, too; asked by " in told) == (sharers > 0)


@pytest.mark.parametrize(
    ("at_kill", "after", "limit"),
    [
        (b"", [("shmem", 16 << 20)], "(limit 30.0M, 16.0M of it shared memory or tmpfs, an ancestor of"),
        (b"", [("shmem", 14 << 20)], "(limit 30.0M, an ancestor of"),
        (b"", [], "(limit 30.0M, an ancestor of"),
        # The kernel's own count during the kill wins over a value read after it.
        (4096, [], "(limit 30.0M, 16.0M of it shared memory or tmpfs, an ancestor of"),
        (3584, [("shmem", 16 << 20)], "(limit 30.0M, an ancestor of"),
    ],
)
def test_a_limit_filled_with_shared_memory_is_mentioned(
    at_kill: int | bytes, after: list[tuple[str, int]], limit: str
) -> None:
    assert limit in sentence(*after, domain_shmem_pages=at_kill)


SMALL: dict[str, int | bytes] = {"victim_anon_pages": 1000, "victim_file_pages": 0, "victim_shmem_pages": 0}
HOG, VICTIM = (5000, 812, -1000, b"hog"), (1100, 4242, -17, b"victim")
HOG_HAD = "victim.service), 3.9M resident; process 812 (hog) had 19.5M and oom_score_adj -1000; asked by"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, HOG_HAD),
        ({"largest_candidates": raw_candidates((5000, 812, -18, b"hog"), VICTIM)}, "had 19.5M and oom_score_adj -18;"),
        ({"largest_candidates": raw_candidates((5000, 812, -17, b"hog"), VICTIM)}, "(hog) had 19.5M; asked by"),
        ({"largest_candidates": raw_candidates((5000, 812, 0, b"a, b"), VICTIM)}, "process 812 ('a, b') had 19.5M;"),
        ({"group_kill": 1}, HOG_HAD),
    ],
)
def test_the_process_that_had_the_memory_is_named_if_it_is_not_the_victim(
    changes: dict[str, int | bytes], told: str
) -> None:
    assert told in sentence(**{**SMALL, "largest_candidates": raw_candidates(HOG, VICTIM), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"largest_candidates": raw_candidates((5000, 4242, -1000, b"hog"))},
        {"largest_candidates": raw_candidates((3999, 812, -1000, b"hog"))},  # less than four times the victim's
        {"total_pages": 40_001},  # less than an eighth of the domain
        {"total_pages": b"", "domain_limit_pages": b""},
        {"victim_anon_pages": b""},
        {"victim_swap_pages": 251},
        {"largest_candidates": raw_candidates((5000, 812, 0, b"hog"), VICTIM), "group_kill": 1},
    ],
)
def test_without_plain_facts_no_process_is_named(changes: dict[str, int | bytes]) -> None:
    plain = {**SMALL, "largest_candidates": raw_candidates(HOG, VICTIM)}
    assert "process 812" not in sentence(**{**plain, **changes})


def test_the_unit_of_that_process_is_told_if_it_is_another_one() -> None:
    plain = {**SMALL, "largest_candidates": raw_candidates(HOG, VICTIM)}
    assert "process 812 (hog, db.service) had" in sentence_with(Beside(units=(b"db.service", None)), **plain)
    assert "(hog, a%0A.service) had" in sentence_with(Beside(units=(b"a\n.service", None)), **plain)
    for unit in (b"victim.service", None):
        assert "process 812 (hog) had" in sentence_with(Beside(units=(unit, None)), **plain)
    assert "process 812" not in sentence_with(Beside(reduced=True), **plain)


OTHER, BOTH, OWN, INNER = (
    b"/tenants.slice" + name for name in (b"/b.service", b"", b"/victim.service", b"/victim.service/x")
)
MIB = 1 << 20


@pytest.mark.parametrize(
    ("grew", "seconds", "told"),
    [
        ([(OTHER, 20 * MIB)], 480, "; b.service grew 20.0M in 8 min; asked by"),
        ([(BOTH, 21 * MIB), (OTHER, 20 * MIB)], 89, "; b.service grew 20.0M in 89 s; asked by"),
        ([(OTHER, 20 * MIB), (OWN, 6 * MIB)], 90, "; b.service grew 20.0M in 2 min; asked by"),
        ([(OTHER, 20 * MIB), (OWN, 7 * MIB)], 90, None),
        ([(OTHER, 20 * MIB), (INNER, 7 * MIB)], 90, None),
        ([(OWN, 20 * MIB)], 90, None),
        ([(INNER, 20 * MIB)], 90, None),
        ([(BOTH, 20 * MIB)], 90, None),
        ([(OTHER, 4000 * 1024)], 90, "; b.service grew 3.9M in 2 min"),
        ([(OTHER, 4000 * 1024 - 1)], 90, None),  # less than the victim had
        ([(b"/x/it's", 20 * MIB)], 90, "; cgroup '/x/it%27s' grew 20.0M in 2 min"),
        ([], 90, None),
    ],
)
def test_the_cgroup_that_grew_is_named_if_the_victim_was_not_in_it(
    grew: list[tuple[bytes, int]], seconds: int, told: str | None
) -> None:
    text = sentence_with(Beside(LedUp("leak", seconds * 10**9, grew)), **SMALL)
    assert (told in text) if told else ("grew" not in text)
    assert "grew" not in sentence_with(Beside(LedUp("unknown", None, grew)), **SMALL)
    assert "grew" not in sentence_with(Beside(LedUp("leak", 10**9, grew)), **SMALL, victim_cgroup=b"")
    assert "grew" not in sentence_with(Beside(LedUp("leak", 10**9, grew)), **SMALL, total_pages=200_000)


def test_a_limit_of_zero_is_a_limit() -> None:
    assert "(limit 0B, an" in sentence(domain_limit_pages=0, total_pages=1)


def test_a_cgroup_without_a_limit_of_its_own_shows_its_capacity() -> None:
    # Its parent's limit decides, or that of memory and swap together.
    assert "(limit 29.0M, an" in sentence(domain_limit_pages=(1 << 63) // 4096 - 1, total_pages=29 * 256)


def test_a_cgroups_name_can_neither_end_its_quotes_nor_displace_the_rest() -> None:
    forged = b"x (limit 1.0G): killed process 1 (systemd)'; asked by 812 (nginx)"
    escaped = forged.decode().replace("'", "%27")
    text = sentence(domain_cgroup=b"/u.slice/" + forged, victim_cgroup=b"/u.slice/" + forged, trigger_cgroup=b"")
    assert text.startswith(
        f"Out of memory in cgroup '/u.slice/{escaped}' (limit 30.0M): killed process 4242 (victim); "
    )
    long = sentence(domain_cgroup=b"/" + b"n" * 5000, victim_cgroup=b"/v")
    assert long.startswith(f"Out of memory in cgroup '/{'n' * 119}...' (limit 30.0M): killed process 4242 (victim, ")


NAMED = USER + b"/app.slice"


@pytest.mark.parametrize(
    ("cgroup", "whose"),
    [
        (NAMED + b"/sshd.service", "sshd.service of user 1000"),
        (NAMED + b"/user@0.service", "user@0.service of user 1000"),
        (b"/user.slice/user-1000.slice/session-3.scope", "session-3.scope of user 1000"),
        (b"/user.slice/user-1000.slice/session-3.scope/sshd.service/x", "session-3.scope of user 1000"),
        (b"/capsule.slice/capsule@lab.service/sshd.service", "sshd.service of capsule lab"),
        (USER, "user@1000.service"),
        (NAMED + b"/docker-" + b"ef" * 32 + b".scope", "docker container efefefefefef of user 1000"),
        (NAMED + b"/db.service/libpod-payload-" + b"ef" * 32, "podman container efefefefefef of user 1000"),
        (USER + b"/kubepods/pod" + POD[-42:-6].replace(b"_", b"-"), "user@1000.service"),
        (USER + b"/kubepods/pod" + b"0" * 32 + b"/" + b"ef" * 32, "container efefefefefef of user 1000"),
        (USER + b"/lxc.payload.prod-db", "lxc container prod-db of user 1000"),
        (USER + b"/lxc.payload.a of user 0", "lxc container 'a of user 0' of user 1000"),
        (USER + b"/lxc/it's", "lxc container 'it%27s' of user 1000"),
        (DOCKER + b"/docker/" + b"ef" * 32, "docker container efefefefefef in docker container cdcdcdcdcdcd"),
        (
            POD + b"/" + CONTAINER + b"/docker/" + b"ef" * 32,
            "docker container efefefefefef in container web of pod shop/web-7d9",
        ),
        (b"/system.slice/ci.service/docker/" + b"ef" * 32, "docker container efefefefefef in ci.service"),
        (b"/machine.slice/machine-box.scope/lxc/a", "lxc container a in machine-box.scope"),
        (b"/actions_job/" + b"ef" * 32, f"container efefefefefef in cgroup '/actions_job/{'ef' * 32}'"),
        (b"/lxc.payload.ab-p-agent-01", "lxc container ab-p-agent-01"),
        (b"/lxc.payload.a, db.service", "lxc container 'a, db.service'"),
        (b"/system.slice/" + b"n" * 240 + b".service", "n" * 120 + "..."),
    ],
)
def test_a_name_that_somebody_chose_is_shown_with_its_owner(cgroup: bytes, whose: str) -> None:
    text = sentence(domain_cgroup=cgroup, victim_cgroup=cgroup, trigger_cgroup=b"/system.slice/asker.service")
    place = whose if whose != "user@1000.service" or cgroup == USER else f"cgroup '{cgroup.decode()}'"
    if cgroup.endswith(b"/x"):
        place = f"cgroup '{cgroup.decode()}'"
    assert text == (
        f"Out of memory in {place} (limit 30.0M): killed process 4242 (victim); asked by 4240 (trigger, asker.service)"
    )
    # If the whole machine ran out, the victim's owner stands beside the process.
    text = sentence(constraint=0, domain_cgroup=b"", victim_cgroup=cgroup, trigger_cgroup=cgroup)
    assert text == f"{ON_THIS_HOST}: killed process 4242 (victim, {whose}); asked by 4240 (trigger)"


@pytest.mark.parametrize(
    ("comm", "shown"),
    [
        (b"python3.11", "python3.11"),
        (b"kworker/0:1", "kworker/0:1"),
        (b"a+b_c-d@e#1", "a+b_c-d@e#1"),
        (b"a, sshd.service", "'a, sshd.service'"),
        (b"sshd.service", "'sshd.service'"),
        (b"x of user 0", "'x of user 0'"),
        (b"Web Content", "'Web Content'"),
        (b"(sd-pam)", "'(sd-pam)'"),
        (b"a); asked by 1", "'a); asked by 1'"),
        (b"it's", "'it\\x27s'"),
        (b'"a"', "'\"a\"'"),
        (b" a", "' a'"),
        (b"a ", "'a '"),
        (b"a\n", "'a\\x0a'"),
        (b"a\\x27", "'a\\x5cx27'"),
        ("zoë".encode(), "'zoë'"),
    ],
)
def test_a_process_name_is_quoted_where_it_could_be_read_as_more(comm: bytes, shown: str) -> None:
    text = sentence(victim_comm=comm, trigger_comm=comm)
    owner = "asker.service"
    assert f"killed process 4242 ({shown}, victim.service); asked by 4240 ({shown}, {owner})" in text


@pytest.mark.parametrize(
    ("changes", "victim", "trigger"),
    [
        (
            {"victim_ns_pid": 7, "trigger_ns_pid": 1},
            "4242 (victim, victim.service, pid 7 in its PID namespace)",
            "4240 (trigger, asker.service, pid 1 in its PID namespace)",
        ),
        (
            {"victim_ns_pid": 7, "trigger_ns_pid": b"", "victim_comm": b"", "victim_cgroup": b""},
            "4242 (pid 7 in its PID namespace)",
            "4240 (trigger, asker.service)",
        ),
        ({"victim_ns_pid": b""}, "4242 (victim, victim.service)", "4240 (trigger, asker.service)"),
    ],
)
def test_the_number_in_a_container_is_shown_beside_the_hosts(
    changes: dict[str, int | bytes], victim: str, trigger: str
) -> None:
    text = sentence(constraint=0, **{"domain_cgroup": b"", **changes})
    assert text == f"{ON_THIS_HOST}: killed process {victim}; asked by {trigger}"


def test_singular_and_plural_are_right_and_a_reason_is_given_once() -> None:
    assert [counted(number, "kill") for number in (0, 1, 2)] == ["0 kills", "1 kill", "2 kills"]
    assert [counted(number, "entry is", "entries are") for number in (1, 3)] == ["1 entry is", "3 entries are"]
    reasons = {"kprobe": "locked down", "fentry": "locked down", "kmsg": "no privilege", "tracepoint": "locked down"}
    assert grouped(reasons) == ["kprobe, fentry, tracepoint: locked down", "kmsg: no privilege"]


def test_a_process_without_a_name_is_shown_as_empty_quotes() -> None:
    assert process_name("") == "''"


def test_a_cut_path_is_not_shown_as_a_whole_one() -> None:
    identifier = Identifier(OnePod(), lambda _unit, _kill: None, lambda _tid, _ns: None)
    whole, cut = (identifier.identify(NAMED + b"/a.service", cut=cut) for cut in (False, True))
    assert whole is not None
    assert cut is not None
    assert (whole.label(), whole.owner()) == ("a.service of user 1000", "a.service of user 1000")
    assert cut.label() == f"a cgroup below '{(NAMED + b'/a.service').decode()}'"
    assert cut.owner() == "a.service of user 1000"
