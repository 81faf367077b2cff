# SPDX-License-Identifier: Apache-2.0
"""What the resident stage is told: the settings as they are now, with what arming found out."""

from oomkilld import levelnotes, redaction, settings
from oomkilld.arm.fingerprint import Wanted
from oomkilld.arm.levels import LEVELS
from oomkilld.handover import Arming, Order
from oomkilld.record.ring import ring_bytes
from oomkilld.settings import Settings

_NAMES = [level.name for level in LEVELS]


def order(loaded: Settings, arming: Arming, directory: levelnotes.Directory, *, kept: bool) -> Order:
    """``directory``: of the notes of the run before. ``kept``: see Order."""
    before = levelnotes.read_last(directory, _NAMES)
    return Order(
        arming=arming,
        kept=kept,
        level_before=before or (_NAMES[0] if loaded.capture.level == "auto" else loaded.capture.level),
        priority=settings.SYSLOG_LEVELS.index(loaded.entry.priority),
        log_priority=settings.SYSLOG_LEVELS.index(loaded.log.level),
        meminfo=None if loaded.entry.meminfo == "all" else loaded.entry.meminfo,
        outcome=loaded.entry.outcome,
        reduce_from=loaded.entry.reduce_from,
        cmdline=loaded.entry.cmdline,
        redact=redaction.expanded(loaded.entry.redact),
    )


def wanted(loaded: Settings, directory: levelnotes.Directory) -> Wanted:
    """What these settings ask of a probe, with the ceiling of this boot."""
    ceiling = levelnotes.read_ceiling(directory, _NAMES)
    return Wanted(
        level=loaded.capture.level,
        ring_bytes=ring_bytes(loaded.capture.ring_size),
        cmdline=loaded.entry.cmdline != "off",
        ceiling=ceiling.level if ceiling else None,
    )
