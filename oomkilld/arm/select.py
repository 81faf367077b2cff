# SPDX-License-Identifier: Apache-2.0
"""Selects the best capture level that works, and records why the better ones do not."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from oomkilld.arm.armed import Armed, Found, Made
from oomkilld.arm.order import wanted_probe
from oomkilld.config.validated import Chosen
from oomkilld.errors import CaptureBroken, CaptureUnavailable, NoPrivilege, OomkilldError
from oomkilld.host.levels import NAMES, Level, unreliable, wanted_levels
from oomkilld.service import rundir
from oomkilld.service.handover import Arming
from oomkilld.service.rundir import Ceiling
from oomkilld.text import grouped


def arm_wanted(
    settings: Chosen,
    obstacles: dict[str, OomkilldError],
    found: Found,
    arm: Callable[[Level], Armed | None],
) -> Made:
    """Let ``arm`` attach the best level that the settings and the ceiling allow. Raises the errors of arm_best."""
    wanted = wanted_probe(settings, rundir.RUNTIME_DIRECTORY)
    levels = wanted_levels(wanted.level)
    # A level that the settings name is tried even if an earlier run set it aside.
    aside = set_aside(levels, rundir.read_ceiling(rundir.RUNTIME_DIRECTORY, NAMES)) if len(levels) > 1 else {}
    known = aside | obstacles
    try:
        best = arm_best(levels, known, arm)
    except (CaptureBroken, CaptureUnavailable, NoPrivilege):
        if not aside:
            raise
        best, known = arm_best(levels, obstacles, arm), {}
    arming = Arming(
        level=best.level,
        level_failures=best.failures,
        level_below=level_below(best.level, levels, obstacles),
        exact=next(level.exact for level in levels if level.name == best.level),
        ring_bytes=wanted.ring_bytes,
        probes=len(best.armed.probes) if best.armed else 0,
        made_boottime_ns=found.asked_boottime_ns,
        kills_before=found.kills,
        constraints=found.constraints,
        gfp_names=found.gfp_names,
    )
    return Made(settings, arming, best.armed, by_obstacles=best.failures.keys() <= known.keys())


class Best(NamedTuple):
    """The level that works, its probe, if any, and why each better level, by name, does not work."""

    level: str
    armed: Armed | None
    failures: dict[str, str]


def arm_best(
    levels: Sequence[Level], obstacles: Mapping[str, OomkilldError], arm: Callable[[Level], Armed | None]
) -> Best:
    """The first of ``levels``, best first, that has no obstacle and that ``arm`` attaches.

    Raises the error of ``none_works`` if none does; and NoRoom at once, because that does not depend on the level.
    """
    failures = dict(obstacles)
    for level in levels:
        if level.name in obstacles:
            continue
        try:
            armed = arm(level)
        except (CaptureBroken, CaptureUnavailable, NoPrivilege) as error:
            failures[level.name] = error
        else:
            better = [each.name for each in levels[: levels.index(level)]]
            return Best(level.name, armed, {name: failures[name].message.splitlines()[0] for name in better})
    raise none_works({level.name: failures[level.name] for level in levels})


def set_aside(levels: Sequence[Level], ceiling: Ceiling | None) -> dict[str, OomkilldError]:
    """An obstacle for each level better than the ceiling of this boot."""
    names = [level.name for level in levels]
    better = names[: names.index(ceiling.level)] if ceiling is not None and ceiling.level in names else []
    reason = "" if ceiling is None else ceiling.reason
    return {name: unreliable(reason) for name in better}


def level_below(best: str, levels: Sequence[Level], obstacles: Collection[str]) -> str | None:
    """The level to step down to if the active level proves unreliable; None: there is none."""
    names = [level.name for level in levels]
    return next((name for name in names[names.index(best) + 1 :] if name not in obstacles), None)


def none_works(failures: Mapping[str, OomkilldError]) -> OomkilldError:
    """One error with the messages of all levels, best first.

    Its class is the one that is easiest to fix: a missing privilege before a bug, a bug before a missing feature.
    """
    errors = list(failures.values())
    if len({error.message for error in errors}) == 1:
        return errors[0]
    kind = next(kind for kind in (NoPrivilege, CaptureBroken, CaptureUnavailable) if kind in map(type, errors))
    lines = grouped({name: error.message for name, error in failures.items()})
    hints = grouped({name: error.hint for name, error in failures.items()})
    return kind("\n".join(["no capture level works on this system", *lines]), "\n".join(hints))
