# SPDX-License-Identifier: Apache-2.0
"""The verb ``check``: whether a kill on this machine would be recorded now, and whether one was missed in this boot."""

import argparse
import os
import time
from pathlib import Path

from oomkilld.ctl.coverage import books, conclusion, configuration, journald, kernel, plugin, service
from oomkilld.ctl.coverage.finding import Finding, Verdict
from oomkilld.ctl.coverage.plugin import Examined
from oomkilld.ctl.output import Output
from oomkilld.ctl.thisboot import recorded
from oomkilld.host.levels import LEVELS
from oomkilld.host.procfs import ProcReader
from oomkilld.host.system import System
from oomkilld.service import rundir
from oomkilld.stderr import put
from oomkilld.text import harmless

_COVERED, _NOT_COVERED = 0, 1
_COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red", Verdict.NOT_CHECKED: "dim"}


def run(options: argparse.Namespace) -> int:
    """Return the exit status: 1 if a kill would be missed now, or was since the first start in this boot."""
    examined = _examine()
    if options.plugin:
        status, line = plugin.result(examined, time.time())
        put(f"{line}\n")
        return status
    with Output(options) as output:
        width = max(len(finding.what) for finding in examined.findings)
        for finding in examined.findings:
            verdict = output.coloured(f"{finding.verdict.value:<4}", _COLOURS[finding.verdict])
            output.line(f"{finding.what:<{width}}  {verdict}  {_said(finding)}".rstrip())
        output.line("")
        output.line(conclusion.said(examined.findings, books.missed(examined.status, examined.journal)))
    return _NOT_COVERED if any(each.verdict is Verdict.FAIL for each in examined.findings) else _COVERED


def _examine() -> Examined:
    root, is_root = Path("/"), os.geteuid() == 0
    unit = service.unit()
    status = service.status_of(unit.get("StatusText", "")) if unit and service.is_running(unit) else None
    asked = configuration.asked(root, is_root=is_root)
    journal = recorded(count=status is None)
    where = System(root) if is_root else kernel.AsTheService(root)
    ceiling = rundir.read_ceiling(rundir.RUNTIME_DIRECTORY, [level.name for level in LEVELS])
    holder = service.holder(root)
    findings = [
        *kernel.findings(where, asked.level, status.level if status else None, ceiling, is_root=is_root),
        *journald.findings(root, journald.settings(journald.files()), unit, asked.priority, is_root=is_root),
        asked.finding,
        *service.findings(unit, holder, is_root=is_root),
        *books.findings(status, ProcReader().oom_kills(), journal, runs=service.is_running(unit or {}) or bool(holder)),
    ]
    return Examined(findings, status, journal)


def _said(finding: Finding) -> str:
    return harmless("; ".join(filter(None, (finding.text, finding.hint))).replace("\n", " "))
