# SPDX-License-Identifier: Apache-2.0
"""Whether journald stores what it reads, seen by the journal's files."""

import os
from pathlib import Path

import pytest

from oomkilld.record.deliver.storage import TROUBLE, Files, Storage
from tests.unit.fakes import FakeJournal

MACHINE = "5c2b6f1f9a3b4f6a8f1d2f1f5a0c9e11"


class Scene:
    """A journald that stores entries or not, and the service's view of it."""

    def __init__(self, root: Path, stored_in: str = "run/log/journal") -> None:
        (root / "etc").mkdir()
        (root / "etc/machine-id").write_text(f"{MACHINE}\n")
        self.file = root / stored_in / MACHINE / "system.journal"
        self.file.parent.mkdir(parents=True)
        self.warnings: list[str] = []
        self.journal = FakeJournal([])
        files = Files(str(root))
        self.storage = Storage(self.journal, files, files.state(), self.warnings.append)

    def send(self, *, stored: bool) -> None:
        self.journal.send([b"MESSAGE=one"])
        if stored:
            with self.file.open("a") as file:
                file.write("x")
            os.utime(self.file, ns=(0, self.file.stat().st_mtime_ns + 4_000_000))

    def look(self) -> str:
        self.storage.look()
        return self.storage.trouble


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize("directory", ["run/log/journal", "var/log/journal"])
def test_a_journald_that_stores_causes_no_warning(tmp_path: Path, directory: str) -> None:
    scene = Scene(tmp_path, directory)
    scene.send(stored=True)
    for _ in range(3):
        assert scene.look() == ""
        scene.send(stored=True)
    assert scene.warnings == []


def test_a_journald_that_stores_nothing_is_reported_once(scene: Scene) -> None:
    scene.send(stored=False)
    assert [scene.look() for _ in range(4)] == ["", TROUBLE, TROUBLE, TROUBLE]
    assert len(scene.warnings) == 1


def test_older_files_do_not_count_as_stored(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.file.write_text("of before")
    files = Files(str(tmp_path))
    scene.storage = Storage(scene.journal, files, files.state(), scene.warnings.append)
    scene.send(stored=False)
    assert [scene.look() for _ in range(2)] == ["", TROUBLE]


def test_while_journald_has_read_nothing_it_is_not_known(scene: Scene) -> None:
    scene.journal.hangs = True
    scene.send(stored=False)
    assert [scene.look() for _ in range(5)] == [""] * 5
    scene.journal.hangs = False
    # It has read the entry; whether it stores the entry shows later.
    assert [scene.look() for _ in range(2)] == ["", TROUBLE]


def test_an_entry_that_was_read_just_now_may_not_be_stored_yet(scene: Scene) -> None:
    scene.journal.hangs = True
    scene.send(stored=False)
    assert [scene.look() for _ in range(3)] == [""] * 3
    scene.journal.hangs = False
    assert scene.look() == ""
    scene.send(stored=True)
    assert [scene.look() for _ in range(2)] == [""] * 2


def test_after_journald_stores_again_a_new_failure_is_reported_again(scene: Scene) -> None:
    scene.send(stored=False)
    assert [scene.look() for _ in range(2)] == ["", TROUBLE]
    scene.send(stored=True)
    assert scene.look() == ""
    # As long as the service sends no entry, journald need not store anything.
    scene.journal.ping()
    assert [scene.look() for _ in range(3)] == [""] * 3
    scene.send(stored=False)
    assert [scene.look() for _ in range(2)] == ["", TROUBLE]
    assert len(scene.warnings) == 2


def test_a_new_journald_is_unknown_until_it_gets_an_entry(scene: Scene) -> None:
    scene.send(stored=True)
    assert scene.look() == ""
    # An entry that the previous journald did not read says nothing about the new one.
    scene.journal.hangs = True
    scene.send(stored=False)
    assert scene.look() == ""
    scene.journal.hangs = False
    scene.journal.started += 1
    assert [scene.look() for _ in range(3)] == [""] * 3
    scene.send(stored=False)
    assert [scene.look() for _ in range(2)] == ["", TROUBLE]


def test_without_a_machine_id_the_files_are_unknown(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "etc/machine-id").unlink()
    files = Files(str(tmp_path))
    scene.storage = Storage(scene.journal, files, files.state(), scene.warnings.append)
    scene.send(stored=False)
    assert [scene.look() for _ in range(3)] == [""] * 3
