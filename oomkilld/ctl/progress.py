# SPDX-License-Identifier: Apache-2.0
"""A bar on stderr, if somebody watches and it takes longer than a second."""

import os
import time
from collections.abc import Callable, Iterator

from oomkilld.ctl.entry import Entry
from oomkilld.text import counted

_STDERR = 2
_PATIENCE_SECONDS = 1.0
_EVERY_SECONDS = 0.1
_EVERY_ENTRIES = 256
_CELLS = 40


def shown(entries: Iterator[Entry], span_usec: Callable[[], tuple[int, int]]) -> Iterator[Entry]:
    """The same entries. ``span_usec``: when the first and the last one were received."""
    return _watched(entries, span_usec) if os.isatty(_STDERR) else entries


def _watched(entries: Iterator[Entry], span_usec: Callable[[], tuple[int, int]]) -> Iterator[Entry]:
    due = time.monotonic() + _PATIENCE_SECONDS
    bar: _Bar | None = None
    first = last = 0
    try:
        for count, entry in enumerate(entries):
            if count % _EVERY_ENTRIES == 0 and (now := time.monotonic()) >= due:
                due = now + _EVERY_SECONDS
                if bar is None:
                    bar = _Bar()
                    first, last = span_usec()
                bar.draw((entry.received_usec - first) / max(last - first, 1), count)
            yield entry
    finally:
        if bar is not None:
            bar.remove()


class _Bar:
    """``draw``: so much is done."""

    def draw(self, fraction: float, entries: int) -> None:
        done = round(min(max(fraction, 0.0), 1.0) * _CELLS)
        _write(f"\r[{'#' * done}{'.' * (_CELLS - done)}] {counted(entries, 'entry', 'entries')}")

    def remove(self) -> None:
        _write("\r\x1b[K")


def _write(text: str) -> None:
    os.write(_STDERR, text.encode())
