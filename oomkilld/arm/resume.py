# SPDX-License-Identifier: Apache-2.0
"""Goes on with a probe that the manager kept of the run before: nothing is compiled, and no kill was missed."""

import os
from collections.abc import Mapping
from pathlib import Path

from oomkilld import levelnotes, store
from oomkilld.arm import chosen, keptarming, keptfiles, orders
from oomkilld.arm.fingerprint import Fingerprint
from oomkilld.arm.system import System
from oomkilld.console import WARNING, say
from oomkilld.handover import Arming, hand_over
from oomkilld.notify import Notifier

_DIRECTORY = Path(levelnotes.RUNTIME_DIRECTORY)


def run(kept: store.Kept, lock: int) -> chosen.Chosen | None:
    """Become the resident stage if one of ``kept`` is what the settings ask for now; else return them, once loaded.

    ``lock``: of take_lock. Raises OomkilldError.
    """
    if levelnotes.kept_is_bad(_DIRECTORY):
        return None
    settings = chosen.load(_DIRECTORY)
    mark = Fingerprint(System()).mark(orders.wanted(settings, _DIRECTORY))
    fds = kept.get(mark, {})
    arming = _arming(fds)
    if arming is not None:
        store.forget_others(Notifier(os.environ.get("NOTIFY_SOCKET")), kept, mark)
        given = {name: fds[name] for name in keptfiles.names(arming)}
        hand_over(orders.order(settings, arming, _DIRECTORY, kept=True), {"lock": lock, **given})
    return settings


def _arming(fds: Mapping[str, int]) -> Arming | None:
    """None: they are not those of a probe, all of them, and what they did may be missing."""
    if store.ARMING not in fds:
        return None
    arming = keptarming.read(fds[store.ARMING])
    if arming is None:
        wrong: str | None = f"found {store.ARMING} with something else, expected what arming wrote"
    else:
        wrong = keptfiles.wrong(arming, fds)
    if wrong is None:
        return arming
    say(WARNING, f"Failed to take over the probe of the run before: {wrong}, arming anew")
    return None
