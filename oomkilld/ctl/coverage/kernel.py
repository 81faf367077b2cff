# SPDX-License-Identifier: Apache-2.0
"""Which capture levels this kernel offers, and what they need of it."""

from collections.abc import Collection, Iterator

from oomkilld.ctl.coverage.finding import Finding, Verdict, not_checked, ok, warn, warn_of
from oomkilld.errors import NoPrivilege, OomkilldError
from oomkilld.host import levels
from oomkilld.host.levels import LEVELS, Level
from oomkilld.host.system import System
from oomkilld.service.rundir import Ceiling

_KERNEL_LOG = "kmsg"
# How much a level lacks, see README: the first two lack nothing, so either will do.
_LACKS = {"kprobe": 0, "fentry": 0, "tracepoint": 1, "kmsg": 2}


class AsTheService(System):
    """The system when another user than root asks: the service has the capabilities that this process lacks."""

    def missing_capabilities(self, wanted: Collection[str]) -> list[str]:  # noqa: ARG002
        """None."""
        return []


def findings(
    where: System, setting: str, in_force: str | None, ceiling: Ceiling | None = None, *, is_root: bool
) -> Iterator[Finding]:
    """``where``: AsTheService, unless this process is root. ``setting``: of capture.level.

    ``in_force``: the level at which the service runs; None: unknown, or it does not. ``ceiling``: the best level that
    may be tried in this boot; None: any. Raises OSError if memory or files are exhausted.
    """
    yield from _levels(where, setting, in_force, ceiling, is_root=is_root)
    found = levels.type_information(where, {})
    yield ok("BTF", "there") if found is None else warn_of("BTF", found)
    yield _privileges(where, is_root=is_root)
    found = levels.lockdown(where, {})
    yield ok("lockdown", where.lockdown()) if found is None else warn_of("lockdown", found)


def _levels(
    where: System, setting: str, in_force: str | None, ceiling: Ceiling | None, *, is_root: bool
) -> Iterator[Finding]:
    symbols = where.symbols(levels.wanted_symbols())
    obstacles = {level.name: level.obstacle(where, symbols) for level in LEVELS}
    names = [level.name for level in LEVELS]
    aside = names[: names.index(ceiling.level)] if ceiling is not None else []
    unseen = [name for name, found in obstacles.items() if not is_root and _only_root_knows(where, found)]
    free = [name for name, found in obstacles.items() if not found and name not in aside]
    works = [level.name for level in levels.wanted_levels(setting) if level.name in (in_force, *free)]
    for level in LEVELS:
        what, obstacle = f"level {level.name}", obstacles[level.name]
        if level.name == in_force:
            yield ok(what, "in force")
        elif setting not in ("auto", level.name):
            yield ok(what, f"not wanted: capture.level is {setting}")
        elif level.name in aside and ceiling is not None:
            yield warn_of(what, levels.unreliable(ceiling.reason))
        elif level.name in unseen:
            yield not_checked(what)
        elif obstacle is None:
            yield _available(what, level, in_force)
        elif level.name == _KERNEL_LOG and works:
            yield warn(what, f"{obstacle.message}, so no kill can be found that the probe missed", obstacle.hint)
        elif works and _lacks_as_little(works[0], level.name):
            yield ok(what, f"not needed, there is {works[0]} ({obstacle.message})")
        else:
            verdict = Verdict.WARN if works or unseen else Verdict.FAIL
            yield Finding(what, verdict, obstacle.message, obstacle.hint)


def _available(what: str, level: Level, in_force: str | None) -> Finding:
    if in_force is None or _lacks_as_little(in_force, level.name):
        return ok(what, "available")
    return warn(
        what,
        f"not in force, although nothing is known to be in its way: the service runs at level {in_force}",
        "`journalctl -b -t oomkilld` says why",
    )


def _lacks_as_little(one: str, other: str) -> bool:
    return _LACKS[one] <= _LACKS[other]


def _only_root_knows(where: System, obstacle: OomkilldError | None) -> bool:
    return isinstance(obstacle, NoPrivilege) and not where.in_user_namespace()


def _privileges(where: System, *, is_root: bool) -> Finding:
    what = "privileges"
    if not is_root and not where.in_user_namespace():
        return not_checked(what)
    for found in (levels.bpf_privilege(where, {}), levels.kprobe_privilege(where, {})):
        if found is not None:
            return warn_of(what, found)
    return ok(what, "enough for every level")
