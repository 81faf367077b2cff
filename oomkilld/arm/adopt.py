# SPDX-License-Identifier: Apache-2.0
"""Takes over the probe of the previous run from the service manager: no compilation, and no kill was missed."""

import os
from collections.abc import Mapping

from oomkilld.arm import keptarming, keptfiles
from oomkilld.arm.fingerprint import Fingerprint
from oomkilld.arm.order import resident_order, wanted_probe
from oomkilld.config import validated
from oomkilld.host.system import System
from oomkilld.service import fdstore, rundir
from oomkilld.service.handover import Arming, hand_over
from oomkilld.service.notify import Notifier
from oomkilld.stderr import WARNING, say


def run(kept: fdstore.Kept, lock: int) -> validated.Chosen | None:
    """Become the resident stage if one of ``kept`` matches the current settings.

    Else returns the settings, or None if it has not loaded them. ``lock``: from take_lock. Raises OomkilldError.
    """
    if rundir.kept_is_bad(rundir.RUNTIME_DIRECTORY):
        return None
    settings = validated.load(rundir.lasting_directory())
    mark = Fingerprint(System()).mark(wanted_probe(settings, rundir.RUNTIME_DIRECTORY))
    fds = kept.get(mark, {})
    arming = _arming(fds)
    if arming is not None:
        fdstore.forget_others(Notifier(os.environ.get("NOTIFY_SOCKET")), kept, mark)
        given = {name: fds[name] for name in keptfiles.names(arming)}
        hand_over(resident_order(settings, arming, rundir.RUNTIME_DIRECTORY, kept=True), {"lock": lock, **given})
    return settings


def _arming(fds: Mapping[str, int]) -> Arming | None:
    """The facts about the probe of ``fds``. None: the files are not those of a complete probe, which may miss kills."""
    if fdstore.ARMING not in fds:
        return None
    arming = keptarming.read(fds[fdstore.ARMING])
    if arming is None:
        wrong: str | None = f"found {fdstore.ARMING} with other content, expected the facts that arming wrote"
    else:
        wrong = keptfiles.wrong(arming, fds)
    if wrong is None:
        return arming
    say(WARNING, f"Failed to take over the previous probe: {wrong}, attaching a new one")
    return None
