# SPDX-License-Identifier: Apache-2.0
"""Goes on with a probe that the manager kept of the run before: nothing is compiled, and no kill was missed."""

import os
from collections.abc import Mapping
from pathlib import Path

from oomkilld import levelnotes, store
from oomkilld.arm import chosen, orders
from oomkilld.arm.fingerprint import Fingerprint
from oomkilld.arm.lock import take_lock
from oomkilld.arm.system import System
from oomkilld.handover import Arming, hand_over, unseal_arming
from oomkilld.notify import Notifier

_DIRECTORY = Path(levelnotes.RUNTIME_DIRECTORY)


def run(kept: store.Kept) -> None:
    """Become the resident stage if one of ``kept`` is what the settings ask for now; else return.

    Raises OomkilldError.
    """
    if levelnotes.kept_is_bad(_DIRECTORY):
        return
    settings = chosen.load(_DIRECTORY)
    mark = Fingerprint(System()).mark(orders.wanted(settings, _DIRECTORY))
    fds = kept.get(mark, {})
    arming = _arming(fds)
    if arming is None:
        return
    lock = take_lock(_DIRECTORY)
    store.forget_others(Notifier(os.environ.get("NOTIFY_SOCKET")), kept, mark)
    given = {name: fd for name, fd in fds.items() if name != store.ARMING}
    hand_over(orders.order(settings, arming, _DIRECTORY, kept=True), {"lock": lock, **given})


def _arming(fds: Mapping[str, int]) -> Arming | None:
    """None: some of its files are missing, and so may be what they did."""
    if not {store.RING, store.COUNTERS, store.ARMING} <= fds.keys():
        return None
    try:
        arming = unseal_arming(fds[store.ARMING])
    except (ValueError, TypeError, EOFError):
        return None
    return arming if {store.probe(i) for i in range(arming.probes)} <= fds.keys() else None
