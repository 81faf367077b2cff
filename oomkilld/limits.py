# SPDX-License-Identifier: Apache-2.0
"""Limits of the process, setrlimit(2), under which it or its compiler would fail without a word that helps.

Standard library only, and not the resident stage's.
"""

import resource

from oomkilld.errors import NoRoom

# The resident stage's interpreter starts with the files of the probe open, and its children with pipes beside them;
# clang does not look how much stack is left; Python and pydantic do not always look whether memory was given. The
# compiler takes more of it, and is asked afterwards.
_LEAST = (
    (resource.RLIMIT_NOFILE, 64, "files open at a time", "ulimit -n", "LimitNOFILE="),
    (resource.RLIMIT_STACK, 1 << 20, "bytes of stack", "ulimit -s", "LimitSTACK="),
    (resource.RLIMIT_AS, 64 << 20, "bytes of address space", "ulimit -v", "LimitAS="),
    (resource.RLIMIT_DATA, 32 << 20, "bytes of data", "ulimit -d", "LimitDATA="),
    (resource.RLIMIT_FSIZE, 1 << 20, "bytes in a file", "ulimit -f", "LimitFSIZE="),
)


def check() -> None:
    """Raises NoRoom."""
    for limit, least, what, by_hand, of_unit in _LEAST:
        allowed, _hard = resource.getrlimit(limit)
        if 0 <= allowed < least:  # none at all, and what is more than a signed number, are negative
            raise NoRoom(
                f"found a limit of {allowed} {what}, expected at least {least}",
                f"raise it ({of_unit} of the unit, {by_hand} in a shell)",
            )
