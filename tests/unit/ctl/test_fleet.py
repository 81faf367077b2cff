# SPDX-License-Identifier: Apache-2.0
"""A fleet: machines that send their journals, or the entries of oomkilld only, to a real systemd-journal-remote."""

import configparser
import json
import os
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support import live
from tests.support.journals import TRUSTED, foreign, write
from tests.support.receiver import SECONDS, Receiver, free_port, need_loopback, uploader
from tests.unit.ctl.conftest import ids, shown
from tests.unit.ctl.samples import AT_USEC, PYTHON, ROOT, SECOND, Sent, ctl, environment_of, kill
from tests.unit.test_documents import READER, plain

FLEET = ROOT / "packaging/fleet"
WEB1, WEB2, WEB3, EVIL = (f"127.0.0.{number}" for number in (11, 12, 13, 14))
LEGEND = "--no-legend"
THIS_HOST = socket.gethostname()


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    need_loopback()
    return Receiver(tmp_path / "remote", free_port())


def others(count: int) -> Iterator[Sent]:
    """Entries of somebody else."""
    for number in range(count):
        yield dict(foreign(number)), AT_USEC + number * SECOND


def upload(receiver: Receiver, address: str, journal: Path) -> None:
    """Send a whole journal, as systemd-journal-upload.service does."""
    with receiver.seen_from(address) as url:
        command = [uploader(), f"--url={url}", f"--directory={journal}", "--follow=no"]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)


def entries_in(file: Path) -> list[dict[str, str]]:
    command = ["journalctl", f"--file={file}", "--all", "--output=json", "--quiet"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
    return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def fleet(tmp_path: Path, receiver: Receiver) -> Path:
    """Three machines that have sent everything, and a fourth that claims to be one of them, and to be this machine."""
    sent = {
        (WEB1, "web1"): [kill(1, 0), kill(2, 10)],
        (WEB2, "web2"): [kill(3, 5, _HOSTNAME="web2")],
        (WEB3, "web3"): [kill(4, 7, _HOSTNAME="web3"), kill(5, 20, _HOSTNAME="web3"), kill(6, 21, _HOSTNAME="web3")],
        (EVIL, "evil"): [kill(1, -1, OOM_VICTIM_COMM="forged"), kill(7, 30), kill(8, 31, _HOSTNAME=THIS_HOST)],
    }
    with receiver.running():
        for (address, name), kills in sent.items():
            write(tmp_path / name / "system.journal", [*others(20), *kills])
            upload(receiver, address, tmp_path / name)
    assert len(entries_in(receiver.file_of(WEB1))) == 22
    return receiver.directory


def test_a_list_of_a_fleet_names_the_sender_and_what_it_claims(fleet: Path) -> None:
    ran = ctl("-D", fleet, "-m", LEGEND)
    assert [(line[:8], line[29:].split(")")[0] + ")") for line in ran.out.splitlines()] == [
        (shown(1), f"{EVIL} (says web1)"),
        (shown(1), f"{WEB1} (says web1)"),
        (shown(3), f"{WEB2} (says web2)"),
        (shown(4), f"{WEB3} (says web3)"),
        (shown(2), f"{WEB1} (says web1)"),
        (shown(5), f"{WEB3} (says web3)"),
        (shown(6), f"{WEB3} (says web3)"),
        (shown(7), f"{EVIL} (says web1)"),
        (shown(8), f"{EVIL} (says {THIS_HOST})"),
    ]


def test_a_sender_is_named_by_its_address_unless_the_receiver_takes_raw_streams(
    receiver: Receiver, tmp_path: Path
) -> None:
    """Also where somebody knows a name for the address, as for this one."""
    write(tmp_path / "web1/system.journal", [kill(1)])
    with receiver.running():
        upload(receiver, "127.0.0.1", tmp_path / "web1")
    assert [file.name for file in receiver.directory.iterdir()] == ["remote-127.0.0.1.journal"]
    raw = Receiver(tmp_path / "raw", free_port())
    name, _port = socket.getnameinfo(("127.0.0.1", 0), 0)
    with raw.running("raw"):
        live.wait_for("file of that name", raw.file_of(name).exists, SECONDS)
    said = re.sub(r"\s+", " ", plain(READER))
    assert "the name is the sender's address, also with HTTPS and even where a name server knows a name for it" in said
    assert "Only a receiver with --listen-raw looks a name up" in said


def test_statistics_of_a_fleet_count_by_sender(fleet: Path) -> None:
    ran = ctl("-D", fleet, "stats", "--by", "host", "-j")
    counted = {row["host"]: row["kills"] for row in map(json.loads, ran.out.splitlines())}
    assert counted == {
        f"{WEB1} (says web1)": 2,
        f"{WEB2} (says web2)": 1,
        f"{WEB3} (says web3)": 3,
        f"{EVIL} (says web1)": 2,
        f"{EVIL} (says {THIS_HOST})": 1,
    }


def test_a_forged_entry_passes_neither_for_this_machine_nor_for_another(fleet: Path) -> None:
    assert ids(ctl("-D", fleet, "--host", WEB1, LEGEND)) == [shown(1), shown(2)]
    for claimed in ("web1", THIS_HOST):
        ran = ctl("-D", fleet, "--host", claimed)
        assert (ran.status, ran.out) == (1, "")
    said = [json.loads(line) for line in ctl("-D", fleet, "--host", EVIL, "-j").out.splitlines()]
    assert [(each["__RECEIVED_FROM"], each["_HOSTNAME"]) for each in said] == [
        (EVIL, "web1"),
        (EVIL, "web1"),
        (EVIL, THIS_HOST),
    ]


def test_a_certificate_names_the_machine_as_it_names_itself(fleet: Path) -> None:
    (fleet / f"remote-{WEB1}.journal").rename(fleet / "remote-CN=web1,O=Example.journal")
    assert ids(ctl("-D", fleet, "--host", "web1", LEGEND)) == [shown(1), shown(2)]
    counted = ctl("-D", fleet, "stats", "--by", "host", LEGEND).out.splitlines()
    assert [line.split()[:2] for line in counted if line.startswith("web1")] == [["web1", "2"]]


class Sender:
    """A machine with packaging/fleet/oomkilld-upload, its state, and a journal of its own."""

    def __init__(self, place: Path, receiver: Receiver) -> None:
        self.journal = place / "web1"
        self.state = place / "state"
        self.state.mkdir()
        self._receiver = receiver
        self._programs = place / "programs"
        self._programs.mkdir()
        # The one thing that differs from a real machine: where its journal is.
        reader = self._programs / "journalctl"
        reader.write_text(f'#!/bin/sh\nexec /usr/bin/journalctl --directory={self.journal} "$@"\n')
        reader.chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        programs = f"{self._programs}:{Path(uploader()).parent}:{os.environ['PATH']}"
        with self._receiver.seen_from(WEB1) as url:
            return subprocess.run(
                [FLEET / "oomkilld-upload", f"--url={url}"],
                env=environment_of(PATH=programs, STATE_DIRECTORY=str(self.state)),
                check=False,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )

    def succeed(self) -> None:
        ran = self.run()
        assert ran.returncode == 0, ran.stderr

    def files(self) -> list[str]:
        return sorted(file.name for file in self.state.iterdir())


@pytest.fixture
def sender(tmp_path: Path, receiver: Receiver) -> Sender:
    sender = Sender(tmp_path, receiver)
    forged = {**TRUSTED, "_UID": "1000", "SYSLOG_IDENTIFIER": "oomkilld", "MESSAGE": "forged"}
    write(sender.journal / "a.journal", [*others(20), kill(1), kill(2, 30), (forged, AT_USEC), *others(20)])
    return sender


def kills_in(receiver: Receiver) -> list[str]:
    return [entry["OOM_KILL_ID"][:8] for entry in entries_in(receiver.file_of(WEB1))]


def test_only_the_entries_of_the_service_are_sent_and_each_once(sender: Sender, receiver: Receiver) -> None:
    with receiver.running():
        sender.succeed()
        assert kills_in(receiver) == [shown(1), shown(2)]
        assert sender.files() == ["cursor"]
        sender.succeed()
        assert kills_in(receiver) == [shown(1), shown(2)]
        write(sender.journal / "b.journal", [kill(3, 60), *others(5)])
        sender.succeed()
        assert kills_in(receiver) == [shown(1), shown(2), shown(3)]
    assert ids(ctl("-D", receiver.directory, "--host", WEB1, LEGEND)) == [shown(1), shown(2), shown(3)]


def test_without_the_receiver_nothing_is_lost(sender: Sender, receiver: Receiver) -> None:
    ran = sender.run()
    assert ran.returncode != 0
    assert "Upload to " in ran.stderr
    assert "cursor" not in sender.files()
    write(sender.journal / "b.journal", [kill(3, 60)])
    with receiver.running():
        sender.succeed()
        assert kills_in(receiver) == [shown(1), shown(2), shown(3)]


def test_what_is_sent_again_after_an_interruption_counts_once(sender: Sender, receiver: Receiver) -> None:
    with receiver.running():
        sender.succeed()
        (sender.state / "cursor").unlink()
        sender.succeed()
        assert kills_in(receiver) == [shown(1), shown(2)] * 2
    assert ids(ctl("-D", receiver.directory, LEGEND)) == [shown(1), shown(2)]


def test_follow_shows_what_arrives_also_from_a_new_sender(sender: Sender, receiver: Receiver, tmp_path: Path) -> None:
    with receiver.running():
        sender.succeed()
        command = [PYTHON, "-m", "oomkilld.ctl", "follow", "-D", str(receiver.directory), LEGEND, "-n", "0"]
        with subprocess.Popen(command, env=environment_of(), stdout=subprocess.PIPE) as follow:
            assert follow.stdout
            # What arrives before it has begun to read is not new.
            for number in range(0x40, 0x60):
                write(sender.journal / f"{number}.journal", [kill(number, number)])
                sender.succeed()
                if said := arrived(follow.stdout, 1):
                    break
            assert f" {WEB1} (says web1) " in said
            assert shown(1) not in said
            write(tmp_path / "new/system.journal", [kill(0x70, 200, _HOSTNAME="web2")])
            upload(receiver, WEB2, tmp_path / "new")
            said = arrived(follow.stdout, SECONDS)
            follow.terminate()
    assert said.startswith(shown(0x70))
    assert f" {WEB2} (says web2) " in said


def arrived(stream: IO[bytes], seconds: float) -> str:
    """What a program has written; empty: nothing within that time."""
    return os.read(stream.fileno(), 1 << 16).decode() if select.select([stream], [], [], seconds)[0] else ""


def test_the_units_are_valid_and_run_the_installed_program(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["packaging/install", "--dry-run"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    service = configparser.ConfigParser(strict=False, interpolation=None)
    service.read(FLEET / "oomkilld-upload.service")
    program = service["Service"]["ExecStart"]
    assert f" {program}" in listed
    for name in ("oomkilld-upload.service", "oomkilld-upload.timer"):
        assert f"/usr/local/lib/systemd/system/{name}" in listed
        (tmp_path / name).write_text((FLEET / name).read_text().replace(program, str(FLEET / "oomkilld-upload")))
    verify = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    ran = subprocess.run(verify, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
