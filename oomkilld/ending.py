# SPDX-License-Identifier: Apache-2.0
"""How the program ends: one line says what failed, the next what to do; the exit status gives the kind of failure.

Standard library only: both stages import it.
"""

from collections.abc import Callable

from oomkilld.errors import OomkilldError
from oomkilld.stderr import ERR, NOTICE, say


def status_of(
    run: Callable[[], int], failure_of: Callable[[Exception], OomkilldError | None], program: str = "oomkilld"
) -> int:
    """Return the exit status of ``run``.

    ``failure_of``: turns an exception into an OomkilldError, see errors.py; None: the exception is raised again.
    """
    try:
        return run()
    except Exception as error:
        failure = error if isinstance(error, OomkilldError) else failure_of(error)
        if failure is None:
            raise
    say(ERR, failure.message, program)
    if failure.hint:
        say(NOTICE, failure.hint, program)
    return failure.exit_status
