# SPDX-License-Identifier: Apache-2.0
"""The page cache that the compiler's files fill is given back."""

import ctypes
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.arm import compiler
from oomkilld.arm.pagecache import give_back, mapped_files
from oomkilld.errors import CaptureUnavailable
from tests.support.live import wait_for

PAGES = 512
MAP = """\
import mmap, sys
with open(sys.argv[1], "rb") as file:
    mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
for at in range(0, int(sys.argv[2]) * mmap.PAGESIZE, mmap.PAGESIZE):
    mapping[at]
print("mapped", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def library() -> Iterator[Path]:
    """A file on a disk, read just now: what is written to it need not be kept."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp", suffix=" a\rname\udcff") as file:
        file.write(bytes(PAGES * mmap.PAGESIZE))
        file.flush()
        os.fsync(file.fileno())
        path = Path(file.name)
        path.read_bytes()
        assert cached_pages(path) == PAGES
        yield path


def cached_pages(path: Path) -> int:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        states = (ctypes.c_ubyte * PAGES)()
        begin = ctypes.c_char.from_buffer(mapping)
        status = ctypes.CDLL(None).mincore(ctypes.byref(begin), ctypes.c_size_t(len(mapping)), states)
        del begin
    assert status == 0
    return sum(state & 1 for state in states)


def test_the_memory_of_a_file_is_given_back(library: Path) -> None:
    give_back([str(library)])
    assert cached_pages(library) == 0


def test_what_another_process_maps_stays(library: Path) -> None:
    command = [sys.executable, "-c", MAP, str(library), str(PAGES // 2)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert str(library) in mapped_files(other.pid)
        give_back([str(library)])
        assert cached_pages(library) >= PAGES // 2
        other.kill()


@pytest.mark.parametrize("ends", ["after its report", "without a report"])
def test_what_the_compiler_mapped_is_given_back_once_it_has_ended(library: Path, tmp_path: Path, ends: str) -> None:
    kept = []

    def work(_jobs: compiler.Jobs) -> tuple[compiler._Verdict, list[int]]:
        with library.open("rb") as file:
            kept.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        assert kept[0][0] == 0
        (tmp_path / "mapped").touch()
        if ends == "without a report":
            time.sleep(60)
        return compiler._Verdict("import", "a library"), []

    child = compiler.Compiler(work)
    if ends == "after its report":
        with pytest.raises(CaptureUnavailable):
            child.arm(compiler.Job("", 0, "", cmdline=False))
    wait_for("the mapping", (tmp_path / "mapped").exists, 30)
    child.close()
    assert cached_pages(library) == 0


def test_what_this_process_maps_too_stays(library: Path) -> None:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        compiler.Compiler(lambda _jobs: (compiler._Verdict(None), [])).close()
    assert cached_pages(library) == PAGES


def test_of_a_process_that_has_ended_no_file_is_known() -> None:
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert mapped_files(ended.pid) == set()


@pytest.mark.parametrize("path", ["/nowhere", "/dev/zero", "/", "/tmp/gone (deleted)"])
def test_a_file_that_cannot_be_read_does_no_harm(path: str) -> None:
    give_back([path])


def test_names_are_whole(library: Path) -> None:
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
        assert str(library) in mapped_files("self")
