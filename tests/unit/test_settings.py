# SPDX-License-Identifier: Apache-2.0
"""The configuration: which files are read, which one wins, how errors are reported."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oomkilld.__main__ import main
from oomkilld.config import files as configfiles
from oomkilld.config import settings
from oomkilld.config.files import Parsed
from oomkilld.config.settings import Settings, load, load_file, render
from oomkilld.errors import BadConfiguration
from tests.support import pace
from tests.unit.bad_inputs import LOG_LEVELS
from tests.unit.bad_inputs import put as put_file

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "etc/oomkilld/oomkilld.toml"


def put(root: Path, name: str, content: str) -> Path:
    put_file(path := root / name, content)
    return path


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.settings == Settings()
    assert (loaded.settings.capture.level, loaded.settings.entry.priority) == ("auto", "crit")
    assert (loaded.settings.capture.ring_size, loaded.settings.entry.meminfo) == (4 << 20, "common")
    assert loaded.settings.entry.outcome == "stuck"
    assert (loaded.settings.entry.cmdline, loaded.settings.entry.redact) == ("off", ["default"])
    assert loaded.origins == {}


def test_the_shipped_file_has_every_option_commented_out_at_its_default() -> None:
    text = SHIPPED.read_text()
    assert tomllib.loads(text) == {name: {} for name in Settings.model_fields}
    options = re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    written = {table: set(content) for table, content in tomllib.loads(options).items()}
    declared = {name: set(settings._options(name)) for name in Settings.model_fields}
    assert written == declared
    assert Settings.model_validate(tomllib.loads(options)) == Settings()


def test_whether_an_option_is_set_is_known_without_validating(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", SHIPPED.read_text())
    assert not configfiles.mention("capture", root=tmp_path)
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/a.toml", '[log]\nlevel = "err"\n')
    assert not configfiles.mention("capture", root=tmp_path)
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/a.toml", '[entry]\ncmdline = "full"\n')
    assert configfiles.mention("entry", "cmdline", tmp_path)
    assert not configfiles.mention("entry", "redact", tmp_path)
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/b.toml", "[capture]\nring_size = 3\n")
    assert configfiles.mention("capture", root=tmp_path)
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/b.toml", "[capture\n")
    assert configfiles.mention("capture", root=tmp_path)


def test_drop_ins_are_read_by_name_and_a_later_one_wins(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", '[log]\nlevel = "err"\n[entry]\npriority = "err"\n')
    put(tmp_path, "usr/lib/oomkilld/oomkilld.toml.d/50-b.toml", '[entry]\npriority = "info"\n')
    last = put(tmp_path, "etc/oomkilld/oomkilld.toml.d/60-c.toml", '[entry]\npriority = "debug"\n')
    loaded = load(tmp_path)
    assert loaded.settings.entry.priority == "debug"
    assert loaded.settings.log.level == "err"
    assert loaded.origins["entry.priority"] == last


def test_files_that_the_service_can_write_to_do_not_configure_it(tmp_path: Path) -> None:
    put(tmp_path, "run/oomkilld/oomkilld.toml", '[entry]\ncmdline = "full"\n')
    put(tmp_path, "run/oomkilld/oomkilld.toml.d/a.toml", '[log]\nlevel = "err"\n')
    assert load(tmp_path) == settings.Loaded(Settings(), {})


def test_a_drop_in_of_the_same_name_in_etc_replaces_the_others(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/oomkilld/oomkilld.toml.d/50.toml", '[log]\nlevel = "warning"\n[entry]\npriority = "info"\n')
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/50.toml", '[entry]\npriority = "err"\n')
    loaded = load(tmp_path)
    assert (loaded.settings.entry.priority, loaded.settings.log.level) == ("err", "info")


def test_only_the_first_main_file_counts(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/oomkilld/oomkilld.toml", '[log]\nlevel = "warning"\n')
    put(tmp_path, "etc/oomkilld/oomkilld.toml", '[entry]\npriority = "err"\n')
    assert load(tmp_path).settings.log.level == "info"


KEYS = st.one_of(
    st.sampled_from(["capture", "entry", "log", "level", "meminfo", "outcome", "redact", "list", "literal"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@hypothesis.settings(max_examples=pace.examples(2_000))
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_a_file_says_each_error_is_a_line_with_its_key(tables: dict[str, Any]) -> None:
    try:
        Settings.model_validate(tables)
    except ValidationError as error:
        lines = list(settings.explain(Path("file"), Parsed("", tables), error))
        assert lines
        assert all(re.match(r"file: (.*: (found|unknown)|\d+ more)", line) and line.isprintable() for line in lines)


def test_all_errors_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", "[log]\nlevel = 1\ncolour = 2\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/a.toml", "[capture\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/b.toml", "[entry]\npriority = 9\n")
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path)
    lines = caught.value.message.splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines] == [
        *("oomkilld.toml:2", "oomkilld.toml:3", "a.toml:1", "b.toml:2"),
    ]


def test_an_error_of_a_directory_is_reported_with_the_rest(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", "[log]\nlevel = 1\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d", "a file")
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path)
    assert [line.split(": ")[0].rpartition("/")[2] for line in caught.value.message.splitlines()] == [
        *("oomkilld.toml.d", "oomkilld.toml:2"),
    ]


def test_a_value_overridden_later_must_be_valid_too(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", "[log]\nlevel = 1\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/a.toml", '[log]\nlevel = "err"\n')
    with pytest.raises(BadConfiguration):
        load(tmp_path)


def test_the_settings_in_force_are_shown_with_their_origin_and_can_be_read_again(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "one.toml",
        '[capture]\nring_size = "64KiB"\n[entry]\nmeminfo = ["MemFree", "Active(anon)"]\nreduce_from = 7\n',
    )
    shown = render(load_file(path))
    assert f'ring_size = "64KiB"  # {path}' in shown
    assert 'level = "auto"  # default' in shown
    assert f"reduce_from = 7  # {path}" in shown
    assert load_file(put(tmp_path, "two.toml", shown)).settings == load_file(path).settings


def test_check_config_reports_all_errors_and_exits_with_78(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = put(tmp_path, "bad.toml", "[log]\nlevel = 1\n")
    assert main(["--check-config", str(path)]) == 78
    assert f"oomkilld: {path}:2: log.level: found 1, {LOG_LEVELS}" in capfd.readouterr().err
    assert main(["--check-config", str(SHIPPED)]) == 0
    assert capfd.readouterr() == ("", "")


def test_errors_in_the_journal_carry_their_priority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = str(put(tmp_path, "bad.toml", "[log]\nlevel = 1\n"))
    stream = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")
    main(["--check-config", bad])
    assert all(re.match(r"<[35]>\S", line) for line in capsys.readouterr().err.splitlines())
    # A terminal may have inherited the variable: then it means nothing.
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    main(["--check-config", bad])
    assert all(line.startswith("oomkilld: ") for line in capsys.readouterr().err.splitlines())
