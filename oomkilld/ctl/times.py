# SPDX-License-Identifier: Apache-2.0
"""Times on the command line, by the grammar of systemd.time(7), and times for people."""

import re
import time

from oomkilld.errors import WrongArguments
from oomkilld.text import harmless

_USEC = 1_000_000
_HOUR, _DAY = 3600, 86400
_YEAR_10000 = 253_402_214_400  # a day before, for the zones that have it already
_SINCE_1970 = re.compile(r"@([0-9]{1,12})(?:\.([0-9]{1,6}))?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?: ([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?")
_WHOLE_SECOND = re.compile(r"^@[0-9]+$|[0-9]:[0-9]{2}:[0-9]{2}(?![.0-9])")
_ANALYZED = re.compile(r"UNIX seconds: @([0-9]+)(?:\.([0-9]{1,6}))?")
_GRAMMAR = "see systemd.time(7): such as '2026-11-27 13:00', 'yesterday', '-2h' or '@1795785812'"
_ALWAYS = "without systemd-analyze, only times such as '2026-11-27 13:00' and '@1795785812' are known"


def usec_of(text: str, option: str) -> int:
    """Microseconds since 1970. Raises WrongArguments.

    The usual forms are read here, because to start systemd-analyze takes longer than all the rest.
    """
    if found := _SINCE_1970.fullmatch(text):
        return _usec(found)
    if (found := _DATE.fullmatch(text)) and (usec := _local(found)) is not None:
        return usec
    return _analyzed(text, option)


def last_usec_of(text: str, option: str) -> int:
    """The same, for the end of a period: a second without a fraction, as a list shows it, belongs to it as a whole."""
    usec = usec_of(text, option)
    return usec + _USEC - 1 if _WHOLE_SECOND.search(text) else usec


def _usec(found: re.Match[str]) -> int:
    return int(found[1]) * _USEC + int((found[2] or "").ljust(6, "0"))


def _local(found: re.Match[str]) -> int | None:
    """None: no such day, or a minute that the clock had twice or skipped, about which systemd decides."""
    wanted = [int(part or 0) for part in found.groups()]
    stamps = set()
    for is_summer in (0, 1, -1):
        try:
            at = time.mktime((*wanted, 0, 0, is_summer))  # type: ignore[arg-type] # of six and three numbers
        except (OverflowError, ValueError):
            return None
        if list(time.localtime(at)[:6]) == wanted:
            stamps.add(int(at))
    return stamps.pop() * _USEC if len(stamps) == 1 else None


def _analyzed(text: str, option: str) -> int:
    import subprocess

    command = ["systemd-analyze", "timestamp", "--", text]
    try:
        run = subprocess.run(command, capture_output=True, check=False, text=True, errors="replace")  # noqa: S603 # no shell
    except (OSError, ValueError) as error:
        raise WrongArguments(f"{option}: found '{harmless(text)}', and {harmless(str(error))}", _ALWAYS) from None
    found = _ANALYZED.search(run.stdout)
    if run.returncode or found is None:
        raise WrongArguments(f"{option}: found '{harmless(text)}', expected a time", _GRAMMAR)
    return _usec(found)


class Clock:
    """Formats times, in the local zone or in UTC."""

    def __init__(self, *, utc: bool) -> None:
        self._broken_down = time.gmtime if utc else time.localtime
        self.zone = "UTC" if utc else ""

    def marked(self, text: str) -> str:
        """A time of this clock, for where no header names the zone: with ``UTC`` behind it."""
        return f"{text} {self.zone}" if self.zone else text

    def long(self, usec: int) -> str:
        """``2026-11-27 13:23:32``; ``-`` if the year has not four digits."""
        return self._format("%Y-%m-%d %H:%M:%S", usec)

    def short(self, usec: int) -> str:
        """``11-27 13:23:32``."""
        return self._format("%m-%d %H:%M:%S", usec)

    def day(self, usec: int) -> str:
        """``2026-11-27``."""
        return self._format("%Y-%m-%d", usec)

    def hour(self, usec: int) -> str:
        """``2026-11-27 13:00``; of one that the clock has twice also the offset: ``2026-10-25 02:00 +0200``."""
        return self._format("%Y-%m-%d %H:00 %z" if self._has_twice(usec) else "%Y-%m-%d %H:00", usec)

    def of_day(self, usec: int) -> str:
        """``13:23:32``."""
        return self._format("%H:%M:%S", usec)

    def _has_twice(self, usec: int) -> bool:
        """Whether the clock shows this hour, or a part of it, with another offset, too."""
        seconds = usec // _USEC
        if not 0 <= seconds < _YEAR_10000:
            return False
        shown = self._broken_down(seconds)
        begin = seconds - 60 * shown.tm_min - shown.tm_sec
        offsets = {self._broken_down(begin + day).tm_gmtoff for day in (-_DAY, _DAY)} - {shown.tm_gmtoff}
        # When the other offset shows the same hour: its first second, and its last, because a clock may change by half.
        others = [
            self._broken_down(edge + shown.tm_gmtoff - offset)
            for offset in offsets
            for edge in (begin, begin + _HOUR - 1)
        ]
        return any(other[:4] == shown[:4] and other.tm_gmtoff != shown.tm_gmtoff for other in others)

    def _format(self, form: str, usec: int) -> str:
        seconds = usec // _USEC
        return time.strftime(form, self._broken_down(seconds)) if 0 <= seconds < _YEAR_10000 else "-"
