# SPDX-License-Identifier: Apache-2.0
"""How the resident stage keeps its memory, tried on a process of its own."""

import gc
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld.record.process import memory

ROOT = Path(__file__).parents[2]
HOLD_ON = """
import gc, resource, sys
from oomkilld.record.process import memory
try:
    memory.hold_on()
    print("locked")
except memory.CannotLock as error:
    print(error)
limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
print(gc.get_freeze_count() > 1000, limit, len(sys.path_importer_cache), __import__("colorsys").__name__)
with open("/proc/self/status") as file:
    print(next(int(line.split()[1]) for line in file if line.startswith("VmLck")))
try:
    taken = bytearray(48 << 20)
    print("no end")
except MemoryError:
    print("bounded")
"""


def held_on(*wrapper: str) -> list[str]:
    command = [*wrapper, sys.executable, "-c", HOLD_ON]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def test_pages_are_locked_data_is_bounded_and_existing_objects_are_not_collected() -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY
    locked, rest, kilobytes, bounded = held_on(*(("prlimit", "--memlock=unlimited") if unlimited else ()))
    assert (rest, bounded) == ("True 50331648 0 colorsys", "bounded")
    if unlimited:
        assert locked == "locked"
        assert int(kilobytes) > 1000
    else:
        assert "expected none (LimitMEMLOCK=infinity)" in locked


def test_with_a_limit_nothing_is_locked_because_allocations_would_fail_there() -> None:
    locked, rest, kilobytes, bounded = held_on("prlimit", "--memlock=1000000:1000000")
    assert locked == "found a limit of 1000000 bytes, expected none (LimitMEMLOCK=infinity)"
    assert (rest, kilobytes, bounded) == ("True 50331648 0 colorsys", "0", "bounded")


def test_a_lower_limit_stays() -> None:
    assert held_on("prlimit", "--data=40000000:40000000")[1] == "True 40000000 0 colorsys"


def test_a_refusal_is_reported_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: done.append(limit))
    monkeypatch.setattr(memory, "call", lambda *_call: -1)
    with pytest.raises(memory.CannotLock, match="mlockall failed"):
        memory.hold_on()
    assert done == ["freeze", (resource.RLIMIT_DATA, (48 << 20, resource.RLIM_INFINITY))]
