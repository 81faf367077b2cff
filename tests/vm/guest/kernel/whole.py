# SPDX-License-Identifier: Apache-2.0
"""Processes that take all the memory of the machine, and checks of what entries say about the consumers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import live
from tests.vm.guest.service import file, run, service_restored

# Above everything else on the machine, so that only these are killed.
HOG = ("adjust=1000", "uid=65534", "name=host eater")
# For one of them to take all memory, on an emulated machine that meanwhile reads its programs from disk repeatedly.
KILLED_WITHIN = 240.0

_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def promised_time() -> Iterator[None]:
    """The service gets the usual time to read what fills a domain, not the ten times as long of other guests."""
    (module,) = Path("/opt/oomkilld").rglob("oomkilld/record/enrich/memcgusage.py")
    text = module.read_text()
    assert "\nMAX_MILLISECONDS = 10 * " in text
    with service_restored(), file(module, text.replace("\nMAX_MILLISECONDS = 10 * ", "\nMAX_MILLISECONDS = ")):
        assert run("systemctl", "restart", "oomkilld").returncode == 0, live.service_journal()
        live.wait_for("status", live.service_counts, 10, live.service_journal)
        yield


def assert_no_parent_is_told_as_a_leaf(entries: Sequence[live.Entry]) -> None:
    """A cgroup whose children use memory has no size in OOM_TOP: it does not use that memory itself."""
    told, unread = set(), set()
    for entry in entries:
        paths = {number: entry.get(f"OOM_TOP_{number}_CGROUP") for number in range(1, 6)}
        told |= {path for number, path in paths.items() if path and f"OOM_TOP_{number}_BYTES" in entry}
        unread |= {path for number, path in paths.items() if path and f"OOM_TOP_{number}_BYTES" not in entry}
    print(f"the largest: {sorted(told)}; not searched in time: {sorted(unread)}")
    below = {path: list((_CGROUPS / path.lstrip("/")).glob("*/memory.current")) for path in told}
    assert not [path for path, usages in below.items() if any(int(usage.read_text()) for usage in usages)]
