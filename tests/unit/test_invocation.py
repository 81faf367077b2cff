# SPDX-License-Identifier: Apache-2.0
"""The invocation id of a unit, as PID 1 leaves it in /run."""

from pathlib import Path

import pytest

from oomkilld.record.invocation import invocation_id

ID = "166765845413463db9445ba25ccfefb0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    units = tmp_path / "run/systemd/units"
    units.mkdir(parents=True)
    for unit in ("nginx.service", "getty@tty1.service", r"machine-qemu\x2d1\x2dvm.scope"):
        (units / f"invocation:{unit}").symlink_to(ID)
    return tmp_path


@pytest.mark.parametrize("unit", [b"nginx.service", b"getty@tty1.service", rb"machine-qemu\x2d1\x2dvm.scope"])
def test_a_running_unit_has_one(root: Path, unit: bytes) -> None:
    assert invocation_id(unit, str(root)) == ID.encode()


@pytest.mark.parametrize("target", [ID.upper(), ID[1:], ID + "0", "x" * 32, f"/{ID}", "../" + ID[3:], ID[1:] + "\n"])
def test_what_is_no_id_is_not_taken_for_one(root: Path, target: str) -> None:
    (root / "run/systemd/units/invocation:odd.service").symlink_to(target)
    assert invocation_id(b"odd.service", str(root)) is None


def test_a_unit_that_does_not_run_has_none(root: Path) -> None:
    assert invocation_id(b"stopped.service", str(root)) is None
    assert invocation_id(b"a" * 247 + b".service", str(root)) is None


def test_without_systemd_there_is_none(tmp_path: Path) -> None:
    assert invocation_id(b"nginx.service", str(tmp_path)) is None


def test_a_file_in_its_place_is_no_link(root: Path) -> None:
    (root / "run/systemd/units/invocation:file.service").write_text(ID)
    assert invocation_id(b"file.service", str(root)) is None


@pytest.mark.parametrize(
    "unit",
    [
        b"",
        b"nginx",
        b"x/nginx.service",
        b"/../units/invocation:nginx.service",
        b"a/../invocation:nginx.service",
        b"nginx.service\0",
        b"nginx.service/",
        b"\xff.service",
        b".",
        b"..",
        b"a" * 5000 + b".service",
    ],
)
def test_no_name_leads_elsewhere(root: Path, unit: bytes) -> None:
    # Were the slashes to pass, some of these would lead to the link of nginx.service.
    (root / "run/systemd/units/invocation:x").mkdir()
    (root / "run/systemd/units/invocation:x/nginx.service").symlink_to(ID)
    (root / "run/systemd/units/invocation:").mkdir()
    (root / "run/systemd/units/invocation:a").mkdir()
    assert invocation_id(unit, str(root)) is None
