# SPDX-License-Identifier: Apache-2.0
"""What the processes of this room are asked, and what they tell."""

from oomkilld.lighttyping import NamedTuple

LOG_IS_READ = b"log"
# Of unrecorded.py, now and then: it has not stopped, and there is just much to read.
ALIVE = b"alive"
GO_ON = b"+"
# Of unrecorded.py, the others: (KILL, the record's values, how many more of the kernel's count are this one), and at
# last (END, the kernel's names of constraints by number, how many kills have no entry; how many of before the log was
# read have one, and how often the kernel counted these once more; and whether each kill that is looked for would have
# been found, for nothing of the log and of the journal is lost since then: 1, else 0).
KILL, END = "kill", "end"
MESSAGE_BYTES = 64 << 10
# Of stored.py: ids, one behind the other, and at last ALL.
ID_BYTES = 16
ALL = b"."

# The process finds its end of the socket there.
SOCKET = 3


class Asked(NamedTuple):
    """How many kills are looked for, how many are taken at once, and what ids are made of.

    ``repeats``: which are in the books already, 0: none of the kills looked for had been seen. ``since_ns``: none of
    the kills was before that (CLOCK_MONOTONIC).
    """

    kills: int
    at_most: int
    boot_id: bytes
    page_bytes: int
    repeats: int = 0
    since_ns: int = 0


class AskedStored(NamedTuple):
    """The ids of so many of the newest entries are wanted; ``shown``: only of those that ``journalctl -u`` shows."""

    entries: int
    shown: bool = True
