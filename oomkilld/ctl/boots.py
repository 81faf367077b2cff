# SPDX-License-Identifier: Apache-2.0
"""The boot that ``-b`` names: by its id, or by a number as for journalctl."""

from argparse import Namespace

from oomkilld.ctl.failures import NOTHING_MATCHED
from oomkilld.ctl.source import Source
from oomkilld.errors import OomkilldError, WrongArguments


class NoSuchBoot(OomkilldError):
    """The journal has no entry of the boot (status 1)."""

    exit_status = NOTHING_MATCHED


def boot_id(options: Namespace, source: Source) -> str | None:
    """None: all boots. Raises WrongArguments, NoSuchBoot."""
    text: str | None = options.boot
    if text is None:
        return None
    if len(text) == 32:
        return text.lower()
    try:
        number = int(text or "0")
    except ValueError:
        raise WrongArguments(
            f"{options.typed['boot']}: found '{text}', expected a boot's id or a number", "see journalctl(1)"
        ) from None
    if not _is_of_one_machine(source):
        typed = f"{options.typed['boot']} {text}".rstrip()
        raise WrongArguments(
            f"'{typed}' counts boots of one machine, and these journals are of several",
            "name the boot by its id (the field _BOOT_ID)",
        )
    if number == 0 and source.is_this_system:
        return this_boot()
    boots = _boots(source)
    at = number - 1 if number > 0 else len(boots) - 1 + number
    if not 0 <= at < len(boots):
        raise NoSuchBoot(f"the journal has no boot '{text}'", f"it has {len(boots)}: -b 1 is the oldest one")
    return boots[at]


def _is_of_one_machine(source: Source) -> bool:
    if source.is_of_one_machine:
        return True
    return len({machine for _part, reader in source.opened() for machine in reader.values("_MACHINE_ID")}) <= 1


def this_boot() -> str:
    """The id of this boot, as journald writes it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip().replace("-", "")


def _boots(source: Source) -> list[str]:
    """The oldest first, by their last entries: before the clock is set, a boot may begin in another year."""
    ended: dict[str, int] = {}
    for part, reader in source.opened():
        for boot in reader.values("_BOOT_ID"):
            of_boot = source.open(part)
            if of_boot is not None:
                of_boot.require([("_BOOT_ID", boot)])
                of_boot.to_end()
                if of_boot.previous():
                    ended[boot] = max(of_boot.received_usec(), ended.get(boot, 0))
    return sorted(ended, key=ended.__getitem__)
