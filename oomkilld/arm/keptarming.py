# SPDX-License-Identifier: Apache-2.0
"""Stores the facts that arming established with the service manager, beside the probe, for the next run.

The resident stage also talks to the manager, and could have stored another file under that name.
"""

import fcntl
import json
import os

from oomkilld.config import options
from oomkilld.host.levels import NAMES
from oomkilld.service.handover import SEALS, Arming, seal

_MAX_BYTES = 1 << 16
_MAX_PROBES = 16
_MAX_NAMES = 256


def keep(arming: Arming) -> int:
    """A file to be stored for the run that takes over the probe."""
    return seal(json.dumps(arming).encode())


def read(fd: int) -> Arming | None:
    """Read and close the file. None: ``keep`` did not write it."""
    try:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) != SEALS or os.fstat(fd).st_size > _MAX_BYTES:
            return None
        arming = Arming(*json.loads(os.pread(fd, _MAX_BYTES, 0)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    finally:
        os.close(fd)
    return arming if _is_valid(arming) else None


def _is_valid(arming: Arming) -> bool:
    return (
        arming.level in NAMES
        and _are_texts(arming.level_failures, dict)
        and set(arming.level_failures) <= set(NAMES)
        and _are_texts([*arming.level_failures.values()], list)
        and (arming.level_below is None or arming.level_below in NAMES)
        and type(arming.exact) is bool
        and type(arming.ring_bytes) is int
        and options.is_ring_size(arming.ring_bytes)
        and _is_number(arming.probes, _MAX_PROBES)
        and _is_number(arming.made_boottime_ns)
        and (arming.kills_before is None or _is_number(arming.kills_before))
        and _are_texts(arming.constraints, list)
        and _are_texts(arming.gfp_names, dict)
        and all(map(_is_number, arming.gfp_names.values()))
    )


def _are_texts(found: object, kind: type[list[str]] | type[dict[str, int | str]]) -> bool:
    return (
        isinstance(found, kind)
        and len(found) <= _MAX_NAMES
        and all(type(each) is str and each.isprintable() for each in found)
    )


def _is_number(found: object, at_most: int = (1 << 64) - 1) -> bool:
    return type(found) is int and 0 <= found <= at_most
