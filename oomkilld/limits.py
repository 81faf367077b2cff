# SPDX-License-Identifier: Apache-2.0
"""Checks resource limits, setrlimit(2): below these, the service or its compiler would fail without a useful message.

Standard library only. The resident stage does not import it.
"""

import resource

from oomkilld.errors import NoRoom

# The resident stage starts with the probe's files open, and its children with pipes as well. clang does not check how
# much stack is left. Python and pydantic do not check every allocation. The compiler needs more memory than this: its
# failure is examined afterwards, in compiler.py.
_LEAST = (
    (resource.RLIMIT_NOFILE, 64, "files open at a time", "ulimit -n", "LimitNOFILE="),
    (resource.RLIMIT_STACK, 1 << 20, "bytes of stack", "ulimit -s", "LimitSTACK="),
    (resource.RLIMIT_AS, 64 << 20, "bytes of address space", "ulimit -v", "LimitAS="),
    (resource.RLIMIT_DATA, 32 << 20, "bytes of data", "ulimit -d", "LimitDATA="),
    (resource.RLIMIT_FSIZE, 1 << 20, "bytes in a file", "ulimit -f", "LimitFSIZE="),
)


def check() -> None:
    """Raises NoRoom when a limit is too low."""
    for limit, least, what, by_hand, of_unit in _LEAST:
        allowed, _hard = resource.getrlimit(limit)
        if 0 <= allowed < least:  # RLIM_INFINITY, and limits beyond a signed number, are negative
            raise NoRoom(
                f"found a limit of {allowed} {what}, expected at least {least}",
                f"raise it ({of_unit} of the unit, {by_hand} in a shell)",
            )
