# SPDX-License-Identifier: Apache-2.0
"""The verb ``schema``: prints the JSON Schema of an entry.

The schema is a file, so that printing it takes no pydantic. tests/support/entryschema.py makes it from the field table.
"""

import argparse
from pathlib import Path

from oomkilld.stderr import put

FILE = Path(__file__).with_name("entry.schema.json")


def run(_options: argparse.Namespace) -> int:
    """Return the exit status. Raises OutputFailed."""
    put(FILE.read_text())
    return 0
