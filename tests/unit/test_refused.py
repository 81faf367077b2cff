# SPDX-License-Identifier: Apache-2.0
"""Configurations that are refused, and those that neither the service nor `--check-config` refuses."""

import errno
import os
import re
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oomkilld.__main__ import main
from oomkilld.config import access, settings
from oomkilld.config import files as configfiles
from oomkilld.config.settings import Settings, load, load_file
from oomkilld.errors import BadConfiguration
from tests.support import pace, unitfile
from tests.unit import bad_inputs
from tests.unit.bad_inputs import (
    CONFIGURATIONS,
    CONTENTS,
    CORRECT,
    DROP_IN,
    FILE,
    OF_OTHERS,
    UNTIL_THEN,
    VALID,
    Bad,
    put,
)


@pytest.mark.parametrize(
    "bad", [bad for bad in CONFIGURATIONS if bad.said.startswith(f"{FILE}:")], ids=lambda bad: bad.name
)
def test_a_file_in_use_is_refused_in_the_same_way_when_it_is_named(bad: Bad, tmp_path: Path) -> None:
    if bad in OF_OTHERS and os.geteuid() != 0:
        pytest.skip("only root makes files of others, and devices")
    path = bad.put(tmp_path)
    expected = bad.lines(tmp_path)
    with pytest.raises(BadConfiguration) as caught:
        load_file(path, tmp_path)
    assert (caught.value.exit_status, caught.value.message.splitlines()) == (78, expected)
    assert caught.value.hint == UNTIL_THEN


@pytest.mark.parametrize("bad", CONTENTS[::10], ids=lambda bad: bad.name)
def test_for_another_file_the_advice_does_not_mention_the_service(
    bad: Bad, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = bad.put(tmp_path)
    assert main(["--check-config", str(path)]) == 78
    output, said = capfd.readouterr()
    assert output == ""
    assert said.splitlines() == [f"oomkilld: {line}" for line in (*bad.lines(tmp_path), CORRECT)]


@pytest.mark.parametrize(
    "targets",
    [
        ("20.conf",),
        ("../20.conf",),
        ("/opt/site/10.toml",),
        ("/usr/share/10.toml", "/opt/./b"),
        ("/etc/oomkilld/a",),
    ],
    ids=str,
)
def test_links_may_lead_to_places_that_the_service_sees(targets: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / DROP_IN
    put(path, "")
    bad_inputs.link(*targets)(path)
    assert load(tmp_path).settings.entry.outcome == "all"


def test_a_linked_directory_needs_no_drop_ins(tmp_path: Path) -> None:
    put(tmp_path / "usr/local/etc/oomkilld/oomkilld.toml", VALID)
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "etc/oomkilld").symlink_to("/usr/local/etc/oomkilld")
    assert load(tmp_path).settings.entry.outcome == "all"


def test_without_a_file_the_modes_of_directories_do_not_matter(tmp_path: Path) -> None:
    for directory in ("etc", "usr", "usr/lib"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory).chmod(0o2775)
    assert load(tmp_path).settings.entry.outcome == "stuck"


def test_a_file_in_use_is_recognized_through_links(tmp_path: Path) -> None:
    path = tmp_path / DROP_IN
    put(path, VALID)
    path.chmod(0o666)
    (tmp_path / "to-file").symlink_to(path)
    (tmp_path / "to-directory").symlink_to(path.parent)
    for called in ("to-file", f"to-directory/{path.name}"):
        with pytest.raises(BadConfiguration, match="only root can write"):
            load_file(tmp_path / called, tmp_path)


@pytest.mark.parametrize(("name", "passed_over"), [("10.toml", False), ("10.conf", True), (".10.toml", True)])
def test_files_that_the_service_ignores_are_recognized(
    name: str,
    passed_over: bool,
    tmp_path: Path,
) -> None:
    path = (tmp_path / DROP_IN).with_name(name)
    put(path, VALID)
    assert configfiles.is_passed_over(path, tmp_path) == passed_over


def test_a_link_to_dev_null_is_an_empty_file(tmp_path: Path) -> None:
    put(tmp_path / "usr/lib/oomkilld/oomkilld.toml.d/10.toml", VALID)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/null").touch(0o666)
    path = tmp_path / DROP_IN
    path.parent.mkdir(parents=True, mode=0o755)
    path.symlink_to("/dev/null")
    assert load(tmp_path).settings.entry.outcome == "stuck"


@pytest.mark.parametrize("name", [".#10.toml", ".10.toml", "10.toml~", "#10.toml#", "10.toml.dpkg-old", "README"])
def test_leftovers_of_an_editor_or_dpkg_are_not_read(name: str, tmp_path: Path) -> None:
    put(tmp_path / DROP_IN, VALID)
    (tmp_path / DROP_IN).with_name(name).symlink_to("me@here.4242:1795785812")
    assert load(tmp_path).settings.entry.outcome == "all"


def test_a_file_that_is_not_in_use_is_read_with_the_callers_rights(tmp_path: Path) -> None:
    path = tmp_path / "home/me/new.toml"
    put(path, VALID)
    path.chmod(0o666)
    assert load_file(path, tmp_path).settings.entry.outcome == "all"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BadConfiguration, match="found a FIFO, expected a regular file"):
        load_file(path, tmp_path)


def test_the_sandbox_shows_the_places_that_links_may_lead_to() -> None:
    paths = unitfile.words("InaccessiblePaths") + unitfile.words("TemporaryFileSystem")
    hidden = [path.split(":")[0].lstrip("-/") for path in paths]
    hidden += ["home", "root", "run", "tmp", "var/tmp"]  # ProtectHome=, PrivateTmp=
    for place in access.VISIBLE:
        assert [path for path in hidden if f"{path}/".startswith(f"{place}/") or place.startswith(f"{path}/")] == []
    rights = unitfile.words("CapabilityBoundingSet")
    assert rights
    assert [right for right in rights if right.startswith(("CAP_DAC_", "CAP_FOWNER"))] == []


def test_rows_that_this_kernel_lacks_are_named_and_are_no_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.toml"
    put(path, '[entry]\nmeminfo = [\n  "MemFree",\n  "MemFre",\n  "Nothing",\n]\n')
    assert main(["--check-config", str(path)]) == 0
    said = "entry.meminfo: this kernel's /proc/meminfo has no"
    assert capfd.readouterr().err.splitlines() == [
        f"oomkilld: {path}:4: {said} 'MemFre' (did you mean 'MemFree'?), ignoring",
        f"oomkilld: {path}:5: {said} 'Nothing', ignoring",
    ]


def test_valid_sizes_of_the_ring(tmp_path: Path) -> None:
    for text, size in (('"4KiB"', 4096), ('"1024KiB"', 1 << 20), ('"64MiB"', 64 << 20), ("4_096", 4096)):
        put(tmp_path / DROP_IN, f"[capture]\nring_size = {text}\n")
        assert load(tmp_path).settings.capture.ring_size == size


@hypothesis.settings(max_examples=pace.examples(200))
@given(st.one_of(st.text(max_size=8), st.from_regex(r"\d+ ?[KM]i?B?\w?", fullmatch=True)))
def test_no_other_text_is_a_size_of_the_ring(text: str) -> None:
    if not re.fullmatch("[0-9]+(KiB|MiB)", text):
        with pytest.raises(ValidationError):
            settings.Capture(ring_size=text)  # type: ignore[arg-type]


def test_every_option_says_what_it_expects() -> None:
    every = {f"{table}.{option}" for table in Settings.model_fields for option in settings._options(table)}
    assert settings.EXPECTED.keys() == every


def test_a_passing_failure_is_no_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / DROP_IN, VALID)

    def no_more_files(*_arguments: object, **_options: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    for function in ("open", "listdir"):
        with monkeypatch.context() as patched:
            patched.setattr(os, function, no_more_files)
            with pytest.raises(OSError, match="Too many open files"):
                load(tmp_path)


TOKENS = [
    *(
        "[log]",
        "[entry]",
        "[[log]]",
        "level",
        "redact",
        "log.level",
        " = ",
        "\n",
        "\n",
        "\r\n",
        "#",
        "'",
        '"',
        '"""',
        "'''",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        "\\",
        "\\u0000",
        "1",
        "9" * 4400,
        "true",
        "nan",
        "2026-11-29",
        '"info"',
        "\0",
        "\ufeff",
        "\u0661",
    ),
]


@hypothesis.settings(max_examples=pace.examples(200))
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(TOKENS), max_size=12).map("".join)))
def test_whatever_a_file_contains_an_error_names_one_of_its_lines(text: str) -> None:
    path = Path(tempfile.gettempdir(), f"oomkilld-test-{os.getpid()}.toml")
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        load_file(path)
    except BadConfiguration as error:
        for line in error.message.splitlines():
            said = re.fullmatch(rf"{path}:(\d*):? ?(.*: )?(found|unknown) .*expected .*", line)
            assert said, line
            assert line.isprintable()
            assert 1 <= int(said[1] or 1) <= text.count("\n") + 1
    finally:
        path.unlink()
