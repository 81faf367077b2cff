# SPDX-License-Identifier: Apache-2.0
"""The signals that end a trial become an exception, once, and never while something is made or taken away."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from trial.failure import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Made = TypeVar("Made")


class Interrupts:
    """From its making on, the first of SIGINT, SIGTERM and SIGHUP raises Interrupted; the others are ignored."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: int | None = None
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    @contextmanager
    def guarded(self, context: AbstractContextManager[Made]) -> Iterator[Made]:
        """``context``, entered and left as a whole; the block under it may be interrupted."""
        with ExitStack() as stack:
            with self._hold():
                made = stack.enter_context(context)
            try:
                yield made
            finally:
                with self._hold():
                    stack.close()

    def ignore(self) -> None:
        """The end has begun. Programs run from now on ignore them, too."""
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
