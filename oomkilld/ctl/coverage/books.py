# SPDX-License-Identifier: Apache-2.0
"""Whether every kill of this boot that the kernel counted is accounted for."""

from collections.abc import Iterator, Mapping

from oomkilld.ctl.coverage.finding import Finding, fail, not_checked, ok, warn
from oomkilld.ctl.coverage.service import Status
from oomkilld.lighttyping import NamedTuple
from oomkilld.schema import BEFORE_FIRST_START, UNCONFIRMED
from oomkilld.text import counted

_WHAT = "books"
_WHY = "`journalctl -b -t oomkilld OOM_EVENT=missed` says why"


# Nobody had asked for the service yet; and kills of which there is no trace but the kernel's count.
_NO_FAILURES = (BEFORE_FIRST_START, UNCONFIRMED)


class Recorded(NamedTuple):
    """What the journal has of this boot. ``kills``: None: not counted. ``missed``: kills without an entry, by reason.

    ``newest_usec``: when the newest kill happened; None: there is none. ``suppressed``: entries of the service that
    journald dropped, because they were too many.
    """

    kills: int | None
    newest_usec: int | None
    missed: Mapping[str, int]
    suppressed: int


_NOTHING = Recorded(None, None, {}, 0)


def missed(status: Status | None, journal: Recorded | None) -> int | None:
    """Number of kills that were missed since the first start in this boot; None: unknown.

    The journal may have lost entries about missed kills, and may have one of them twice. The status line does not say
    which kills happened before the first start. If the journal has more of these than the status line counts, the
    service has begun its counts anew, as after /run/oomkilld was removed, and only the journal has those of before.
    """
    if status is None:
        return None if journal is None else sum(_failures(journal).values())
    if not status.missing:
        return 0
    if journal is None:
        return None
    since_first_start = status.missing - sum(journal.missed.get(reason, 0) for reason in _NO_FAILURES)
    return since_first_start if since_first_start >= 0 else sum(_failures(journal).values())


def _failures(journal: Recorded) -> dict[str, int]:
    return {reason: number for reason, number in journal.missed.items() if reason not in _NO_FAILURES}


def findings(
    status: Status | None, kernel_count: int | None, journal: Recorded | None, *, runs: bool
) -> Iterator[Finding]:
    """``kernel_count``: the kernel's own count of kills since boot; None: it has none.

    ``status``: of the running service; None: it does not run, or there is no status line. ``runs``: whether it does.
    ``journal``: None: this user may not read it.
    """
    lost = missed(status, journal)
    if journal is not None and journal.suppressed:
        text = f"journald dropped {counted(journal.suppressed, 'entry', 'entries')} of the service in this boot"
        yield fail(_WHAT, text, "raise RateLimitBurst=, see journald.conf(5)")
    if lost:
        reasons = _failures(journal or _NOTHING)
        said = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
        yield fail(_WHAT, f"{counted(lost, 'kill')} missed in this boot ({said or 'for an unknown reason'})", _WHY)
    elif lost is None:
        yield not_checked(_WHAT)
    elif status is not None:
        yield _balance(status, kernel_count, journal)
    elif journal is not None:
        text = f"the journal has {counted(journal.kills or 0, 'kill')} of this boot"
        if runs:
            yield ok(_WHAT, f"{text}; the service shows no counts to compare")
        else:
            yield not_checked(_WHAT, f"{text}; nobody compares it with the kernel's count while no service runs", "")


def _balance(status: Status, kernel_count: int | None, journal: Recorded | None) -> Finding:
    text = f"{counted(status.kills, 'kill')} recorded, {counted(status.repeats, 'repeat')}, {status.missing} missing"
    unconfirmed = (journal or _NOTHING).missed.get(UNCONFIRMED, 0)
    if status.searching:
        return warn(_WHAT, f"{text}; searching the kernel log for {status.searching}", "check again in a minute")
    if kernel_count is None:
        return ok(_WHAT, f"{text}; this kernel has no count to compare")
    if (open_kills := kernel_count - status.kills - status.repeats - status.missing) > 0:
        more = f"{text}; the kernel counted {counted(open_kills, 'kill')} more"
        return warn(_WHAT, more, "the service compares every 12 s: check again in a minute")
    if unconfirmed:
        return warn(_WHAT, f"{text}; only the kernel's count has {unconfirmed} of them ({UNCONFIRMED})", _WHY)
    return ok(_WHAT, f"{text}; the kernel counted {kernel_count}")
