# SPDX-License-Identifier: Apache-2.0
"""When to look after what is there within milliseconds, or, where journald is stopped, after hours."""

_FIRST_NS, _LAST_NS = 20 * 10**6, 2 * 10**9


class Looks:
    """Less and less often. ``next_ns``: when to look again (monotonic)."""

    def __init__(self) -> None:
        self.next_ns, self._after_ns = 0, _FIRST_NS

    def looked(self, now_ns: int) -> None:
        """And it was not there."""
        if now_ns >= self.next_ns:
            self.next_ns = now_ns + self._after_ns
            self._after_ns = min(2 * self._after_ns, _LAST_NS)
