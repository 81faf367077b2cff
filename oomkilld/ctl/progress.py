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
_MOST_CELLS = 40


def shown(entries: Iterator[Entry], span_usec: Callable[[], tuple[int, int]]) -> Iterator[Entry]:
    """The same entries. ``span_usec``: when the first and the last one were received."""
    return _watched(entries, span_usec) if os.isatty(_STDERR) else entries


def _watched(entries: Iterator[Entry], span_usec: Callable[[], tuple[int, int]]) -> Iterator[Entry]:
    due = time.monotonic() + _PATIENCE_SECONDS
    is_drawn = False
    first = last = 0
    try:
        for count, entry in enumerate(entries):
            if count % _EVERY_ENTRIES == 0 and (now := time.monotonic()) >= due:
                due = now + _EVERY_SECONDS
                if not is_drawn:
                    is_drawn = True
                    first, last = span_usec()
                _draw((entry.received_usec - first) / max(last - first, 1), count)
            yield entry
    finally:
        if is_drawn:
            _write("\r\x1b[K")


def _draw(fraction: float, entries: int) -> None:
    """So much is done."""
    said = counted(entries, "entry", "entries")
    # A line that is wrapped would stay. The last column remains empty, where some terminals wrap already.
    cells = max(0, min(_MOST_CELLS, _columns() - len(f"[] {said}") - 1))
    done = round(min(max(fraction, 0.0), 1.0) * cells)
    _write(f"\r[{'#' * done}{'.' * (cells - done)}] {said}")


def _columns() -> int:
    return os.get_terminal_size(_STDERR).columns or 80


def _write(text: str) -> None:
    os.write(_STDERR, text.encode())
