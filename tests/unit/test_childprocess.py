# SPDX-License-Identifier: Apache-2.0
"""A child process that works for the resident stage. Modules that use one have their own tests."""

import os

import pytest

from oomkilld.host.childprocess import Child
from tests.unit.fakes import FakeLooker


class Unheard(FakeLooker):
    """A process whose descriptor epoll refuses."""

    def __init__(self) -> None:
        super().__init__()
        self._file = os.memfd_create("what epoll refuses")
        os.ftruncate(self._file, 4096)

    def fileno(self) -> int:
        return self._file


def test_a_child_that_cannot_be_polled_is_killed() -> None:
    child: Child[FakeLooker] = Child()
    process = Unheard()
    with pytest.raises(PermissionError):
        child.become(process)
    assert child.now is None
    assert process.killed
    child.reap()
    assert process.put_away
    child.end()
