# SPDX-License-Identifier: Apache-2.0
"""Whether the configuration is valid, and which capture level it asks for."""

from pathlib import Path

from oomkilld.ctl.coverage.finding import Finding, not_checked, ok, warn, warn_of
from oomkilld.errors import BadConfiguration, no_room
from oomkilld.lighttyping import NamedTuple

_WHAT = "settings"


class Asked(NamedTuple):
    """The settings capture.level and entry.priority, or their defaults if the files are invalid."""

    finding: Finding
    level: str = "auto"
    priority: str = "crit"


def asked(root: Path, *, is_root: bool) -> Asked:
    """Read the configuration files below ``root``."""
    try:
        from oomkilld.config import settings

        loaded = settings.load(root)
    except ImportError as error:
        if (failure := no_room(error)) is not None:
            return Asked(warn_of(_WHAT, failure))
        text = f"nobody checked the configuration files: the module {error.name} is missing or too old"
        return Asked(
            not_checked(_WHAT, text, "install the package python3-pydantic (2 or newer; or pydantic with pip)")
        )
    except BadConfiguration as error:
        # Files that only root can read are no fault: the service is root.
        if not is_root and "run this as root" in error.message:
            return Asked(not_checked(_WHAT))
        first, *more = error.message.splitlines()
        hint = "`sudo oomkilld --check-config` says how to correct it"
        return Asked(warn(_WHAT, f"{first} (and {len(more)} more)" if more else first, hint))
    files = sorted({str(path) for path in loaded.origins.values()})
    valid = ok(_WHAT, f"valid: {', '.join(files) or 'the defaults'}")
    return Asked(valid, loaded.settings.capture.level, loaded.settings.entry.priority)
