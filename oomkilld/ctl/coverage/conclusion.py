# SPDX-License-Identifier: Apache-2.0
"""The verdict in words: what all findings together say."""

from collections.abc import Iterable, Sequence

from oomkilld.ctl.coverage.finding import Finding, Verdict
from oomkilld.text import counted

# Without these, nobody knows whether kills are recorded.
DECISIVE = ("service", "books")
_OF_THE_PAST = "books"


def unknown(findings: Iterable[Finding]) -> list[Finding]:
    """Those for which nobody knows whether kills are recorded. A service that starts comes first."""
    service = [each for each in findings if each.what == "service" and each.verdict is Verdict.WARN]
    return service + [each for each in findings if each.what in DECISIVE and each.verdict is Verdict.NOT_CHECKED]


def said(findings: Sequence[Finding], missed: int | None) -> str:
    """In one line; ``missed``: number of kills that were missed in this boot; None: unknown."""
    failures = [each.what for each in findings if each.verdict is Verdict.FAIL]
    sentences = []
    if now := [what for what in failures if what != _OF_THE_PAST]:
        sentences.append(f"A kill would not be recorded now: {_listed(now)}.")
    if _OF_THE_PAST in failures:
        kills = f"{counted(missed, 'kill was', 'kills were')} missed" if missed else "Entries of kills may be missing"
        sentences.append(f"{kills}: {_OF_THE_PAST}.")
    if sentences:
        return " ".join(sentences)
    if open_ones := unknown(findings):
        return f"Nobody knows whether kills are recorded: {_listed(each.what for each in open_ones)}."
    return "Kills on this machine are recorded."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
