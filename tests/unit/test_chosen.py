# SPDX-License-Identifier: Apache-2.0
"""Settings that are validated once for the same files."""

import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld import settings
from oomkilld.arm import chosen
from oomkilld.arm.chosen import Chosen
from oomkilld.errors import BadConfiguration

ROOT = Path(__file__).parents[2]
DROP_IN = "etc/oomkilld/oomkilld.toml.d/10.toml"


class Scene:
    """A root with configuration files, beside the directory of notes; counts how often pydantic was asked."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = path / "root"
        self.notes = path / "notes"
        self.notes.mkdir()
        self.note = self.notes / "settings"
        self.validated = 0
        self._real = settings.load
        self.write("etc/oomkilld/oomkilld.toml", '[entry]\npriority = "err"\nredact = ["default", "pin *"]\n')
        monkeypatch.setattr(settings, "load", self.validate)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def validate(self, root: Path) -> settings.Loaded:
        self.validated += 1
        return self._real(root)

    def load(self) -> Chosen:
        return chosen.load(self.notes, self.root)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_the_same_files_are_validated_once(scene: Scene) -> None:
    first = scene.load()
    assert (first.level, first.ring_bytes) == ("auto", 4 << 20)
    assert (first.recording.priority, first.recording.log_priority) == (3, 6)
    assert (first.recording.meminfo, first.recording.cmdline, first.recording.outcome) == ("common", "off", "stuck")
    assert first.recording.reduce_from == 100
    assert len(first.recording.redact) > 40
    assert first.recording.redact[-1] == "pin *"
    assert scene.load() == first
    assert scene.validated == 1
    assert scene.note.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "text"),
    [("etc/oomkilld/oomkilld.toml", '[entry]\npriority = "info"\n'), (DROP_IN, '[entry]\npriority = "info"\n')],
)
def test_other_files_are_validated_anew(scene: Scene, name: str, text: str) -> None:
    scene.load()
    scene.write(name, text)
    assert scene.load().recording.priority == 6
    assert scene.load().recording.priority == 6
    assert scene.validated == 2


def test_a_file_that_is_renamed_is_another(scene: Scene) -> None:
    scene.write(DROP_IN, '[entry]\npriority = "info"\n')
    scene.write("etc/oomkilld/oomkilld.toml.d/20.toml", '[entry]\npriority = "debug"\n')
    assert scene.load().recording.priority == 7
    (scene.root / DROP_IN).rename(scene.root / "etc/oomkilld/oomkilld.toml.d/30.toml")
    assert scene.load().recording.priority == 6


def test_another_program_validates_anew(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.load()
    monkeypatch.setattr(sys, "version", "4.0")
    scene.load()
    monkeypatch.setattr(chosen, "_PROGRAM", ("settings.py",))
    scene.load()
    assert scene.validated == 3


def test_what_is_not_valid_is_said_each_time(scene: Scene) -> None:
    scene.write(DROP_IN, "[entry]\npriority = 7\n")
    for _ in range(2):
        with pytest.raises(BadConfiguration, match=r"10\.toml: entry\.priority: found 7"):
            scene.load()
    assert not scene.note.exists()


def test_a_file_that_cannot_be_read_is_said_also_after_it_could(scene: Scene) -> None:
    scene.load()
    (scene.root / DROP_IN).mkdir(parents=True)
    with pytest.raises(BadConfiguration, match="Is a directory"):
        scene.load()


@pytest.mark.parametrize("length", [0, 5, 16, 17, 40])
def test_a_note_that_was_cut_off_counts_for_nothing(scene: Scene, length: int) -> None:
    first = scene.load()
    scene.note.write_bytes(scene.note.read_bytes()[:length])
    assert scene.load() == first
    assert scene.validated == 2


@pytest.mark.parametrize("content", [b"N", b"(\x00\x00\x00\x00", b"i\x01\x00\x00\x00", b"\xff"])
def test_a_note_of_something_else_counts_for_nothing(scene: Scene, content: bytes) -> None:
    first = scene.load()
    scene.note.write_bytes(scene.note.read_bytes()[:16] + content)
    assert scene.load() == first


def test_without_a_place_for_it_nothing_is_noted(scene: Scene) -> None:
    scene.notes.rmdir()
    assert scene.load() == scene.load()
    assert scene.validated == 2


def test_where_no_room_is_left_nothing_is_noted(scene: Scene) -> None:
    scene.note.symlink_to("/dev/full")
    assert scene.load() == scene.load()
    assert scene.validated == 2


def test_a_file_that_is_too_large_is_said_and_not_read(scene: Scene) -> None:
    with (scene.root / "etc/oomkilld/oomkilld.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadConfiguration, match="more than 1048576 bytes"):
        scene.load()


def test_what_changes_while_it_is_validated_may_be_of_either(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(root: Path) -> settings.Loaded:
        loaded = scene.validate(root)
        scene.write(DROP_IN, '[entry]\npriority = "info"\n')
        return loaded

    monkeypatch.setattr(settings, "load", validate)
    assert scene.load().recording.priority == 3
    assert not scene.note.exists()
    assert scene.load().recording.priority == 6


def test_pydantic_is_imported_for_the_first_only(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from oomkilld.arm import chosen; "
        "chosen.load(sys.argv[1], Path('/nonexistent')); print('pydantic' in sys.modules)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert said == ["True\n", "False\n"]
