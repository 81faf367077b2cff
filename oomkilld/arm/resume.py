# SPDX-License-Identifier: Apache-2.0
"""Goes on with a probe that the manager kept of the run before: nothing is compiled, and no kill was missed."""

import os
from collections.abc import Mapping
from pathlib import Path

from oomkilld import levelnotes, store
from oomkilld.arm import chosen, keptarming, orders
from oomkilld.arm.fingerprint import Fingerprint
from oomkilld.arm.system import System
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
        given = {name: fds[name] for name in _names(arming)}
        hand_over(orders.order(settings, arming, _DIRECTORY, kept=True), {"lock": lock, **given})
    return settings


def _arming(fds: Mapping[str, int]) -> Arming | None:
    """None: some of its files are missing, and so may be what they did."""
    if store.ARMING not in fds:
        return None
    arming = keptarming.read(fds[store.ARMING])
    return arming if arming is not None and fds.keys() >= set(_names(arming)) else None


def _names(arming: Arming) -> list[str]:
    """Of the files that the resident stage is given: whatever else was kept is not."""
    return [store.RING, store.COUNTERS, *map(store.probe, range(arming.probes))]
