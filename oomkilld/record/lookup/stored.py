# SPDX-License-Identifier: Apache-2.0
"""The process oomkilld-stored: sends the ids of this service's newest entries in the journal; see protocol.py."""

import marshal

from oomkilld.host.ours import Ours, own_unit
from oomkilld.record.lookup.begin import begin
from oomkilld.record.lookup.entries import newest_ids
from oomkilld.record.lookup.protocol import ALL, MESSAGE_BYTES, AskedStored


def main() -> int:
    """Returns the exit status, always 0."""
    with begin(b"oomkilld-stored") as service:
        asked = AskedStored(*marshal.loads(service.recv(4096)))
        ids = b"".join(newest_ids(asked.entries, Ours(own_unit()), shown=asked.shown))
        for at in range(0, len(ids), MESSAGE_BYTES):
            service.send(ids[at : at + MESSAGE_BYTES])
        service.send(ALL)
    return 0
