# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel log through /dev/kmsg, line by line, and never blocks.

Each record has a head, and the text as the kernel wrote it: Documentation/ABI/testing/dev-kmsg.
"""

import os

from oomkilld.lighttyping import NamedTuple

# The kernel's own facility. No writer of /dev/kmsg can use it (devkmsg_write, kernel/printk/printk.c).
KERNEL = 0
_FRAGMENT = b"c"
_CALLER = b"caller="

# CONSOLE_EXT_LOG_MAX, kernel/printk/printk.c: a read fails if the record does not fit into the buffer.
_RECORD_BYTES = 8192


class Line(NamedTuple):
    """One line of the kernel log. ``usec``: by printk's own clock, which user space cannot read."""

    usec: int
    text: bytes
    facility: int = KERNEL
    fragment: bool = False  # continues an earlier line
    after_gap: bool = False  # lines right before it were lost
    number: int = 0  # sequence number in this boot, from 0
    caller: bytes = b""  # the writer, if recorded: ``T42`` a thread, ``C1`` a CPU


def parse(raw: bytes) -> Line | None:
    """``6,1234,5678901,-;text``, then perhaps lines of properties. None: not such a record."""
    head, semicolon, rest = raw.partition(b";")
    words = head.split(b",")
    if not semicolon or len(words) < 4 or not all(word.isdigit() for word in words[:3]):
        return None
    # Newlines in the text are escaped, so the first one ends it.
    text = unescaped(rest.partition(b"\n")[0])
    caller = next((word.removeprefix(_CALLER) for word in words[4:] if word.startswith(_CALLER)), b"")
    fragment = words[3] == _FRAGMENT
    return Line(int(words[2]), text, int(words[0]) >> 3, fragment, number=int(words[1]), caller=caller)


def unescaped(text: bytes) -> bytes:
    r"""Decode each ``\x5c`` to the byte that it stands for; keep everything else."""
    first, *rest = text.split(b"\\x")
    parts = [first]
    for part in rest:
        digits = part[:2]
        if len(digits) == 2 and all(digit in b"0123456789abcdef" for digit in digits):
            parts.append(bytes((int(digits, 16),)) + part[2:])
        else:
            parts.append(b"\\x" + part)
    return b"".join(parts)


class DevKmsg:
    """The log behind ``fd``, which must not block, from now on. ``fd`` becomes readable with every line.

    ``from_start``: from the oldest line that the kernel still holds, wherever ``fd`` was.
    """

    def __init__(self, fd: int, *, from_start: bool = False) -> None:
        self._fd = fd
        self._gap = False
        os.lseek(fd, 0, os.SEEK_SET if from_start else os.SEEK_END)

    def fileno(self) -> int:
        return self._fd

    def skip(self) -> None:
        """Continue with the lines that are written from now on."""
        os.lseek(self._fd, 0, os.SEEK_END)
        self._gap = True

    def read(self) -> Line | None:
        """The next line; None: there is none yet."""
        while True:
            try:
                raw = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                return None
            except BrokenPipeError:  # overwritten before it was read; the next read returns what is left
                self._gap = True
                continue
            line = parse(raw)
            if line is not None:
                gap, self._gap = self._gap, False
                return line._replace(after_gap=gap)
