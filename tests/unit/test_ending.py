# SPDX-License-Identifier: Apache-2.0
"""What a failure becomes: a line, advice and an exit status; an unforeseen one ends with Python's traceback."""

import errno
import os
import resource
import sys
from types import SimpleNamespace
from typing import NoReturn

import pytest

from oomkilld import __main__, errors, limits
from oomkilld.ending import status_of


def fails(error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 71, "out of resources: Cannot allocate memory"),
        (OSError(errno.ENFILE, os.strerror(errno.ENFILE)), 71, "out of resources: Too many open files in system"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x"), 71, "out of resources: No space left on device (/x)"),
        (OSError("libx.so: failed to map segment from shared object"), 71, "out of resources: libx.so: failed to map"),
        (
            ImportError("libx.so: cannot open shared object file: Too many open files"),
            71,
            "out of resources: libx.so: cannot open",
        ),
        (ModuleNotFoundError("No module named 'pydantic'"), 69, "Failed to import a library: No module named"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "/sys/x"), 77, "/sys/x cannot be used: Permission denied"),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/proc/x"), 69, "/proc/x cannot be used: No such file"),
    ],
)
def test_a_failed_start_gives_status_and_advice(
    error: Exception, status: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert status_of(lambda: fails(error), errors.of_start) == status
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(f"oomkilld: {said}")
    assert len(lines) == 2


# During an upgrade a file is missing for a moment, and a disk may answer the next time.
@pytest.mark.parametrize(
    "error",
    [
        ValueError("?"),
        OSError(errno.ECONNRESET, "?"),
        OSError(errno.ENOENT, "?", "/opt/oomkilld/lib/oomkilld/config/settings.py"),
        OSError(errno.EIO, "?", "/sys/kernel/btf/vmlinux"),
    ],
)
def test_an_unforeseen_failure_is_shown_and_retried(error: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)):
        status_of(lambda: fails(error), errors.of_start)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("error", "status"), [(MemoryError(), 71), (errors.SteppedDown("it is", "report it"), 1)])
def test_the_resident_stage_ends_in_the_same_way(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "oomkilld.record.main", SimpleNamespace(main=lambda: fails(error)))
    assert __main__.resident() == status
    assert len(capfd.readouterr().err.splitlines()) == 2


def test_a_library_that_the_resident_stage_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "oomkilld.record.main", raising=False)
    monkeypatch.delitem(sys.modules, "oomkilld.record.deliver.journal", raising=False)
    monkeypatch.setitem(sys.modules, "systemd", None)
    monkeypatch.setitem(sys.modules, "systemd._journal", None)
    assert __main__.resident() == 69
    assert "python3-systemd" in capfd.readouterr().err


@pytest.mark.parametrize("allowed", [resource.RLIM_INFINITY, -2, -(1 << 63)])
def test_infinity_and_limits_beyond_a_signed_number_pass(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _limit: (allowed, allowed))
    limits.check()


def test_a_file_that_the_resident_stage_lacks_is_an_unforeseen_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/x")
    monkeypatch.setitem(sys.modules, "oomkilld.record.main", SimpleNamespace(main=lambda: fails(gone)))
    with pytest.raises(FileNotFoundError):
        __main__.resident()
