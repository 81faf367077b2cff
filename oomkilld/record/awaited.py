# SPDX-License-Identifier: Apache-2.0
"""What entries may have to wait for, as the loop sees it."""

from oomkilld.lighttyping import Protocol


class Awaited(Protocol):
    """See readback.ReadBack."""

    def fileno(self) -> int:
        """Readable: check() is needed."""

    @property
    def deadline_ns(self) -> int | None:
        """When check() is needed at the latest (monotonic); None: it is not."""

    def check(self) -> None:
        """Take what has come, and give up what is too late."""

    def end(self) -> None:
        """From now on nothing is waited for."""


class AwaitedLines(Awaited, Protocol):
    """See cmdlinereader.VictimReader."""

    @property
    def trouble(self) -> str:
        """Why some or all command lines of victims are not read now, or nothing."""
