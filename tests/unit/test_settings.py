# SPDX-License-Identifier: Apache-2.0
"""The configuration: what files are read, which wins, how errors are told."""

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

from oomkilld import configfiles, settings
from oomkilld.__main__ import main
from oomkilld.errors import BadConfiguration
from oomkilld.redaction import EXPECTED
from oomkilld.settings import Settings, load, load_file, render
from tests.support import pace

SHIPPED = Path(__file__).parents[2] / "etc/oomkilld/oomkilld.toml"


def put(root: Path, name: str, content: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def errors(path: Path) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        load_file(path)
    assert caught.value.exit_status == 78
    return [line.removeprefix(f"{path}: ") for line in caught.value.message.splitlines()]


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
    declared = {name: set(settings._table(Settings, name).model_fields) for name in Settings.model_fields}
    assert written == declared
    assert Settings.model_validate(tomllib.loads(options)) == Settings()


def test_whether_an_option_of_a_table_is_set_is_told_without_validating(tmp_path: Path) -> None:
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


def test_what_the_service_can_write_to_does_not_configure_it(tmp_path: Path) -> None:
    put(tmp_path, "run/oomkilld/oomkilld.toml", '[entry]\ncmdline = "full"\n')
    put(tmp_path, "run/oomkilld/oomkilld.toml.d/a.toml", '[log]\nlevel = "err"\n')
    assert load(tmp_path) == load(tmp_path / "nothing")


def test_a_drop_in_of_the_same_name_in_etc_replaces_the_others(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/oomkilld/oomkilld.toml.d/50.toml", '[log]\nlevel = "debug"\n[entry]\npriority = "info"\n')
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/50.toml", '[entry]\npriority = "err"\n')
    loaded = load(tmp_path)
    assert (loaded.settings.entry.priority, loaded.settings.log.level) == ("err", "info")


def test_only_the_first_main_file_counts(tmp_path: Path) -> None:
    put(tmp_path, "usr/lib/oomkilld/oomkilld.toml", '[log]\nlevel = "debug"\n')
    put(tmp_path, "etc/oomkilld/oomkilld.toml", '[entry]\npriority = "err"\n')
    assert load(tmp_path).settings.log.level == "info"


KILLS = "a number of kills from 1 to 1000, or 0 for never"
LEVELS = "'err', 'warning', 'info' or 'debug'"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '[capture]\nlevel = "magic"',
            "capture.level: found 'magic', expected 'auto', 'kprobe', 'fentry', 'tracepoint' or 'kmsg'",
        ),
        (
            '[capture]\nring_sise = "4MiB"',
            "capture.ring_sise: unknown key (did you mean 'ring_size'?), expected one of level, ring_size",
        ),
        ("[captur]", "captur: unknown key (did you mean 'capture'?), expected one of capture, entry, log"),
        ("listen = 1", "listen: unknown key, expected one of capture, entry, log"),
        ("[log]\nlistener = 1", "log.listener: unknown key, expected one of level"),
        (
            "[entry]\nliteral = 1",
            (
                "entry.literal: unknown key, expected one of priority, meminfo, statistics, outcome, reduce_from, "
                "cmdline, redact"
            ),
        ),
        ("zzz = 1", "zzz: unknown key, expected one of capture, entry, log"),
        ("capture = 3", "capture: found 3, expected a table, [capture]"),
        (
            '[capture]\nring_size = "3MiB"',
            "capture.ring_size: found '3MiB', expected a power of two from 4KiB to 64MiB, such as '4MiB'",
        ),
        (
            '[capture]\nring_size = "many"',
            "capture.ring_size: found 'many', expected a power of two from 4KiB to 64MiB, such as '4MiB'",
        ),
        (
            "[capture]\nring_size = true",
            "capture.ring_size: found True, expected a power of two from 4KiB to 64MiB, such as '4MiB'",
        ),
        (
            "[capture]\nring_size = 134217728",
            "capture.ring_size: found 134217728, expected a power of two from 4KiB to 64MiB, such as '4MiB'",
        ),
        ("[log]\nlevel = 6", f"log.level: found 6, expected {LEVELS}"),
        ("[entry]\nmeminfo = 7", "entry.meminfo: found 7, expected 'common', 'all' or a list of /proc/meminfo keys"),
        (
            '[entry]\nmeminfo = "some"',
            "entry.meminfo: found 'some', expected 'common', 'all' or a list of /proc/meminfo keys",
        ),
        (
            '[entry]\nmeminfo = ["MemFree", "a b"]',
            "entry.meminfo.1: found 'a b', expected a key as in /proc/meminfo, such as 'MemFree' or 'Active(anon)'",
        ),
        (
            "[entry]\nmeminfo = [3]",
            "entry.meminfo.0: found 3, expected a key as in /proc/meminfo, such as 'MemFree' or 'Active(anon)'",
        ),
        ('[entry]\noutcome = "none"', "entry.outcome: found 'none', expected 'stuck' or 'all'"),
        ("[entry]\nreduce_from = -1", f"entry.reduce_from: found -1, expected {KILLS}"),
        ("[entry]\nreduce_from = 1001", f"entry.reduce_from: found 1001, expected {KILLS}"),
        ("[entry]\nreduce_from = true", f"entry.reduce_from: found True, expected {KILLS}"),
        ("[entry]\nreduce_from = 9.5", f"entry.reduce_from: found 9.5, expected {KILLS}"),
        ('[entry]\nreduce_from = "never"', f"entry.reduce_from: found 'never', expected {KILLS}"),
        ("[entry]\ncmdline = true", "entry.cmdline: found True, expected 'off', 'first-argument' or 'full'"),
        (
            '[entry]\nredact = "password=*"',
            "entry.redact: found 'password=*', expected a list of at most 200 patterns such as 'password *'",
        ),
        (
            '[entry]\nredact = ["default", "password"]',
            f"entry.redact.1: found 'password', expected {EXPECTED}: no *: it would hide nothing",
        ),
        ("[entry]\nredact = [7]", f"entry.redact.0: found 7, expected {EXPECTED}"),
        ('[log]\nlevel = "\\u001b[2J"', f"log.level: found '\\x1b[2J', expected {LEVELS}"),
    ],
)
def test_an_error_names_file_key_value_and_what_was_expected(tmp_path: Path, content: str, expected: str) -> None:
    path = put(tmp_path, "bad.toml", content)
    assert errors(path) == [expected]


KEYS = st.one_of(
    st.sampled_from(["capture", "entry", "log", "level", "meminfo", "outcome", "redact", "list", "literal"]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@hypothesis.settings(max_examples=pace.examples(2_000), deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_a_file_says_each_error_is_a_line_with_its_key(tables: dict[str, Any]) -> None:
    try:
        Settings.model_validate(tables)
    except ValidationError as error:
        lines = list(settings._explain(Path("file"), error))
        assert lines
        assert all(re.match(r"file: .*: (found|unknown)", line) and line.isprintable() for line in lines)


def test_all_errors_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", "[log]\nlevel = 1\ncolour = 2\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/a.toml", "[capture\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/b.toml", "[entry]\npriority = 9\n")
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path)
    lines = caught.value.message.splitlines()
    assert [line.split(": ")[0].rpartition("/")[2] for line in lines] == [
        *("oomkilld.toml", "oomkilld.toml", "a.toml", "b.toml"),
    ]


def test_a_value_overridden_later_must_be_valid_too(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml", "[log]\nlevel = 1\n")
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d/a.toml", '[log]\nlevel = "err"\n')
    with pytest.raises(BadConfiguration):
        load(tmp_path)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    directory = tmp_path / "directory.toml"
    directory.mkdir()
    assert errors(directory) == ["cannot be read: Is a directory"]
    assert errors(tmp_path / "missing.toml") == ["cannot be read: No such file or directory"]
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = '\xff'")
    assert errors(binary) == ["found byte 0xff at offset 5, expected UTF-8 text"]
    huge = put(tmp_path, "huge.toml", "# " + "x" * 10_000_000)
    assert errors(huge) == ["found more than 1048576 bytes, expected a configuration file of at most that"]
    (syntax,) = errors(put(tmp_path, "syntax.toml", "[log\n"))
    assert syntax.startswith("expected TOML: ")
    assert "line 1" in syntax
    (number,) = errors(put(tmp_path, "number.toml", "a = " + "1" * 5000))
    assert number.startswith("expected TOML: ")
    assert errors(put(tmp_path, "deep.toml", "a = " + "[" * 100_000)) == [
        "found values nested too deeply, expected tables of options"
    ]


def test_a_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "etc/oomkilld/oomkilld.toml.d", "a file")
    with pytest.raises(BadConfiguration, match=r"oomkilld\.toml\.d: cannot be read: Not a directory"):
        load(tmp_path)


def test_a_long_value_is_shown_cut_off(tmp_path: Path) -> None:
    (line,) = errors(put(tmp_path, "long.toml", f'[log]\nlevel = "{"x" * 500}"\n'))
    assert len(line) < 200
    assert "…, expected" in line


def test_what_is_in_force_is_shown_with_its_origin_and_can_be_read_again(tmp_path: Path) -> None:
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


def test_check_config_says_all_and_ends_with_78(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = put(tmp_path, "bad.toml", "[log]\nlevel = 1\n")
    assert main(["--check-config", str(path)]) == 78
    assert f"oomkilld: {path}: log.level: found 1, expected {LEVELS}" in capfd.readouterr().err
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
    # Inherited by a terminal, it says nothing.
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    main(["--check-config", bad])
    assert all(line.startswith("oomkilld: ") for line in capsys.readouterr().err.splitlines())


def test_wrong_arguments_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--check"])
    assert "unrecognized arguments" in capsys.readouterr().err
