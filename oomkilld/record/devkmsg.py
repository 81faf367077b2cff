# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel's log through /dev/kmsg, line by line, without ever waiting for one."""

import os

from oomkilld.record import kmsg
from oomkilld.record.kmsg import Line

# CONSOLE_EXT_LOG_MAX, kernel/printk/printk.c: a record that does not fit is refused.
_RECORD_BYTES = 8192


class DevKmsg:
    """The log behind ``fd``, which does not block, from now on. ``fd`` becomes readable with every line.

    ``from_start``: from the oldest line that it holds on, wherever ``fd`` was read to.
    """

    def __init__(self, fd: int, *, from_start: bool = False) -> None:
        self._fd = fd
        self._gap = False
        os.lseek(fd, 0, os.SEEK_SET if from_start else os.SEEK_END)

    def fileno(self) -> int:
        """See above."""
        return self._fd

    def skip(self) -> None:
        """Go on with what is written from now on."""
        os.lseek(self._fd, 0, os.SEEK_END)
        self._gap = True

    def read(self) -> Line | None:
        """The next line; None: there is none yet."""
        while True:
            try:
                raw = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                return None
            except BrokenPipeError:  # written over before it was read; the next read is of what is left
                self._gap = True
                continue
            line = kmsg.parse(raw)
            if line is not None:
                gap, self._gap = self._gap, False
                return line._replace(after_gap=gap)
