# SPDX-License-Identifier: Apache-2.0
"""What is written about the program is what the program does."""

import configparser
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from oomkilld import errors, schema
from oomkilld.commands import EXIT_STATUSES
from oomkilld.redaction import DEFAULT_PATTERNS
from oomkilld.settings import Settings
from tests.support import catalog
from tests.support.fieldtable import MAN, README, documents

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/oomkilld.service"
MESSAGE_IDS = [value for name, value in vars(schema).items() if name.startswith("MESSAGE_ID_")]
STATUSES = {0, 1, 2, 69, 70, 71, 75, 77, 78}


@pytest.mark.parametrize("path", [README, MAN], ids=lambda path: path.name)
def test_the_field_table_is_up_to_date(path: Path) -> None:
    written = dict(documents())
    assert path.read_text() == written[path], "run: python3 -m tests.support.fieldtable"


@pytest.mark.parametrize("path", [README, MAN, ROOT / "etc/oomkilld/oomkilld.toml"], ids=lambda path: path.name)
def test_every_option_is_documented(path: Path) -> None:
    text = path.read_text()
    for table, field in Settings.model_fields.items():
        options = field.annotation
        assert isinstance(options, type)
        assert issubclass(options, BaseModel)
        names = options.model_fields
        assert [name for name in (f"[{table}]", *names) if name not in text.replace("\\-", "-")] == []


def test_every_exit_status_is_documented_and_used() -> None:
    every = vars(errors).values()
    kinds = [kind for kind in every if isinstance(kind, type) and issubclass(kind, errors.OomkilldError)]
    assert {kind.exit_status for kind in kinds} | {0, 2} == STATUSES
    for text in (EXIT_STATUSES, re.sub(r"\.B (\d+)", r"  \1  ", MAN.read_text())):
        assert [status for status in STATUSES if not re.search(rf"^ *{status}  ", text, re.MULTILINE)] == []
    assert [status for status in STATUSES if f"| {status} |" not in README.read_text()] == []


def test_every_kind_of_entry_is_explained_in_the_catalog() -> None:
    assert sorted(catalog.texts()) == sorted(MESSAGE_IDS)
    for path in (README, MAN):
        assert [each for each in MESSAGE_IDS if each not in path.read_text()] == []


def test_the_catalog_pastes_only_what_every_entry_has_and_no_sizes() -> None:
    texts = catalog.texts()
    assert sorted(texts) == sorted(MESSAGE_IDS)
    lacked: dict[str, set[str]] = {message_id: set() for message_id in texts}
    for entry in catalog.entries():
        text = texts[entry["MESSAGE_ID"]]
        assert "@" not in catalog.shown(text, entry)
        lacked[entry["MESSAGE_ID"]] |= catalog.mentioned(text) - entry.keys()
    types = {field.name: field.type for field in schema.FIELDS}
    for message_id, text in texts.items():
        pasted = set(catalog.PASTED.findall(text))
        assert [name for name in pasted if types[name] in (schema.BYTES, schema.PAGES)] == []
        # Each other that it speaks of may be absent, and was.
        always = {field.name for field in schema.FIELDS if field.absent == "never"} | {
            "OOM_DETAIL",
            "OOM_MISSED_REASON",
        }
        assert catalog.mentioned(text) - pasted - lacked[message_id] <= always


def test_the_readme_shows_the_catalogs_text() -> None:
    entries = re.findall(r"^    (\w+)=(.*)$", README.read_text().partition("As text")[0], re.MULTILINE)
    block = re.search(r"^\$ journalctl -x .*?\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert block
    first, *explanation = block[1].splitlines()
    assert first.endswith(f": {dict(entries)['MESSAGE']}")
    expected = catalog.shown(catalog.texts()[schema.MESSAGE_ID_KILL], dict(entries))
    assert explanation == [f"\u2591\u2591 {line}" for line in expected.splitlines()]


def test_a_failure_that_a_restart_cannot_mend_is_not_restarted() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    prevented = set(map(int, service["RestartPreventExitStatus"].split()))
    passing = {errors.NoRoom.exit_status, errors.AlreadyRunning.exit_status}
    # With a bad configuration it goes on; only the commands end with that.
    assert prevented == STATUSES - passing - {0, 1, errors.BadConfiguration.exit_status}
    assert "ExecReload" not in service, "reload-or-restart restarts"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["LogRateLimitIntervalSec"] == "0"
    assert service["Type"] == "notify"


def test_the_readme_has_real_figures() -> None:
    assert not re.findall(r"\b(?:ENTRY|TEXT|COST|WAKES|DATE|COMMIT)\b", README.read_text())


def test_the_message_ids_are_as_systemd_wants_them() -> None:
    # Random ids of RFC 4122: version 4, variant 1.
    for each in MESSAGE_IDS:
        assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", each)


@pytest.mark.parametrize("path", [README, MAN], ids=lambda path: path.name)
def test_who_else_kills_is_named_and_where_that_is_recorded(path: Path) -> None:
    text = re.sub(r"\s+", " ", path.read_text().replace("\\-", "-").replace("\\%", ""))
    for said in (
        *("Recorded is what the kernel's OOM killer kills.", "systemd-oomd", "journalctl -u systemd-oomd"),
        *("MESSAGE_ID=d989611b15e44c9dbf31e3c81256e4ed", "systemd-oomd killed 27 process(es) in this unit."),
        *("earlyoom", "nohang", "bustd", "journalctl -u earlyoom", "sending SIGTERM to process"),
        *("kubelet", "Evicted", "--field-selector reason=Evicted", "OOMKilled"),
    ):
        assert said in text, said


def test_the_man_page_is_well_formed() -> None:
    result = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Kutf8", "-Tutf8", MAN], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_man_page_lists_the_default_patterns() -> None:
    text = MAN.read_text().replace("\\-", "-").replace("\\ ", " ").replace("\n", " ")
    assert ", ".join(DEFAULT_PATTERNS) in text
