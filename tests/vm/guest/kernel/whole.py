# SPDX-License-Identifier: Apache-2.0
"""What takes all the memory that the machine has, and what is told of who had it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import live
from tests.vm.guest.service import file, run, service_restored

# Above everything else on the machine: only these are killed.
HOG = ("adjust=1000", "uid=65534", "name=host eater")
# For one of them to take all, on an emulated machine that fetches its programs from disk again and again meanwhile.
KILLED_WITHIN = 240.0

_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def promised_time() -> Iterator[None]:
    """The service takes no more time than on any machine for what fills a limit, and not ten times that."""
    (module,) = Path("/opt/oomkilld").rglob("oomkilld/record/enrich/memcgusage.py")
    text = module.read_text()
    assert "\nMAX_MILLISECONDS = 10 * " in text
    with service_restored(), file(module, text.replace("\nMAX_MILLISECONDS = 10 * ", "\nMAX_MILLISECONDS = ")):
        assert run("systemctl", "restart", "oomkilld").returncode == 0, live.service_journal()
        live.wait_for("status", live.service_counts, 10, live.service_journal)
        yield


def assert_no_parent_is_told_as_a_leaf(entries: Sequence[live.Entry]) -> None:
    """Of a cgroup with others below it that use memory no size is told: that one does not use it."""
    told, unread = set(), set()
    for entry in entries:
        paths = {number: entry.get(f"OOM_TOP_{number}_CGROUP") for number in range(1, 6)}
        told |= {path for number, path in paths.items() if path and f"OOM_TOP_{number}_BYTES" in entry}
        unread |= {path for number, path in paths.items() if path and f"OOM_TOP_{number}_BYTES" not in entry}
    print(f"the largest: {sorted(told)}; not looked through in time: {sorted(unread)}")
    below = {path: list((_CGROUPS / path.lstrip("/")).glob("*/memory.current")) for path in told}
    assert not [path for path, usages in below.items() if any(int(usage.read_text()) for usage in usages)]
