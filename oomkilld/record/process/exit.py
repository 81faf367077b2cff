# SPDX-License-Identifier: Apache-2.0
"""How the resident stage exits when something fails, and what it leaves for the next run."""

from collections.abc import Callable

from oomkilld.errors import NoRoom, OomkilldError, no_room
from oomkilld.record.capture.ring import RingCorrupt
from oomkilld.record.process import memory
from oomkilld.service import rundir
from oomkilld.stderr import ERR, say


def run_guarded(run: Callable[[], None], *, kept: bool) -> None:
    """``kept``: the next run would continue with the same source. Raises NoRoom, and what ``run`` raises."""
    try:
        run()
    except MemoryError:
        used_up = f"the service used up its own limit of {memory.DATA_BYTES >> 20} MiB"
        raise NoRoom(used_up, "systemd restarts the service, no kill is lost; report this") from None
    except BaseException as error:
        if (failure := no_room(error)) is not None:
            raise failure from None
        # The source may be to blame, unless the error is about something else.
        if kept and (isinstance(error, RingCorrupt) or not isinstance(error, OomkilldError)):
            _warn_the_next_run()
        raise


def _warn_the_next_run() -> None:
    try:
        rundir.write_kept_is_bad(rundir.RUNTIME_DIRECTORY)
    except OSError as error:
        say(ERR, f"Failed to set the ring aside: {error}, the next start takes it over and may fail like this run")
