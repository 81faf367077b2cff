# SPDX-License-Identifier: Apache-2.0
"""The process that tells which of the service's newest entries are stored; see messages.py."""

import marshal
import os

from oomkilld.recall import process, recorded
from oomkilld.recall.messages import ALL, MESSAGE_BYTES, AskedStored


def main() -> int:
    """Exit status 0 also when nobody waits for it any more."""
    with process.begin(b"oomkilld-stored") as service:
        asked = AskedStored(*marshal.loads(service.recv(4096)))
        ids = b"".join(recorded.newest_ids(asked.entries, of_unit=asked.shown and "INVOCATION_ID" in os.environ))
        for at in range(0, len(ids), MESSAGE_BYTES):
            service.send(ids[at : at + MESSAGE_BYTES])
        service.send(ALL)
    return 0
