# SPDX-License-Identifier: Apache-2.0
"""Whether a name on the command line is a field's.

Journald and others have fields, too. Only of names that begin as ours it is known that there is no such field.
"""

import re

from oomkilld.errors import WrongArguments
from oomkilld.text import harmless

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_OURS = "OOM_"
# Such as __CURSOR: where an entry is, and when it came there. journalctl refuses these, too.
_NO_FIELDS = "__"


def require(name: str, before: str, expected: str) -> None:
    """Raises WrongArguments if there is no such field. ``before``: what to say before what was ``expected``."""
    if name.startswith(_NO_FIELDS):
        raise WrongArguments(f"{before}, expected {expected}", f"`{_NO_FIELDS}…` are no fields")
    if not _NAME.fullmatch(name):
        raise WrongArguments(f"{before}, expected {expected}", "fields are in upper case")
    if not name.startswith(_OURS):
        return
    # Only now: to read the table takes longer than all the rest.
    from oomkilld.ctl.spelling import nearest
    from oomkilld.ctl.values import field_of
    from oomkilld.schema import FIELDS

    if field_of(name) is None:
        meant = nearest(name, (field.name for field in FIELDS))
        guess = f"; did you mean {meant}?" if meant else ""
        raise WrongArguments(f"no field {harmless(name)}{guess}", "`oomkillctl schema` lists them")
