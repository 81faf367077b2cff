# SPDX-License-Identifier: Apache-2.0
"""How much of journal files is written: they are made larger ahead of time, by megabytes."""

import struct
from pathlib import Path
from typing import NamedTuple

# Of systemd's journal-def.h: in struct Header its own size, those of the two tables that each file begins with, and
# where the last object of the file begins; in struct ObjectHeader how large an object is.
_HEADER_SIZE, _DATA_TABLE_SIZE, _FIELD_TABLE_SIZE = 88, 112, 128
_TAIL_OBJECT_OFFSET = 136
_OBJECT_SIZE = 8


def written_bytes(file: Path) -> int:
    """Up to the end of its last object."""
    with file.open("rb") as opened:
        tail = _number(opened.read(_TAIL_OBJECT_OFFSET + 8), _TAIL_OBJECT_OFFSET)
        opened.seek(tail)
        return tail + _number(opened.read(_OBJECT_SIZE + 8), _OBJECT_SIZE)


def table_bytes(file: Path) -> int:
    """What a new file takes before its first entry: megabytes."""
    with file.open("rb") as opened:
        head = opened.read(_TAIL_OBJECT_OFFSET)
    return sum(_number(head, offset) for offset in (_HEADER_SIZE, _DATA_TABLE_SIZE, _FIELD_TABLE_SIZE))


class JournalBytes(NamedTuple):
    """Of all files of this machine's journal. It grows by what is sent as long as journald need not remove old ones."""

    entries: int
    tables: int

    def since(self, before: "JournalBytes") -> "JournalBytes":
        """Growth."""
        return JournalBytes(self.entries - before.entries, self.tables - before.tables)


def journal_bytes() -> JournalBytes:
    """As of now."""
    files = [file for place in ("/run/log/journal", "/var/log/journal") for file in Path(place).glob("*/*.journal")]
    assert files, "there is no journal"
    tables = sum(map(table_bytes, files))
    return JournalBytes(sum(map(written_bytes, files)) - tables, tables)


def _number(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("<Q", raw, offset)[0])
