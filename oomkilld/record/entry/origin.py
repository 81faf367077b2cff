# SPDX-License-Identifier: Apache-2.0
"""The fields that every entry has."""

from collections.abc import Iterator, Mapping, Sequence

from oomkilld import schema
from oomkilld.lighttyping import NamedTuple
from oomkilld.schema import FieldValue

Values = Iterator[tuple[str, FieldValue | None]]


class Origin(NamedTuple):
    """What all entries of this run share."""

    boot_id: bytes
    kernel_release: bytes
    level: str
    priority: int
    page_bytes: int
    constraints: Sequence[str]  # the kernel's names, by number
    gfp_names: Mapping[str, int]  # the kernel's names of allocation flags, in its order


def common(event: str, message: str, message_id: str, priority: int, origin: Origin) -> Values:
    """The fields that every entry has."""
    yield "MESSAGE", message
    yield "MESSAGE_ID", message_id
    yield "PRIORITY", priority
    yield "SYSLOG_IDENTIFIER", "oomkilld"
    yield "DOCUMENTATION", "man:oomkilld(8)"
    yield "OOM_EVENT", event
    yield "OOM_SCHEMA", schema.SCHEMA_VERSION
    yield "OOM_SOURCE", origin.level
    yield "OOM_KERNEL_RELEASE", origin.kernel_release
