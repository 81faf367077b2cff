# SPDX-License-Identifier: Apache-2.0
"""Reads the kernel's log through /dev/kmsg, line by line, without ever waiting for one.

A record of it has a head, and text as the kernel wrote it: Documentation/ABI/testing/dev-kmsg.
"""

import os

from oomkilld.lighttyping import NamedTuple

# The kernel's own facility. It lets no writer of /dev/kmsg have it (devkmsg_write, kernel/printk/printk.c).
KERNEL = 0
_FRAGMENT = b"c"
_CALLER = b"caller="

# CONSOLE_EXT_LOG_MAX, kernel/printk/printk.c: a record that does not fit is refused.
_RECORD_BYTES = 8192


class Line(NamedTuple):
    """One line of the kernel's log. ``usec``: by printk's own clock, which is none of those that user space has."""

    usec: int
    text: bytes
    facility: int = KERNEL
    fragment: bool = False  # more of a line before, which was cut
    after_gap: bool = False  # lines right before it are lost
    number: int = 0  # of this boot's lines, from 0
    caller: bytes = b""  # who wrote it, where that is told: ``T42`` a thread, ``C1`` a CPU


def parse(raw: bytes) -> Line | None:
    """``6,1234,5678901,-;text``, then perhaps lines of properties. None: it is no such record."""
    head, semicolon, rest = raw.partition(b";")
    words = head.split(b",")
    if not semicolon or len(words) < 4 or not all(word.isdigit() for word in words[:3]):
        return None
    # A newline of the text itself is escaped: the first one ends it.
    text = unescaped(rest.partition(b"\n")[0])
    caller = next((word.removeprefix(_CALLER) for word in words[4:] if word.startswith(_CALLER)), b"")
    fragment = words[3] == _FRAGMENT
    return Line(int(words[2]), text, int(words[0]) >> 3, fragment, number=int(words[1]), caller=caller)


def unescaped(text: bytes) -> bytes:
    r"""``\x5c`` is the byte it stands for; anything else stands for itself."""
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
            line = parse(raw)
            if line is not None:
                gap, self._gap = self._gap, False
                return line._replace(after_gap=gap)
