# SPDX-License-Identifier: Apache-2.0
"""One finding of the check: what was examined, the verdict, why, and what to do."""

from enum import Enum

from oomkilld.errors import OomkilldError
from oomkilld.lighttyping import NamedTuple


class Verdict(Enum):
    """FAIL: a kill would be missed now, or was. WARN: less is recorded than could be, or this may change."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    NOT_CHECKED = "not checked"


class Finding(NamedTuple):
    """``what``: was examined. ``text``: what was found. ``hint``: what to do about it."""

    what: str
    verdict: Verdict
    text: str = ""
    hint: str = ""


def ok(what: str, text: str) -> Finding:
    """As it should be."""
    return Finding(what, Verdict.OK, text)


def warn(what: str, text: str, hint: str) -> Finding:
    """See Verdict."""
    return Finding(what, Verdict.WARN, text, hint)


def fail(what: str, text: str, hint: str) -> Finding:
    """See Verdict."""
    return Finding(what, Verdict.FAIL, text, hint)


def not_checked(what: str, text: str = "only root can see it", hint: str = "run as root") -> Finding:
    """Nobody knows whether it is as it should be."""
    return Finding(what, Verdict.NOT_CHECKED, text, hint)


def warn_of(what: str, obstacle: OomkilldError) -> Finding:
    """An obstacle to a start of the service."""
    return warn(what, obstacle.message, obstacle.hint)
