# SPDX-License-Identifier: Apache-2.0
"""Which journal files are read, and from which machine each came.

All sources are lists of files. sd_journal can also open a directory, but then it does not say from which file an entry
came, and only the file's name, which the receiver chose, says truly from which machine.
"""

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from oomkilld.ctl.failures import NoJournal, NotPermitted, reason
from oomkilld.ctl.files import COPY, REMOTE, below, host_of, journals, machine_id, named, not_permitted
from oomkilld.ctl.reader import Reader
from oomkilld.ctl.say import warn
from oomkilld.lighttyping import NamedTuple
from oomkilld.text import harmless

PLACES = ("run/log/journal", "var/log/journal")
_TRIES = 5
# File descriptors that stay free when all files are open: for the pager, and for modules that are imported later.
_SPARE_FILES = 16
# The options that select this system's own journal.
HERE = Namespace(directory=None, file=[], merge=False, root=None)


class Part(NamedTuple):
    """Files from one machine. ``host``: as the receiver named it; None: these were not received."""

    host: str | None
    files: tuple[str, ...]


class Source:
    """The files that the options select; ``unreadable``: those that are ignored. Raises NoJournal, NotPermitted."""

    def __init__(self, options: Namespace) -> None:
        self._options = options
        self.unreadable: dict[str, OSError] = {}
        self.is_of_one_machine = not (options.directory or options.file or options.merge)
        self.is_this_system = self.is_of_one_machine and not options.root

    def parts(self) -> list[Part]:
        """The files as they are now, by machine."""
        by_host: dict[str | None, list[str]] = {}
        try:
            for file in self._files():
                by_host.setdefault(host_of(file), []).append(file)
        except PermissionError as error:
            raise self._not_permitted(error, error.filename) from None
        if not by_host:
            raise NoJournal(f"found no journal files {self._where()}", COPY)
        return [Part(host, tuple(sorted(files))) for host, files in by_host.items()]

    def names_machines(self) -> bool:
        """Whether a list should say of which machine an entry is."""
        parts = self.parts()
        directories = {os.path.dirname(file) for part in parts for file in part.files}
        is_of_several = not self.is_of_one_machine and len(directories) > 1
        return is_of_several or len(parts) > 1 or any(part.host is not None for part in parts)

    def open(self, part: Part) -> Reader | None:
        """A reader of all files that can be read; None: there is none."""
        reader = _opened(part.files)
        if isinstance(reader, Reader):
            return reader
        failures = {file: error for file in part.files if isinstance(error := _opened((file,)), OSError)}
        self.unreadable.update(failures)
        readable = [file for file in part.files if file not in failures]
        again = _opened(readable) if readable else None
        if isinstance(again, OSError):  # too many at once
            self.unreadable.update(dict.fromkeys(readable, again))
            return None
        return again

    def opened(self) -> list[tuple[Part, Reader]]:
        """A reader per machine."""
        known = self.unreadable
        gone: set[str] = set()
        for _try in range(_TRIES):
            self.unreadable = {**known}
            opened = [(part, reader) for part in self.parts() if (reader := self.open(part)) is not None]
            new = {file: error for file, error in self.unreadable.items() if file not in known}
            before, gone = gone, {file for file, error in new.items() if isinstance(error, FileNotFoundError)}
            if gone == before:
                break
            # journald has just renamed them; or they are gone for good, or links to nothing.
        if not opened:
            raise self._failure()
        for file, error in new.items():
            warn(f"Failed to open {harmless(file)}: {reason(error)}, ignoring")
        return opened

    def _failure(self) -> NoJournal | NotPermitted:
        """If no file can be read."""
        for file, error in self.unreadable.items():
            if isinstance(error, PermissionError):
                return self._not_permitted(error, file)
        file, error = next(iter(self.unreadable.items()))
        hint = "the file is damaged, or no journal: see `journalctl --verify --file=FILE`"
        if isinstance(error, IsADirectoryError):
            hint = "it is a directory: use -D"
        return NoJournal(f"Failed to open {harmless(file)}: {reason(error)}", hint)

    def _not_permitted(self, error: OSError, file: str) -> NotPermitted:
        return not_permitted(error, file, is_named=bool(self._options.directory or self._options.file))

    def _where(self) -> str:
        if self._options.file:
            return f"with the name {' or '.join(map(harmless, self._options.file))}"
        return "in " + " or ".join(harmless(directory) for directory in self._directories())

    def _files(self) -> Iterator[str]:
        if self._options.file:
            for pattern in self._options.file:
                yield from named(pattern)
            return
        for directory in self._directories():
            yield from journals(directory)

    def _directories(self) -> list[str]:
        options = self._options
        if options.directory:
            return [options.directory, *below(options.directory)]
        tops = [os.path.join(options.root or "/", place) for place in PLACES]
        if options.merge or options.root:
            found = [directory for top in tops for directory in below(top)]
            return found + ([f"{top}/{REMOTE}" for top in tops] if options.merge else []) or tops
        return [f"{top}/{machine_id()}" for top in tops]


def _opened(files: Sequence[str]) -> Reader | OSError:
    _soft, most = getrlimit(RLIMIT_NOFILE)
    try:
        setrlimit(RLIMIT_NOFILE, (max(most - _SPARE_FILES, most // 2), most))
        return Reader(files)
    except OSError as error:
        return error.with_traceback(None)  # which would keep the readers of the callers, and their files, open
    finally:
        setrlimit(RLIMIT_NOFILE, (most, most))
