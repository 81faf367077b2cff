# SPDX-License-Identifier: Apache-2.0
"""Makes the order to the resident stage from the current settings and the facts that arming established."""

from oomkilld.arm.fingerprint import Wanted
from oomkilld.config.validated import Chosen
from oomkilld.host.levels import NAMES
from oomkilld.service import rundir
from oomkilld.service.handover import Arming, Order
from oomkilld.service.notefile import Directory


def resident_order(chosen: Chosen, arming: Arming, directory: Directory, *, kept: bool) -> Order:
    """``directory``: holds the notes of the previous run. ``kept``: see Order."""
    return Order(
        arming=arming,
        kept=kept,
        level_before=rundir.read_last(directory, NAMES),
        recording=chosen.recording,
        instead=chosen.instead,
    )


def wanted_probe(chosen: Chosen, directory: Directory) -> Wanted:
    """The requirements of these settings on a probe, with the ceiling of this boot."""
    ceiling = rundir.read_ceiling(directory, NAMES)
    return Wanted(
        level=chosen.level,
        ring_bytes=chosen.ring_bytes,
        cmdline=chosen.recording.cmdline != "off",
        ceiling=ceiling.level if ceiling else None,
    )
