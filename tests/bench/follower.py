# SPDX-License-Identifier: Apache-2.0
"""A reader of the journal that reports when it could read each entry. Runs in the guest as a process of its own.

It polls every two milliseconds. sd_journal_wait() would measure journald's timer, which notifies readers up to 250 ms
after the entry is there.
"""

import json
import re
import sys
import time

from systemd import journal

_POLL_SECONDS = 0.002
_KERNEL_LINE = re.compile(rb"Killed process (\d+) \(")


def main() -> None:
    """Print ``["entry" or "line", thread, seen, killed]`` for each kill, times in µs of CLOCK_BOOTTIME, without end."""
    reader = journal.Reader()
    reader.seek_tail()
    reader.get_previous()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        if not reader._next():
            reader.wait(_POLL_SECONDS)
            continue
        seen = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        if (found := _kill(reader)) is not None:
            sys.stdout.write(json.dumps([found[0], found[1], seen, found[2]]) + "\n")
            sys.stdout.flush()


def _kill(reader: journal.Reader) -> tuple[str, int, int] | None:
    try:
        message = reader._get("MESSAGE")
        if b"illed process" not in message:
            return None
        if reader._get("_TRANSPORT") == b"kernel":
            line = _KERNEL_LINE.search(message)
            return None if line is None else ("line", int(line[1]), 0)
        return "entry", int(reader._get("OOM_VICTIM_TID")), int(reader._get("OOM_BOOTTIME_TIMESTAMP"))
    except KeyError:  # an entry about something else
        return None


if __name__ == "__main__":
    main()
