# SPDX-License-Identifier: Apache-2.0
"""How the program ends: what failed is said in one line, what to do in the next, and the status tells the kind.

Standard library only: both stages import it.
"""

from collections.abc import Callable

from oomkilld.errors import OomkilldError
from oomkilld.stderr import ERR, NOTICE, say


def status_of(run: Callable[[], int], failure_of: Callable[[Exception], OomkilldError | None]) -> int:
    """The exit status of ``run``. ``failure_of``: see errors.py; what it makes nothing of is raised."""
    try:
        return run()
    except Exception as error:
        failure = error if isinstance(error, OomkilldError) else failure_of(error)
        if failure is None:
            raise
    say(ERR, failure.message)
    if failure.hint:
        say(NOTICE, failure.hint)
    return failure.exit_status
