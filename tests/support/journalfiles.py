# SPDX-License-Identifier: Apache-2.0
"""How much of a journal file is in use: journald enlarges files ahead of time, by megabytes."""

import struct
from pathlib import Path
from typing import NamedTuple

# From systemd's journal-def.h. struct Header: its own size, the sizes of the two tables at the beginning of each file,
# and the offset of the last object. struct ObjectHeader: the size of an object.
_HEADER_SIZE, _DATA_TABLE_SIZE, _FIELD_TABLE_SIZE = 88, 112, 128
_TAIL_OBJECT_OFFSET = 136
_OBJECT_SIZE = 8


def written_bytes(file: Path) -> int:
    """Bytes up to the end of the file's last object."""
    with file.open("rb") as opened:
        tail = _number(opened.read(_TAIL_OBJECT_OFFSET + 8), _TAIL_OBJECT_OFFSET)
        opened.seek(tail)
        return tail + _number(opened.read(_OBJECT_SIZE + 8), _OBJECT_SIZE)


def table_bytes(file: Path) -> int:
    """Bytes of a new file before its first entry: megabytes."""
    with file.open("rb") as opened:
        head = opened.read(_TAIL_OBJECT_OFFSET)
    return sum(_number(head, offset) for offset in (_HEADER_SIZE, _DATA_TABLE_SIZE, _FIELD_TABLE_SIZE))


class JournalBytes(NamedTuple):
    """All journal files of this machine. They grow by what is sent, as long as journald need not remove old files."""

    entries: int
    tables: int

    def since(self, before: "JournalBytes") -> "JournalBytes":
        """The growth since ``before``."""
        return JournalBytes(self.entries - before.entries, self.tables - before.tables)


def journal_bytes() -> JournalBytes:
    """The sizes now."""
    files = [file for place in ("/run/log/journal", "/var/log/journal") for file in Path(place).glob("*/*.journal")]
    assert files, "there is no journal"
    tables = sum(map(table_bytes, files))
    return JournalBytes(sum(map(written_bytes, files)) - tables, tables)


def _number(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("<Q", raw, offset)[0])
