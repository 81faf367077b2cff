# SPDX-License-Identifier: Apache-2.0
"""How the resident stage ends when something fails, and what the next run makes of it."""

from collections.abc import Callable

from oomkilld.errors import NoRoom, OomkilldError, no_room
from oomkilld.record.capture.ring import RingCorrupt
from oomkilld.record.process import memory
from oomkilld.service import rundir
from oomkilld.stderr import ERR, say


def run_guarded(run: Callable[[], None], *, kept: bool) -> None:
    """``kept``: the next run would go on with what this one reads. Raises NoRoom, and what ``run`` does."""
    try:
        run()
    except MemoryError:
        used_up = f"the {memory.DATA_BYTES >> 20} MiB that this service bounds itself to are used up"
        raise NoRoom(used_up, "it starts again and loses nothing; report this") from None
    except BaseException as error:
        if (failure := no_room(error)) is not None:
            raise failure from None
        # What was read from may be to blame, unless the error is about something else.
        if kept and (isinstance(error, RingCorrupt) or not isinstance(error, OomkilldError)):
            _warn_the_next_run()
        raise


def _warn_the_next_run() -> None:
    try:
        rundir.write_kept_is_bad(rundir.RUNTIME_DIRECTORY)
    except OSError as error:
        say(ERR, f"that the ring is not to be taken again cannot be kept: {error}")
