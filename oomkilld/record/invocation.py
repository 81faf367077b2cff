# SPDX-License-Identifier: Apache-2.0
"""Looks up which run of a system unit is the one of now: the invocation id that PID 1 leaves in /run.

Of a user's unit nothing is known: its id lies in /run/user/UID/systemd/units/ (systemd 245), where root without
CAP_DAC_READ_SEARCH may not look (mode 0700, and ProtectHome= hides it), and where the user can write any other.
"""

import os

from oomkilld.record.cgroup import is_unit_name

_ID_DIGITS = 32


def invocation_id(unit: bytes, root: str = "/") -> bytes | None:
    """32 hex digits. None: the unit does not run any more, or systemd does not run, or ``unit`` is no name of one.

    It is the unit's run at the time of the call: of a kill long ago it tells nothing.
    """
    if not is_unit_name(unit):
        return None
    try:
        target = os.readlink(os.path.join(os.fsencode(root), b"run/systemd/units/invocation:" + unit))
    except OSError:
        return None
    is_id = len(target) == _ID_DIGITS and not target.translate(None, b"0123456789abcdef")
    return target if is_id else None
