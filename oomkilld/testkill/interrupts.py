# SPDX-License-Identifier: Apache-2.0
"""Turns the signals that end a trial into one exception, never while a resource is created or removed."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from oomkilld.testkill.failure import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Made = TypeVar("Made")


class Interrupts:
    """Once created, raises Interrupted at the first SIGINT, SIGTERM or SIGHUP and ignores all later ones."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: int | None = None
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    @contextmanager
    def guarded(self, context: AbstractContextManager[Made]) -> Iterator[Made]:
        """Enter and leave ``context`` without interruption; a signal may interrupt the block inside."""
        with ExitStack() as stack:
            with self._hold():
                made = stack.enter_context(context)
            try:
                yield made
            finally:
                with self._hold():
                    stack.close()

    def ignore(self) -> None:
        """Ignore the signals from now on, also in programs that are started later."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def _hold(self) -> Iterator[None]:
        outer, self._held = self._held, True
        try:
            yield
        finally:
            self._held = outer
        if self._waiting is not None and not self._held:
            self._raise(self._waiting)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._held:
            self._waiting = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self.ignore()
        raise Interrupted(number)
