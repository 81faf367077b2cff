# SPDX-License-Identifier: Apache-2.0
"""Fields whose names are made of what was read: rows of files, and numbers."""

from oomkilld import schema
from oomkilld.record.enrich import Context
from oomkilld.schema import FieldValue


def families(context: Context) -> list[bytes]:
    """Of the machine's state, and of what filled the domain, as ``NAME=value``."""
    fields = []
    for key, row in context.sample.meminfo.items():
        family = schema.MEMINFO_BYTES if row.in_bytes else schema.MEMINFO_COUNT
        fields.append(schema.format_field(family, row.value, schema.family_name(family, key)))
    for key, count in context.sample.vmstat.items():
        fields.append(schema.format_field(schema.VMSTAT, count, schema.family_name(schema.VMSTAT, key)))
    return fields + _contents(context)


def _contents(context: Context) -> list[bytes]:
    contents = context.contents
    if contents is None:
        return []
    rows: list[tuple[schema.Field, str, FieldValue]]
    rows = [(schema.DOMAIN_STAT, key, size) for key, size in contents.stat.items()]
    for number, (path, size) in enumerate(contents.top, start=1):
        rows.append((schema.TOP_CGROUP, str(number), path))
        if size is not None:
            rows.append((schema.TOP_BYTES, str(number), size))
    return [schema.format_field(family, value, schema.family_name(family, key)) for family, key, value in rows]
