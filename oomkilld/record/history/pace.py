# SPDX-License-Identifier: Apache-2.0
"""How often to sample: every second for a minute after a sign of trouble, and otherwise with the loop's tick.

A minute later it goes on only if something grows without its page cache: a cgroup full of cache stays at its limit for
ever, and available memory may be low for ever. Otherwise the signs that began it count again only after REST_NS.
"""

FAST_NS = 60 * 10**9
# Another sign during that minute makes it last at least this much longer.
LEAST_NS = 30 * 10**9
REST_NS = 300 * 10**9
# Available memory in percent of all: from where on it is low, and above which it is not any more.
_LOW, _ENOUGH = 10, 12
# It falls fast if in one step it loses this part, or in a minute, at the end of a fast time, that part of all memory.
_FALL_SHARE = 8
_GROWTH_SHARE = 128

# Signs of trouble; others are paths of cgroups, which begin with a slash.
HOST, STALL, GROWTH = b"host", b"stall", b"growth"
# So many paths are told apart at a time, and all others are one sign: anyone may be killed in ever new cgroups.
MAX_PATHS = 256
_OTHERS = b"/"


class Pace:
    """Times are nanoseconds of CLOCK_BOOTTIME. ``is_fast``: sample every second."""

    def __init__(self) -> None:
        self.is_fast = False
        self._until_ns = 0
        self._signs: set[bytes] = set()  # of this fast time
        self._rests: dict[bytes, int] = {}  # until when a sign does not count
        self._available: int | None = None  # at the last sample
        self._available_before: int | None = None  # when the fast time began, or was prolonged
        self._is_low = True  # low at the first sample: nothing has happened

    def stir(self, sign: bytes, now_ns: int) -> bool:
        """A sign of trouble. Returns whether a fast time begins with it."""
        sign = self._told_apart(sign)
        # One that comes again and again, as where a cgroup is killed every few seconds, does not keep it fast.
        if now_ns < self._rests.get(sign, 0) or sign in self._signs:
            return False
        self._signs.add(sign)
        begins = not self.is_fast
        if begins:
            self.is_fast = True
            self._available_before = self._available
        self._until_ns = max(self._until_ns, now_ns + (FAST_NS if begins else LEAST_NS))
        return begins

    def rests(self, sign: bytes, now_ns: int) -> bool:
        """Whether that sign does not count now."""
        return now_ns < self._rests.get(self._told_apart(sign), 0)

    def _told_apart(self, sign: bytes) -> bytes:
        is_known = sign in self._signs or sign in self._rests or not sign.startswith(b"/")
        return sign if is_known or len(self._signs) + len(self._rests) < MAX_PATHS else _OTHERS

    def is_over(self, now_ns: int) -> bool:
        """Whether the fast time has lasted long enough: then call prolong() or end()."""
        return self.is_fast and now_ns >= self._until_ns

    def prolong(self, now_ns: int) -> None:
        """Something grows."""
        self._until_ns = now_ns + FAST_NS
        self._available_before = self._available

    def end(self, now_ns: int) -> None:
        """Nothing grows: back to the tick."""
        self.is_fast = False
        self._rests = {sign: until for sign, until in self._rests.items() if until > now_ns}
        self._rests.update(dict.fromkeys(self._signs, now_ns + REST_NS))
        self._signs.clear()

    def available(self, available: int | None, total: int | None) -> bool:
        """The machine's sizes in a new sample, None: unknown. Returns whether they are a sign of trouble."""
        if available is None or not total:
            return False
        before, self._available = self._available, available
        was_low = self._is_low
        if available * 100 < total * _LOW:
            self._is_low = True
        elif before is None or available * 100 >= total * _ENOUGH:
            self._is_low = False
        falls = before is not None and (before - available) * _FALL_SHARE >= before > 0
        return falls or (self._is_low and not was_low)

    def machine_shrinks(self, total: int | None) -> bool:
        """Whether available memory has fallen since the fast time began or was prolonged."""
        before, now = self._available_before, self._available
        return before is not None and now is not None and bool(total) and (before - now) * _GROWTH_SHARE >= (total or 0)
