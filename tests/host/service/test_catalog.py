# SPDX-License-Identifier: Apache-2.0
"""What `journalctl -x` shows for each kind of entry, whatever fields it lacks."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld.testkill import mounts
from tests.host.service.daemon import Daemon, Unit
from tests.support import catalog, live
from trial import alone

# A private journald, so that nobody mistakes these entries for the service's.
NAMESPACE = "oomkilld-catalog"
RUN = Path(f"/run/systemd/journal.{NAMESPACE}")
SETTINGS = Path(f"/run/systemd/journald@{NAMESPACE}.conf.d")
EXPLAINED = "\u2591\u2591 "


@pytest.fixture
def database(daemon: Daemon) -> Iterator[None]:
    """The installed catalog; where none is installed, the one of the checkout."""
    if isinstance(daemon, Unit):
        yield
        return
    places = ("/usr/lib/systemd/catalog", "/var/lib/systemd/catalog")
    for place in places:
        mounts.mount("tmpfs", place)
    shutil.copy(catalog.CATALOG, places[0])
    subprocess.run(["journalctl", "--update-catalog"], check=True)
    yield
    for place in places:
        mounts.unmount(place)


@pytest.fixture
def journald() -> Iterator[None]:
    RUN.mkdir(parents=True)
    SETTINGS.mkdir()
    (SETTINGS / "volatile.conf").write_text("[Journal]\nStorage=volatile\n")
    command = [alone.JOURNALD, NAMESPACE]
    with subprocess.Popen(command, env=alone.JOURNALD_ENVIRONMENT) as process:
        live.wait_for("journald", (RUN / "socket").exists, 10)
        yield
        process.terminate()
    for left in (RUN, SETTINGS, *Path("/run/log/journal").glob(f"*.{NAMESPACE}")):
        shutil.rmtree(left)


def journalctl(*words: str) -> str:
    command = ["journalctl", "--quiet", f"--namespace={NAMESPACE}", *words]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin"}
    ).stdout


def explanations() -> list[str]:
    """The explanation of each entry, in the order of sending."""
    found: list[list[str]] = []
    for line in journalctl("-x", "-o", "short", "SYSLOG_IDENTIFIER=catalog").splitlines():
        if line.startswith(EXPLAINED):
            found[-1].append(line.removeprefix(EXPLAINED))
        else:
            found.append([])
    return ["\n".join(lines) for lines in found]


@pytest.mark.usefixtures("database", "journald")
def test_no_text_shows_the_bare_name_of_a_field_that_the_entry_lacks() -> None:
    sent = list(catalog.entries())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.connect(str(RUN / "socket"))
        for entry in sent:
            fields = {**entry, "SYSLOG_IDENTIFIER": "catalog"}
            journal.send("".join(f"{name}={value}\n" for name, value in fields.items()).encode())
    journalctl("--sync")
    texts = catalog.texts()
    shown = explanations()
    assert len(shown) == len(sent)
    for text, entry in zip(shown, sent, strict=True):
        own = texts[entry["MESSAGE_ID"]]
        assert text == catalog.shown(own, entry)
        subject = re.match(r"Subject: (.*)", text)
        assert subject
        assert "OOM_" not in subject[1]
    print(f"{len(sent)} entries of {len({entry['MESSAGE_ID'] for entry in sent})} kinds")
