# SPDX-License-Identifier: Apache-2.0
"""The sentence that an operator reads first: what ran out, who was killed, who asked."""

import pytest

from oomkilld.record.cause import cause_of
from oomkilld.record.enrich import Context, Sample
from oomkilld.record.identify import Identifier
from oomkilld.record.message import kill_message
from oomkilld.record.pods import PodDirectory, PodNames
from tests.unit.records import ORIGIN, kill_of

POD = b"/kubepods.slice/kubepods-pod5b2c1d9a_8d2e_4c60_8e5e_1f1b8c0a7a11.slice"
CONTAINER = b"cri-containerd-" + b"ab" * 32 + b".scope"
DOCKER = b"/system.slice/docker-" + b"cd" * 32 + b".scope"
USER = b"/user.slice/user-1000.slice/user@1000.service"


class OnePod(PodDirectory):
    """Knows the names of one pod."""

    def names(self, pod_uid: bytes, container_id: bytes | None) -> PodNames:  # noqa: ARG002
        return PodNames(b"shop", b"web-7d9", b"web" if container_id else None)


def sentence(**changes: int | bytes) -> str:
    unknown = tuple(name for name, value in changes.items() if value == b"")
    kill = kill_of(unknown=unknown, **{name: value for name, value in changes.items() if value != b""})
    identify = Identifier(OnePod(), lambda _unit: None).identify
    sample = Sample(0, 0, None, {}, {}, {})
    trigger, victim, domain = map(identify, (kill.trigger_cgroup, kill.victim_cgroup, kill.domain_cgroup))
    context = Context(sample, trigger, victim, domain, invocation_id=None, contents=None, reduced=False)
    return kill_message(kill, cause_of(kill, ORIGIN.constraints, ORIGIN.page_bytes), context, None)


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
                "Out of memory in user.slice (limit 30.0M, an ancestor of app-editor.service): "
                "killed process 4242 (victim, app-editor.service); asked by 4240 (trigger, init.scope)"
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
    ("changes", "beginning"),
    [
        ({"constraint": 0}, "Out of memory on this host: killed process 4242 (victim, victim.service)"),
        ({"constraint": 0, "order": -1}, "Out of memory on this host, called by hand (sysrq-f): killed process"),
        (
            {"constraint": 0, "reason": b"Out of memory (oom_kill_allocating_task)"},
            "Out of memory on this host (oom_kill_allocating_task): killed process",
        ),
        (
            {"constraint": 0, "trigger_cgroup": b"/tenants.slice/victim.service"},
            "Out of memory on this host: killed process 4242 (victim, victim.service); asked by 4240 (trigger)",
        ),
        ({"constraint": 1}, "Out of memory in a cpuset (limit 30.0M): killed process"),
        ({"constraint": 2}, "Out of memory under a memory policy (limit 30.0M): killed process"),
    ],
)
def test_other_domains_and_causes_are_told_apart(changes: dict[str, int | bytes], beginning: str) -> None:
    text = sentence(domain_cgroup=b"", domain_limit_pages=b"", **changes)
    assert text.startswith(beginning)


def test_a_limit_of_nothing_is_a_limit() -> None:
    assert "(limit 0B, an" in sentence(domain_limit_pages=0, total_pages=1)


def test_of_a_cgroup_without_a_limit_of_its_own_the_capacity_is_told() -> None:
    # Its parent's limit counts, or that of memory and swap together.
    assert "(limit 29.0M, an" in sentence(domain_limit_pages=(1 << 63) // 4096 - 1, total_pages=29 * 256)


def test_the_name_of_a_cgroup_can_neither_end_its_quotes_nor_push_the_rest_out() -> None:
    forged = b"x (limit 1.0G): killed process 1 (systemd)'; asked by 812 (nginx)"
    text = sentence(domain_cgroup=b"/u.slice/" + forged, victim_cgroup=b"/u.slice/" + forged, trigger_cgroup=b"")
    quoted = "/u.slice/x (limit 1.0G): killed process 1 (systemd)?; asked by 812 (nginx)"
    assert text.startswith(f"Out of memory in cgroup '{quoted}' (limit 30.0M): killed process 4242 (victim); ")
    long = sentence(domain_cgroup=b"/" + b"n" * 5000, victim_cgroup=b"/v")
    assert long.startswith(f"Out of memory in cgroup '...{'n' * 120}' (limit 30.0M): killed process 4242 (victim, ")
