# SPDX-License-Identifier: Apache-2.0
"""The process that tells which of the service's newest entries are stored; see messages.py."""

import marshal

from oomkilld.recall import process, recorded
from oomkilld.recall.messages import ALL, MESSAGE_BYTES, AskedStored
from oomkilld.recall.ours import Ours, own_unit


def main() -> int:
    """Exit status 0 also when nobody waits for it any more."""
    with process.begin(b"oomkilld-stored") as service:
        asked = AskedStored(*marshal.loads(service.recv(4096)))
        ids = b"".join(recorded.newest_ids(asked.entries, Ours(own_unit()), shown=asked.shown))
        for at in range(0, len(ids), MESSAGE_BYTES):
            service.send(ids[at : at + MESSAGE_BYTES])
        service.send(ALL)
    return 0
