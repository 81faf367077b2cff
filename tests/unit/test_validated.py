# SPDX-License-Identifier: Apache-2.0
"""Settings that are validated once for the same files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from oomkilld.config import options, settings, validated
from oomkilld.config.validated import Chosen
from tests.unit.bad_inputs import CLOSED, CONTENTS, DROP_IN, VALID, Bad, put

ROOT = Path(__file__).parents[2]


class Scene:
    """A root with configuration files, and the directory for notes; counts the validations by pydantic."""

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
        put(self.root / name, text)

    def validate(self, root: Path) -> settings.Loaded:
        self.validated += 1
        return self._real(root)

    def load(self) -> Chosen:
        return validated.load(self.notes, self.root)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_the_same_files_are_validated_once(scene: Scene) -> None:
    first = scene.load()
    assert (first.level, first.ring_bytes) == ("auto", 4 << 20)
    assert (first.recording.priority, first.recording.log_priority) == (3, 6)
    assert (first.recording.meminfo, first.recording.cmdline, first.recording.outcome) == ("common", "off", "stuck")
    assert first.recording.reduce_from == 100
    assert first.recording.recorder_cgroups == 0
    assert len(first.recording.redact) > 40
    assert first.recording.redact[-1] == "pin *"
    assert scene.load() == first
    assert scene.validated == 1
    assert scene.note.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "text"),
    [("etc/oomkilld/oomkilld.toml", '[entry]\npriority = "info"\n'), (DROP_IN, '[entry]\npriority = "info"\n')],
)
def test_changed_files_are_validated_again(scene: Scene, name: str, text: str) -> None:
    scene.load()
    scene.write(name, text)
    assert scene.load().recording.priority == 6
    assert scene.load().recording.priority == 6
    assert scene.validated == 2


def test_a_renamed_file_is_another(scene: Scene) -> None:
    scene.write(DROP_IN, '[entry]\npriority = "info"\n')
    scene.write("etc/oomkilld/oomkilld.toml.d/20.toml", '[entry]\npriority = "debug"\n')
    assert scene.load().recording.priority == 7
    (scene.root / DROP_IN).rename(scene.root / "etc/oomkilld/oomkilld.toml.d/30.toml")
    assert scene.load().recording.priority == 6


def test_another_program_validates_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.load()
    monkeypatch.setattr(sys, "version", "4.0")
    scene.load()
    monkeypatch.setattr(validated, "_PROGRAM", ("config/settings.py",))
    scene.load()
    assert scene.validated == 3


DEFAULTS = "oomkilld: the configuration is invalid: the service uses the defaults"
BEFORE = "oomkilld: the configuration is invalid: the service uses the last valid settings, without command lines"
ADVICE = "oomkilld: correct the errors above, run `oomkilld --check-config`, then `systemctl restart oomkilld`"


def test_without_earlier_settings_the_defaults_apply_and_each_start_reports_it(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.write(DROP_IN, "[entry]\npriority = 7\n")
    for _ in range(2):
        assert scene.load() == validated._chosen(settings.Settings())._replace(instead="the defaults")
        first, *others = capfd.readouterr().err.splitlines()
        assert first.startswith(f"oomkilld: {scene.root / DROP_IN}:2: entry.priority: found 7, expected 'emerg'")
        assert others == [DEFAULTS, ADVICE]
    assert not scene.note.exists()


def test_the_last_valid_settings_apply_until_the_files_are_valid_again(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.write(DROP_IN, '[capture]\nlevel = "kmsg"\nring_size = "8MiB"\n[entry]\nmeminfo = ["MemFree"]\n')
    before = scene.load()
    scene.write(DROP_IN, "[entry]\npriority = 7\n")
    for _ in range(2):
        assert scene.load() == before._replace(instead="the last valid settings, without command lines")
        values = (
            'capture.level = "kmsg", capture.ring_size = 8388608, entry.priority = "err", entry.meminfo = ["MemFree"]'
        )
        assert capfd.readouterr().err.splitlines()[1:] == [f"{BEFORE} (not by default: {values})", ADVICE]
    scene.write(DROP_IN, '[entry]\npriority = "info"\n')
    after = scene.load()
    assert (after.recording.priority, after.instead) == (6, "")
    assert capfd.readouterr().err == ""


def test_earlier_settings_record_no_command_lines(scene: Scene) -> None:
    scene.write(DROP_IN, '[entry]\ncmdline = "full"\n')
    assert scene.load().recording.cmdline == "full"
    scene.write(DROP_IN, '[entry]\ncmdline = "of"\n')
    for _ in range(2):
        assert scene.load().recording.cmdline == "off"
    # The fallback is not noted: command lines are recorded again as soon as the file asks for them.
    scene.write(DROP_IN, '[entry]\ncmdline = "full"\n')
    assert scene.load().recording.cmdline == "full"


def test_settings_that_another_program_validated_count_as_earlier_ones(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scene.load()
    monkeypatch.setattr(sys, "version", "4.0")
    scene.write(DROP_IN, "[entry]\npriority = 7\n")
    assert scene.load().recording == before.recording


@pytest.mark.parametrize("bad", [*CONTENTS[::4], *CLOSED], ids=lambda bad: bad.name)
def test_whatever_is_wrong_recording_continues(bad: Bad, scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    at_first = scene.root.with_name("at-first")
    bad.put(at_first)
    assert validated.load(scene.notes, at_first).instead == "the defaults"
    assert capfd.readouterr().err.splitlines()[-2:] == [DEFAULTS, ADVICE]
    (scene.root / "etc/oomkilld/oomkilld.toml").unlink()
    scene.write(DROP_IN, VALID)
    assert scene.load().instead == ""
    bad.put(scene.root)
    loaded = scene.load()
    assert (loaded.recording.outcome, loaded.instead) == (
        "all",
        "the last valid settings, without command lines",
    )
    assert capfd.readouterr().err.splitlines()[-2:] == [f'{BEFORE} (not by default: entry.outcome = "all")', ADVICE]


@pytest.mark.parametrize("length", [0, 5, 40, 200, -2])
def test_a_cut_note_is_ignored(scene: Scene, length: int) -> None:
    first = scene.load()
    scene.note.write_bytes(scene.note.read_bytes()[:length])
    assert scene.load() == first
    assert scene.validated == 2


DEEP = b"[" * 100_000


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff", b'{"digest": 1}', b"1" * 5000, DEEP, b"x" * (1 << 21)])
def test_a_note_with_other_content_is_ignored(scene: Scene, content: bytes) -> None:
    first = scene.load()
    scene.note.write_bytes(content)
    assert scene.load() == first
    assert scene.validated == 2


RECORDING: dict[str, list[Any]] = {
    "priority": [8, -1, "2", True, None],
    "log_priority": [0, 5, 7, True],
    "meminfo": ["some", ["a b"], [3], ["MemFree\n"], ["x" * 41], {"MemFree": 1}],
    "statistics": ["none", ["common"]],
    "outcome": ["gone"],
    "reduce_from": [-1, 1001, 9.5, True, "100"],
    "cmdline": ["on", True],
    "redact": ["default", ["password"], [7], ["*" * 200], {"password *": 1}],
    "recorder_cgroups": [-1, 257, True, "256", None],
}
TOP: dict[str, list[Any]] = {
    "level": ["magic", 7, None, ["auto"]],
    "ring_bytes": [4095, 3 << 20, 1 << 40, "4MiB", 4194304.0, True],
}
FORGED = [
    *((name, value) for name, values in TOP.items() for value in values),
    *(("recording", {name: value}) for name, values in RECORDING.items() for value in values),
    ("recording", {"shell": "x"}),
    ("recording", None),
]


@pytest.mark.parametrize(("name", "value"), FORGED, ids=str)
def test_a_forged_note_with_an_impossible_setting_is_ignored(scene: Scene, name: str, value: Any) -> None:
    """The digest is no secret: it is that of files which everybody can read."""
    first = scene.load()
    noted = json.loads(scene.note.read_bytes())
    noted[name] = {**noted[name], **value} if isinstance(value, dict) else value
    scene.note.write_text(json.dumps(noted))
    assert scene.load() == first
    assert scene.validated == 2


def test_every_valid_value_is_accepted_from_the_note(scene: Scene) -> None:
    """The check without pydantic accepts what pydantic accepts."""
    texts = [f'[capture]\nlevel = "{name}"\n' for name in get_args(options.CaptureLevel)]
    texts += [f"[capture]\nring_size = {1 << bits}\n" for bits in range(12, 27)]
    texts += [f'[entry]\npriority = "{name}"\n' for name in get_args(options.SyslogLevel)]
    texts += [f'[log]\nlevel = "{name}"\n' for name in get_args(options.LogLevel)]
    texts += ['[entry]\nmeminfo = "all"\nstatistics = "all"\noutcome = "all"\nreduce_from = 1000\ncmdline = "full"\n']
    texts += ['[entry]\nmeminfo = ["MemFree", "Active(anon)"]\ncmdline = "first-argument"\nredact = []\n']
    texts += ['[entry]\nmeminfo = []\nreduce_from = 0\nredact = ["default"]\n']
    texts += ["[recorder]\nenabled = true\n", "[recorder]\nenabled = true\ncgroups = 1\n"]
    for count, text in enumerate(texts, start=1):
        scene.write(DROP_IN, text)
        assert scene.load() == scene.load()
        assert scene.validated == count, text


def test_a_planted_note_neither_blocks_nor_is_followed(scene: Scene, tmp_path: Path) -> None:
    first = scene.load()
    target = tmp_path / "target"
    target.write_bytes(scene.note.read_bytes())
    for plant in (os.mkfifo, lambda note: note.symlink_to(target), Path.mkdir):
        scene.note.unlink()
        plant(scene.note)
        before = scene.validated
        assert scene.load() == first
        assert scene.validated == before + 1
    assert target.stat().st_size > 0
    scene.note.rmdir()
    new = scene.notes / "settings.new"
    new.symlink_to(target)
    assert scene.load() == first
    assert not target.is_symlink()
    assert not new.is_symlink()


def test_without_a_directory_nothing_is_noted(scene: Scene) -> None:
    scene.notes.rmdir()
    assert scene.load() == scene.load()
    assert scene.validated == 2


def test_if_no_space_is_left_the_previous_note_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.load()
    before = scene.note.read_bytes()
    scene.write(DROP_IN, '[entry]\npriority = "info"\n')
    really_open = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        new = path.endswith("settings.new")
        return really_open("/dev/full", os.O_WRONLY) if new else really_open(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    assert scene.load() == scene.load()
    assert scene.validated == 3
    assert scene.note.read_bytes() == before


def test_a_file_changed_during_validation_gives_either_value(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(root: Path) -> settings.Loaded:
        loaded = scene.validate(root)
        scene.write(DROP_IN, '[entry]\npriority = "info"\n')
        return loaded

    monkeypatch.setattr(settings, "load", validate)
    assert scene.load().recording.priority == 3
    assert not scene.note.exists()
    assert scene.load().recording.priority == 6


def test_only_the_first_validation_imports_pydantic(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from oomkilld.config import validated; "
        "validated.load(sys.argv[1], Path(sys.argv[1])); print({'pydantic', 'tomllib'} & sys.modules.keys() != set())"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert said == ["True\n", "False\n"]


def test_the_flight_recorder_is_off_unless_it_is_enabled(scene: Scene) -> None:
    for text, cgroups in (
        ("", 0),
        ("[recorder]\ncgroups = 7\n", 0),
        ("[recorder]\nenabled = false\ncgroups = 7\n", 0),
        ("[recorder]\nenabled = true\n", 256),
        ("[recorder]\nenabled = true\ncgroups = 7\n", 7),
    ):
        scene.write(DROP_IN, text)
        assert scene.load().recording.recorder_cgroups == cgroups
