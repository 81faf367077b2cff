# SPDX-License-Identifier: Apache-2.0
"""A fleet as FLEET of oomkillctl(1) has it: each step as it stands in the page, in a container that systemd has booted.

The container is receiver and sender, over its loopback interface.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.host.container import Container
from tests.support import live

FULL = "OOMKILLD_TEST_FULL" in os.environ
PAGE = Path(__file__).parents[2] / "packaging/man/oomkillctl.1"
RECEIVED = "/var/log/journal/remote"
SENDER = "127.0.0.1"
RECEIVER_UNITS = ("systemd-journal-remote.socket", "systemd-journal-remote.service")
TIMER, UPLOAD, WHOLE = "oomkilld-upload.timer", "oomkilld-upload.service", "systemd-journal-upload.service"
# A user without any right, in the group that the page names.
MAY_READ = ("setpriv", "--reuid=65534", "--regid=systemd-journal-remote", "--clear-groups")
# The timer's interval with its random delay, and how late systemd may be (AccuracySec=).
INTERVAL, LATE = 70, 60
# ``systemctl edit`` starts it as a person's editor; in 257, an option stands before the file.
EDITOR = """#!/bin/sh
for file; do :; done
exec sed -i '/^### Anything between here/r /root/inserted' "$file"
"""
# An authority, and the receiver's certificate.
CERTIFICATES = """
set -eu
cd /root
new() {
	name=$1
	shift
	openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj "/CN=$name" -keyout "$name.key" -out "$name.pem" "$@"
}
new authority
new other
new receiver -CA authority.pem -CAkey authority.key -addext subjectAltName=DNS:receiver
"""


class Step:
    """A numbered paragraph of the page."""

    def __init__(self, heading: str, number: int) -> None:
        section = PAGE.read_text().partition(f".SS {heading}\n")[2].partition("\n.SS")[0].partition("\n.SH")[0]
        step = rf"^\.IP {number}\. 3\n(.*?)(?=^\.IP \d|^\.PP|\Z)"
        (text,) = re.findall(step, section, re.DOTALL | re.MULTILINE)
        self._text = text.replace(r"\-", "-")

    def command(self, beginning: str) -> list[str]:
        (found,) = re.findall(rf"^\.B ({re.escape(beginning)}.*)$", self._text, re.MULTILINE)
        return str(found).split()

    def file(self, part: str) -> str:
        """What is to be written into a file, by a part of it."""
        blocks = re.findall(r"^\.nf\n(.*?)^\.fi$", self._text, re.DOTALL | re.MULTILINE)
        (found,) = [block for block in blocks if part in block]
        return str(found)


LISTEN, OPEN = Step("The receiver", 2), Step("The receiver", 3)
SEND_TO, SEND, LOOK = (Step("Each sender", number) for number in (2, 3, 4))


class Fleet:
    def __init__(self, container: Container) -> None:
        self._container = container
        self.root = container.tree.root

    def run(self, *command: str) -> str:
        result = self._container.run(*command)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}{self.log()}"
        return result.stdout

    def log(self) -> str:
        units = [word for unit in (*RECEIVER_UNITS, UPLOAD, WHOLE) for word in ("-u", unit)]
        return self._container.run("journalctl", "--quiet", "--no-pager", "-n", "40", *units).stdout

    def edit(self, step: Step) -> None:
        editor = self.root / "root/editor"
        editor.write_text(EDITOR)
        editor.chmod(0o755)
        (self.root / "root/inserted").write_text(step.file("[Service]"))
        command = " ".join(step.command("systemctl edit"))
        # It wants a terminal.
        self.run(
            "env", "SYSTEMD_EDITOR=/root/editor", "script", "--quiet", "--return", "--command", command, "/dev/null"
        )

    def listen_for_http(self) -> None:
        self.edit(LISTEN)

    def listen_for_https(self) -> None:
        self.run("systemctl", "revert", RECEIVER_UNITS[1])
        # systemd starts a unit five times within 10 s.
        self.run("systemctl", "reset-failed", UPLOAD)
        self.run("sh", "-c", CERTIFICATES)
        settings = LISTEN.file("[Remote]")
        self.run("cp", "/root/receiver.pem", value(settings, "ServerCertificateFile"))
        self.run(*(word.replace("KEY", "/root/receiver.key") for word in LISTEN.command("install")))
        (self.root / "etc/systemd/journal-remote.conf").write_text(settings)

    def open(self) -> None:
        self.run(*OPEN.command("systemctl enable"))

    def close(self) -> None:
        self.run("systemctl", "disable", "--now", *RECEIVER_UNITS)

    def send_to(self, url: str) -> None:
        """Configure the sender as the page does for URLs with this beginning."""
        settings = SEND_TO.file(f"URL={url}")
        (self.root / "etc/systemd/journal-upload.conf").write_text(settings)
        if authority := value(settings, "TrustedCertificateFile"):
            self.run("cp", "/root/authority.pem", authority)

    def send(self) -> None:
        self.run(*SEND.command("systemctl start"))

    def fail_to_send(self) -> str:
        """Return what the sender's unit says of it."""
        began = time.time()
        assert self._container.run(*SEND.command("systemctl start")).returncode != 0
        return self.said(UPLOAD, began)

    def said(self, unit: str, since: float) -> str:
        """The log of a unit since then; this time, and that before each line, in seconds since 1970."""
        return self.run("sh", "-c", f"journalctl --sync && journalctl --quiet -o short-unix -u {unit} --since=@{since}")

    def failures(self, unit: str, since: float) -> list[float]:
        lines = self.said(unit, since).splitlines()
        return [float(line.split()[0]) for line in lines if "Failed with result" in line]

    def kill(self) -> str:
        """Return the id of a new kill, whose entry the journal has."""
        self.run("oomkillctl", "selftest")
        return str(self.kills("-n", "1")[0]["OOM_KILL_ID"])

    def note(self, text: str) -> None:
        """Write something into the journal as the service writes its messages."""
        self.run("sh", "-c", f"echo {text} | systemd-cat -t oomkilld && journalctl --sync")

    def kills(self, *words: str) -> list[dict[str, Any]]:
        """What oomkillctl lists."""
        return [
            json.loads(line) for line in self.run("oomkillctl", "list", "-j", "--event", "kill", *words).splitlines()
        ]

    def received(self, *matches: str) -> list[dict[str, str]]:
        """Every entry that has arrived, also those that arrived twice."""
        fields = "--output-fields=MESSAGE,OOM_KILL_ID,SYSLOG_IDENTIFIER,_UID"
        command = ["journalctl", "--quiet", "--all", "-o", "json", fields, "-D", RECEIVED, *matches]
        return [json.loads(line) for line in self.run(*command).splitlines()]

    def received_kills(self) -> list[str]:
        return [entry["OOM_KILL_ID"] for entry in self.received("OOM_EVENT=kill")]


def value(settings: str, name: str) -> str:
    """Empty: it is not set."""
    return settings.partition(f"\n{name}=")[2].partition("\n")[0]


@contextmanager
def fleet_of(container: Container) -> Iterator[Fleet]:
    with (container.tree.root / "etc/hosts").open("a") as hosts:
        hosts.write(f"{SENDER} receiver\n")
    fleet = Fleet(container)
    try:
        yield fleet
    finally:
        container.run("systemctl", "disable", "--now", TIMER, WHOLE, *RECEIVER_UNITS)
        container.run("rm", "-r", RECEIVED)


class FleetTests:
    """Tests for a module with a container in which oomkilld runs: it has the fixture ``fleet``."""

    def test_a_kill_is_sent_and_listed_with_its_sender(self, fleet: Fleet) -> None:
        fleet.listen_for_http()
        fleet.open()
        fleet.send_to("http:")
        kill = fleet.kill()
        local = {each["OOM_KILL_ID"] for each in fleet.kills()}
        fleet.run(*SEND.command(f"systemctl enable --now {TIMER}"))
        fleet.send()
        name = fleet.run("hostname").strip()
        for words in (("-D", RECEIVED, "-m"), ("-m", "--host", SENDER)):
            listed = fleet.kills(*words)
            assert {each["OOM_KILL_ID"] for each in listed} == local
            assert {(each["__RECEIVED_FROM"], each["_HOSTNAME"]) for each in listed} == {(SENDER, name)}
        assert kill in local
        assert f"{SENDER} (says {name})" in fleet.run(*MAY_READ, "oomkillctl", "-D", RECEIVED, "-m", "list")
        assert re.search(
            rf"^{SENDER} \(says {name}\) +{len(local)} ", fleet.run(*LOOK.command("oomkillctl")), re.MULTILINE
        )
        assert {(each["_UID"], each["SYSLOG_IDENTIFIER"]) for each in fleet.received()} == {("0", "oomkilld")}

    def test_its_state_is_closed_to_others(self, fleet: Fleet) -> None:
        """The unit's user is made up by systemd: neither root nor one that the system has."""
        state = fleet.run("stat", "-L", "-c", "%A %u", "/var/lib/oomkilld-upload", "/var/lib/oomkilld-upload/cursor")
        assert re.fullmatch(r"drwx------ (6\d{4})\n-rw------- \1\n", state), state

    def test_a_second_run_sends_nothing_again(self, fleet: Fleet) -> None:
        before = fleet.received()
        fleet.send()
        after = fleet.received()
        assert after[: len(before)] == before
        assert len({(each["__REALTIME_TIMESTAMP"], each["MESSAGE"]) for each in after}) == len(after)

    def test_a_run_after_a_failed_one_sends_what_is_new_once(self, fleet: Fleet) -> None:
        before = fleet.received_kills()
        fleet.close()
        kill = fleet.kill()
        assert "Upload to http://receiver:19532/upload failed: " in fleet.fail_to_send()
        fleet.open()
        fleet.send()
        assert fleet.received_kills() == [*before, kill]

    def test_the_timer_runs_it_every_minute(self, fleet: Fleet) -> None:
        (timer,) = json.loads(fleet.run("systemctl", "list-timers", "-o", "json", TIMER))
        assert timer["activates"] == UPLOAD
        assert -LATE < timer["next"] / 1e6 - time.time() < INTERVAL
        if FULL:
            fleet.note("minutely")
            live.wait_for("run", lambda: fleet.received("MESSAGE=minutely"), INTERVAL + LATE, fleet.log, every=1)

    def test_with_https_the_sender_checks_whom_it_sends_to(self, fleet: Fleet) -> None:
        fleet.close()
        fleet.listen_for_https()
        fleet.open()
        fleet.send_to("https:")
        authority = value(SEND_TO.file("https:"), "TrustedCertificateFile")
        fleet.note("confidential")
        fleet.run("cp", "/root/other.pem", authority)
        assert "SSL certificate problem" in fleet.fail_to_send()
        assert fleet.received("MESSAGE=confidential") == []
        fleet.run("cp", "/root/authority.pem", authority)
        fleet.send()
        assert len(fleet.received("MESSAGE=confidential")) == 1
        assert fleet.run("ls", RECEIVED) == f"remote-{SENDER}.journal\n"

    def test_the_whole_journal_is_sent_and_each_kill_listed_once(self, fleet: Fleet) -> None:
        fleet.run("systemctl", "disable", "--now", TIMER)
        kills = fleet.received_kills()
        fleet.edit(SEND)
        fleet.run(*SEND.command(f"systemctl enable --now {WHOLE}"))
        live.wait_for("kills", lambda: len(fleet.received_kills()) >= 2 * len(kills), 60, fleet.log, every=0.5)
        fleet.note("whole")
        live.wait_for("new entry", lambda: fleet.received("MESSAGE=whole"), 60, fleet.log, every=0.5)
        assert fleet.received("SYSLOG_IDENTIFIER=systemd")
        assert sorted(fleet.received_kills()) == sorted(kills * 2)
        assert [each["OOM_KILL_ID"] for each in fleet.kills("-D", RECEIVED)] == kills

    if FULL:

        def test_the_whole_journal_is_sent_on_after_the_receiver_was_away(self, fleet: Fleet) -> None:
            fleet.close()
            began = time.time()
            fleet.note("away")
            live.wait_for("second try", lambda: len(fleet.failures(WHOLE, began)) > 1, 60, fleet.log, every=0.5)
            first, second, *_ = fleet.failures(WHOLE, began)
            assert second - first > 2, "after five tries within 10 s, systemd would give up"
            fleet.open()
            live.wait_for("entry", lambda: fleet.received("MESSAGE=away"), 60, fleet.log, every=0.5)
