# SPDX-License-Identifier: Apache-2.0
"""Messages between the resident stage and the processes of this room."""

from oomkilld.lighttyping import NamedTuple

# unrecorded.py sends it once it has read the log, and then waits for GO_ON.
LOG_IS_READ = b"log"
# unrecorded.py sends it every few seconds while it reads a long log or journal.
ALIVE = b"alive"
# The service's answer: every kill that it has seen until then is stored.
GO_ON = b"+"
# The results of unrecorded.py, marshalled. For each kill: (KILL, the record's values, number of its repeats). At last:
# (END, the kernel's names of constraints by number, number of kills without an entry, number of kills before the log
# was read that have one, number of their repeats, whole). whole is 1 if log and journal have lost nothing since the
# earliest time in question, so that every missing kill would have been found; else 0.
KILL, END = "kill", "end"
MESSAGE_BYTES = 64 << 10
# stored.py sends ids, several per message, and at last ALL.
ID_BYTES = 16
ALL = b"."

# File descriptor of the process's end of the socket.
SOCKET = 3


class Asked(NamedTuple):
    """The request to unrecorded.py: how many kills are missing, and how many it may send at most.

    ``boot_id`` is part of ids. ``repeats``: number in the ledger; 0 if the source saw none of the missing kills.
    ``since_ns``: none of the kills happened before this time (CLOCK_MONOTONIC).
    """

    kills: int
    at_most: int
    boot_id: bytes
    page_bytes: int
    repeats: int = 0
    since_ns: int = 0


class AskedStored(NamedTuple):
    """The request to stored.py: the ids of the newest ``entries``. ``shown``: of those that ``journalctl -u`` shows."""

    entries: int
    shown: bool = True
