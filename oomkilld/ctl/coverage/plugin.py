# SPDX-License-Identifier: Apache-2.0
"""The findings as one line and an exit status, as monitoring plug-ins give them."""

from collections.abc import Sequence

from oomkilld.ctl.coverage import books
from oomkilld.ctl.coverage.books import Recorded
from oomkilld.ctl.coverage.conclusion import DECISIVE, unknown
from oomkilld.ctl.coverage.finding import Finding, Verdict
from oomkilld.ctl.coverage.service import Status
from oomkilld.lighttyping import NamedTuple
from oomkilld.text import harmless

_STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class Examined(NamedTuple):
    """The findings, and where the numbers come from; see books.findings()."""

    findings: Sequence[Finding]
    status: Status | None
    journal: Recorded | None


def result(examined: Examined, now: float) -> tuple[int, str]:
    """The exit status, and the line with reasons and numbers; ``now``: seconds since 1970."""
    findings = examined.findings
    if shown := [each for each in findings if each.verdict is Verdict.FAIL]:
        state = 2
    elif (shown := unknown(findings)) and shown[0].verdict is Verdict.NOT_CHECKED:
        state = 3
    elif shown := [each for each in findings if each.verdict is Verdict.WARN]:
        state = 1
    else:
        state, shown = 0, [each for each in findings if each.what in DECISIVE]
    said = "; ".join(f"{each.what}: {_said(each)}" for each in shown)
    # The only bar of the line is the one before the numbers.
    return state, f"OOMKILLD {_STATES[state]} - {harmless(said.replace('|', '/'))}|{_numbers(examined, now)}"


def _said(finding: Finding) -> str:
    is_checked = finding.verdict is not Verdict.NOT_CHECKED
    return finding.text if is_checked else f"{finding.verdict.value}, {finding.text}"


def _numbers(examined: Examined, now: float) -> str:
    """Of this boot; the age is that of the newest kill. U: unknown, or there is none."""
    status, journal = examined.status, examined.journal
    kills = status.kills if status is not None else None if journal is None else journal.kills
    newest = None if journal is None else journal.newest_usec
    age = None if newest is None else f"{max(0, int(now - newest / 1e6))}s"
    numbers = {"missed": books.missed(status, journal), "kills": kills, "age": age}
    return " ".join(f"{name}={'U' if value is None else value}" for name, value in numbers.items())
