# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema describes every entry that the service makes, and refuses what it does not make."""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from oomkilld import schema
from oomkilld.ctl import jsonschema as verb
from oomkilld.ctl.values import field_of, value_of
from tests.support import catalog, entryschema, live
from tests.unit import test_entry
from tests.unit.records import kill_of

ROOT = Path(__file__).parents[3]
SHIPPED: dict[str, Any] = json.loads(verb.FILE.read_text())
VALIDATOR = jsonschema.Draft202012Validator(SHIPPED)
KILL = test_entry.entry(kill_of())


def as_json(entry: catalog.Fields) -> dict[str, object]:
    return {name: value_of(name, value.encode()) for name, value in entry.items()}


def test_the_file_is_up_to_date() -> None:
    assert verb.FILE.read_text() == entryschema.written(), "run: python3 -m tests.support.entryschema"
    jsonschema.Draft202012Validator.check_schema(SHIPPED)


def test_the_verb_prints_the_file(capfd: pytest.CaptureFixture[str]) -> None:
    assert verb.run(argparse.Namespace()) == 0
    assert capfd.readouterr() == (verb.FILE.read_text(), "")


def test_the_file_is_installed_with_the_program(tmp_path: Path) -> None:
    subprocess.run(["bash", "-euc", '. packaging/lib.sh; copy_package "$0"', tmp_path], cwd=ROOT, check=True)
    assert (tmp_path / verb.FILE.relative_to(ROOT)).read_text() == verb.FILE.read_text()
    assert verb.FILE.name in (ROOT / "pyproject.toml").read_text()


def test_it_describes_every_field_of_the_table() -> None:
    assert list(SHIPPED["properties"]) == [field.name for field in schema.FIELDS]
    for family in schema.FAMILIES:
        name = schema.family_name(family, "1")
        assert field_of(name) == family, name
    assert field_of("OOM_TOP_10_CGROUP") is field_of("OOM_TOP_10_MIN_BYTES") is None
    assert field_of("_UID") is None


def test_entries_of_every_event_and_without_every_field_that_may_be_absent_are_valid() -> None:
    entries = [*catalog.entries(), KILL, test_entry.entry(kill_of(), reduced=True)]
    assert {entry["OOM_EVENT"] for entry in entries} == set(entryschema.EVENTS)
    for entry in entries:
        entryschema.check(entry)
        VALIDATOR.validate(as_json(entry))


def test_no_field_is_required_that_a_valid_entry_lacks_nor_optional_although_the_table_says_never() -> None:
    seen: dict[str, set[str]] = {}
    for entry in catalog.entries():
        seen[entry["OOM_EVENT"]] = seen.get(entry["OOM_EVENT"], set(entry)) & entry.keys()
    for event, always in seen.items():
        assert set(entryschema.required(event)) <= always
    assert {"OOM_KILL_ID", "OOM_VICTIM_TID", "OOM_TIMESTAMP", "OOM_DETAIL"} <= set(entryschema.required("kill"))
    assert {"OOM_MISSED", "OOM_MISSED_REASON"} == set(entryschema.required("missed")) - set(SHIPPED["required"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"OOM_EVENT": "killed"}, "OOM_EVENT"),
        ({"OOM_KILL_ID": None}, "lacks OOM_KILL_ID"),
        ({"MESSAGE": None}, "lacks MESSAGE"),
        ({"OOM_EVENT": "missed"}, "lacks OOM_MISSED, OOM_MISSED_REASON"),
        ({"MESSAGE_ID": schema.MESSAGE_ID_GONE}, "MESSAGE_ID"),
        ({"OOM_SCHEMA": "2"}, "OOM_SCHEMA"),
        ({"OOM_SOURCE": "ebpf"}, "OOM_SOURCE"),
        ({"OOM_VICTIM_PID": "4242x"}, "OOM_VICTIM_PID"),
        ({"OOM_VICTIM_RSS_BYTES": "-1"}, "OOM_VICTIM_RSS_BYTES"),
        ({"OOM_GFP_MASK": "3264"}, "OOM_GFP_MASK"),
        ({"OOM_DECISION_ID": "e0f46800795fdc9030b63cba2b8fa66"}, "OOM_DECISION_ID"),
        ({"OOM_LOADAVG_1": "much"}, "OOM_LOADAVG_1"),
        ({"OOM_MEMINFO_MEMFREE_BYTES": "much"}, "int"),
        ({"OOM_TOP_1_BYTES": "-3"}, "greater than or equal to 0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_differs_from_the_table_is_refused(changed: dict[str, str | None], said: str) -> None:
    entry = {name: value for name, value in (KILL | changed).items() if value is not None}
    with pytest.raises(ValueError, match=said):
        entryschema.check(entry)
    assert not VALIDATOR.is_valid(as_json(entry))


def test_fields_of_others_are_allowed_but_the_tests_notice_a_field_of_ours_that_the_table_lacks() -> None:
    entryschema.check({**KILL, "_UID": "0", "CODE_LINE": "7"})
    VALIDATOR.validate({**as_json(KILL), "OOM_LATER": 1, "_UID": "0"})
    with pytest.raises(ValueError, match="the table has no OOM_LATER"):
        entryschema.check({**KILL, "OOM_LATER": "1"})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("OOM_VICTIM_PID", "7", 7),
        ("OOM_VICTIM_COMM", "7", "7"),
        ("OOM_LOADAVG_1", "0.50", 0.5),
        ("OOM_VICTIM_OOM_SCORE_ADJ", "-17", -17),
        ("OOM_GFP_MASK", "0xcc0", "0xcc0"),
        ("OOM_MEMINFO_HUGEPAGES_TOTAL", "3", 3),
        ("OOM_TOP_1_CGROUP", "/1", "/1"),
        ("OOM_TOP_1_BYTES", "1", 1),
        ("OOM_TOP_1_MIN_BYTES", "9223372036854775807", 9223372036854775807),
        ("OOM_DOMAIN_EVENTS_MAX", "42", 42),
        ("OOM_VICTIM_UID", "nobody", "nobody"),
        ("_UID", "0", 0),
        ("_COMM", "7", "7"),
    ],
)
def test_a_value_is_a_number_if_the_table_says_so(name: str, text: str, value: object) -> None:
    assert value_of(name, text.encode()) == value
    assert type(value_of(name, text.encode())) is type(value)


def test_live_tests_compare_each_entry_of_the_service_with_the_table() -> None:
    ours = {**KILL, "_UID": "0", "_SYSTEMD_UNIT": "oomkilld.service", "__CURSOR": "a"}
    broken = {**ours, "OOM_VICTIM_PID": "x", "__CURSOR": "b"}
    live._check([ours, {**broken, "_UID": "65534"}, {**broken, "_SYSTEMD_UNIT": "run-1.service"}])
    live._check([{"MESSAGE": "ready", "_UID": "0", "SYSLOG_IDENTIFIER": "oomkilld", "__CURSOR": "c"}])
    with pytest.raises(ValueError, match="OOM_VICTIM_PID"):
        live._check([broken])
