# SPDX-License-Identifier: Apache-2.0
"""How much of journal files is written: they are made larger ahead of time, by megabytes."""

import struct
from pathlib import Path

# Of systemd's journal-def.h: in struct Header where the last object of the file begins, in struct ObjectHeader how
# large an object is.
_TAIL_OBJECT_OFFSET = 136
_OBJECT_SIZE = 8


def written_bytes(file: Path) -> int:
    """Up to the end of its last object."""
    with file.open("rb") as opened:
        tail = _number(opened.read(_TAIL_OBJECT_OFFSET + 8), _TAIL_OBJECT_OFFSET)
        opened.seek(tail)
        return tail + _number(opened.read(_OBJECT_SIZE + 8), _OBJECT_SIZE)


def journal_bytes() -> int:
    """Of all files of this machine's journal. It grows by what is sent as long as journald need not remove old ones."""
    files = [file for place in ("/run/log/journal", "/var/log/journal") for file in Path(place).glob("*/*.journal")]
    assert files, "there is no journal"
    return sum(map(written_bytes, files))


def _number(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("<Q", raw, offset)[0])
