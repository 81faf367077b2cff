# SPDX-License-Identifier: Apache-2.0
"""Writes lines to stdout: in a pipe plain text; on a terminal with colours, through a pager, to its width."""

import os
import signal
from argparse import Namespace

from oomkilld.ctl.columns import filled
from oomkilld.errors import OutputFailed
from oomkilld.lighttyping import Self
from oomkilld.stderr import put

_STDOUT = 1
_BUFFER_CHARACTERS = 1 << 16
_DIGITS = 9  # of $COLUMNS: Python reads no number of 5,000
_LESS = "FRSXMK"  # as systemd's own programs
_PAGERS = (["less"], ["more"])
_NO = ("0", "no", "n", "false", "f", "off")
_YES = ("1", "yes", "y", "true", "t", "on")
_CUT = "Names are cut; -a shows them in full."
_LEFT_OUT = "Columns are left out; -a shows all."
_COLOURS = {"bold": "1", "dim": "2", "underline": "4", "red": "31", "yellow": "33", "green": "32"}


class Output:
    """A context: at its end, everything is written, and the pager has ended. ``live``: each line is written at once."""

    def __init__(self, options: Namespace, *, live: bool = False) -> None:
        self.is_terminal = os.isatty(_STDOUT)
        self.width = _terminal_width() if self.is_terminal and not getattr(options, "full", False) else None
        self._has_colours = _has_colours(options.color, is_terminal=self.is_terminal)
        self._wants_pager = self.is_terminal and not live and not options.no_pager and not _is_dumb()
        self._is_quiet = options.quiet
        self._hint = ""
        self._is_live = live or self.is_terminal
        self._pager: tuple[str, int] | None = None
        self._to = _STDOUT
        self._lines: list[str] = []
        self._characters = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Raises OutputFailed."""
        try:
            self.flush()
        finally:
            if self._pager is not None:
                os.close(self._to)
                _await(*self._pager)

    def line(self, text: str) -> None:
        """Write a line."""
        self._lines.append(text)
        self._characters += len(text)
        if self._is_live or self._characters > _BUFFER_CHARACTERS:
            self.flush()

    def coloured(self, text: str, colour: str) -> str:
        """Colours are a matter of lines that are not cut any more."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._has_colours else text

    def noted(self, name: str, shown: str) -> str:
        """What is shown of a name: if that is less, hint() says so."""
        if shown != name:
            self._hint = self._hint or _CUT
        return shown

    def leave_out(self) -> None:
        """A column is not shown: hint() says so."""
        self._hint = _LEFT_OUT

    def legend(self, total: str, lacks: str, gaps: str) -> None:
        """Write a list's end: ``9 kills. The list lacks 3 kills without an entry.``, if need be in several lines."""
        self.line("")
        rest = f"{lacks} {gaps}."
        if not gaps:
            self.line(total)
        elif self.width is None or len(f"{total} {rest}") <= self.width:
            self.line(f"{total} {self.coloured(rest, 'yellow')}")
        else:
            self.line(total)
            for text in filled(rest.split(), self.width):
                self.line(self.coloured(text, "yellow"))
        self.hint()

    def hint(self, *before: str) -> None:
        """If something was cut or left out, write the lines ``before``, and how to see it; with ``-q`` nothing."""
        if self._hint and not self._is_quiet:
            for text in (*before, self._hint):
                self.line(text)

    def flush(self) -> None:
        """Write what is buffered. Raises OutputFailed."""
        if not self._lines:
            return
        if self._wants_pager:
            self._wants_pager = False
            self._start_pager()
        text = "\n".join(self._lines) + "\n"
        self._lines.clear()
        self._characters = 0
        try:
            put(text, self._to)
        except OutputFailed:
            if self._pager is None:
                raise
            raise SystemExit(0) from None  # the reader has seen enough

    def _start_pager(self) -> None:
        """Before the first line, so that a failure shows none."""
        reading, writing = os.pipe()
        for command in _pagers():
            try:
                process = os.posix_spawnp(
                    command[0],
                    command,
                    _pager_environment(),
                    file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_CLOSE, writing)],
                )
            except OSError:
                continue
            self._pager = command[0], process
            self._to = writing
            # The pager decides when to end; then it restores the terminal.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            break
        else:
            os.close(writing)
        os.close(reading)


def end_unless_read() -> None:
    """End if nobody reads standard output any more, as a write would end it: the next write may be days away."""
    from select import POLLERR, POLLHUP, poll

    stdout = poll()
    stdout.register(_STDOUT, 0)
    if any(found & (POLLERR | POLLHUP) for _fd, found in stdout.poll(0)):
        signal.raise_signal(signal.SIGPIPE)


def _await(pager: str, process: int) -> None:
    """Raises OutputFailed if the pager failed: nobody may have seen the output."""
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    # Ctrl-C is for the pager, too; less then ends with status 2.
    if status and signal.SIGINT not in signal.sigpending():
        from oomkilld.text import harmless

        ended = f"with status {status}" if status > 0 else f"by signal {-status}"
        message = f"Failed to show the output: the pager '{harmless(pager)}' ended {ended}"
        raise OutputFailed(message, "set $SYSTEMD_PAGER or $PAGER to another one, or use --no-pager")


def _terminal_width() -> int | None:
    text = os.environ.get("COLUMNS", "")
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text):
        return int(text)
    return os.get_terminal_size(_STDOUT).columns or 80


def _is_dumb() -> bool:
    """Whether the terminal can do nothing but print."""
    return os.environ.get("TERM", "") in ("", "dumb")


def _has_colours(option: str | None, *, is_terminal: bool) -> bool:
    """``--color``, else $SYSTEMD_COLORS, else $NO_COLOR, else the terminal decides."""
    if option in ("always", "never"):
        return option == "always"
    said = os.environ.get("SYSTEMD_COLORS", "").lower() if option is None else ""
    if said.startswith("auto-"):
        return is_terminal
    if said:
        return said not in _NO
    return is_terminal and not os.environ.get("NO_COLOR") and not _is_dumb()


def _pagers() -> list[list[str]]:
    """Commands to try; none for the pager ``cat``, and for the empty one."""
    chosen = os.environ.get("SYSTEMD_PAGER", os.environ.get("PAGER"))
    if chosen is not None and chosen.strip() in ("", "cat"):
        return []
    if _is_confined():
        return [["less"]]
    return [*([] if chosen is None else [chosen.split()]), *_PAGERS]


def _is_confined() -> bool:
    """Whether somebody else's session started this, as with sudo: then only a pager that can be confined is used."""
    said = os.environ.get("SYSTEMD_PAGERSECURE")
    if said is not None:
        return said.lower() in _YES
    return os.environ.get("SUDO_UID", str(os.geteuid())) != str(os.geteuid())


def _pager_environment() -> dict[str, str]:
    environment = dict(os.environ)
    environment["LESS"] = os.environ.get("SYSTEMD_LESS", _LESS)
    environment["LESSCHARSET"] = os.environ.get("SYSTEMD_LESSCHARSET", "utf-8")
    if _is_confined():
        environment["LESSSECURE"] = "1"
    return environment
