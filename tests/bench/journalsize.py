# SPDX-License-Identifier: Apache-2.0
"""The journal space that entries take. Runs in the guest."""

import subprocess
import tempfile
from pathlib import Path

from tests.support.journalfiles import written_bytes

_REMOTE = "/usr/lib/systemd/systemd-journal-remote"


def bytes_per_entry(*matches: str) -> float:
    """The average size of matching entries in a file of their own; at least two must match.

    Without the size of an empty file, and without what only its first entry needs.
    """
    one, all_of_them = _export("-n", "1", *matches), _export(*matches)
    count = all_of_them.count(b"__CURSOR=")
    return (_end(all_of_them) - _end(one)) / (count - 1)


def _export(*arguments: str) -> bytes:
    return subprocess.run(["journalctl", "--quiet", "-o", "export", *arguments], check=True, capture_output=True).stdout


def _end(entries: bytes) -> int:
    """The size of a file with these entries."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "remote.journal")
        subprocess.run([_REMOTE, f"--output={file}", "-"], input=entries, check=True, capture_output=True)
        return written_bytes(file)
