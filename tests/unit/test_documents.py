# SPDX-License-Identifier: Apache-2.0
"""The documents describe what the program does, and say nothing twice."""

import configparser
import re
import shutil
import struct
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomkilld import cli, errors, recordlayout, schema
from oomkilld.arm import headertree, lock
from oomkilld.cli import EXIT_STATUSES
from oomkilld.config import files as configfiles
from oomkilld.config import settings, validated
from oomkilld.config.patterns import DEFAULT_PATTERNS
from oomkilld.config.settings import Settings
from oomkilld.record.state import ledger, sentids
from oomkilld.service import rundir
from tests.support import catalog, fieldtable

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING, RESULTS = ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md", ROOT / "tests/bench/RESULTS.md"
PAGES = SERVICE, TOML, FIELDS, READER = tuple(
    ROOT / "packaging/man" / page
    for page in ("oomkilld.8", "oomkilld.toml.5", "oomkilld.journal-fields.7", "oomkillctl.1")
)
SAMPLE = ROOT / "etc/oomkilld/oomkilld.toml"
DOCUMENTS = (README, CONTRIBUTING, RESULTS, *PAGES, SAMPLE, catalog.CATALOG)
UNIT = ROOT / "packaging/oomkilld.service"
BPF_DRAFT = ROOT / "oomkilld/arm/bpf/draft.h"
MESSAGE_IDS = {
    name.removeprefix("MESSAGE_ID_").lower(): value
    for name, value in vars(schema).items()
    if name.startswith("MESSAGE_ID_")
}
STATUSES = {0, 1, 2, 69, 70, 71, 75, 77, 78}
EVERY_FIELD = (*schema.FIELDS, *schema.FAMILIES)
OUR_PAGE = r"(?:oomkilld[a-z.-]*|oomkillctl)\(\d\)"
# roff's escapes for characters.
ROFF = {"\\-": "-", "\\(dq": '"', "\\ ": " ", "\\[u2026]": "…", "\\(mc": "µ", "\\e": "\\"}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def plain(path: Path) -> str:
    """The words of a document, separated by single spaces, without roff's or Markdown's marks."""
    text = path.read_text()
    if path in PAGES:
        text = re.sub(r"\\f.|\\[%&]", "", text)
        for mark, character in ROFF.items():
            text = text.replace(mark, character)
        # A macro of two fonts joins its words; a heading ends the text before it.
        text = re.sub(r"^\.(?:[BI]R|R[BI]|[BI]{2}) (.*)$", lambda row: _joined(row[1]), text, flags=re.MULTILINE)
        text = re.sub(r"^\.[BI] ", "", text, flags=re.MULTILINE)
        text = re.sub(r"^[.'].*$|^T\{$|^T\}.*$", "\n\n", text, flags=re.MULTILINE)
    else:
        text = re.sub(r"[`*]|^#+ ?|^> ?", "", text, flags=re.MULTILINE)
    return text


def _joined(words: str) -> str:
    return "".join(quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', words))


def words(path: Path) -> str:
    return re.sub(r"\s+", " ", plain(path))


def sentences(path: Path) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n|\||^```.*$", plain(path), flags=re.MULTILINE):
        for sentence in re.split(r"(?<=[.:;])\s", re.sub(r"\s+", " ", paragraph)):
            yield sentence.strip(" .:;").lower()


def options() -> Iterator[tuple[str, str, str]]:
    """Table, name and default of each option, as in TOML."""
    table = ""
    for line in settings.render(settings.Loaded(Settings(), {})).splitlines():
        table = line[1:-1] if line.startswith("[") else table
        if found := re.fullmatch(r"(\w+) = (.*)  # default", line):
            yield table, found[1], found[2]


def usages() -> str:
    """The help texts of all commands that the documents name."""
    scripts = [(ROOT / name).read_text() for name in ("packaging/try", "packaging/install", "tests/run")]
    return "\n".join((cli._parser().format_help(), *scripts))


def test_the_field_table_is_up_to_date() -> None:
    assert fieldtable.PAGE == FIELDS
    assert FIELDS.read_text() == fieldtable.written(), "run: python3 -m tests.support.fieldtable"


def test_every_field_is_in_the_page_of_fields() -> None:
    heads = re.findall(r"^\.TP\n\.B (\S+)$", FIELDS.read_text(), re.MULTILINE)
    assert [field.name for field in EVERY_FIELD if field.name not in heads] == []


def test_every_option_is_in_its_page_with_its_default() -> None:
    found = set()
    for section in re.split(r"^\.SH OPTIONS IN ", TOML.read_text(), flags=re.MULTILINE)[1:]:
        table = section[1 : section.index("]")]
        for name, text in re.findall(r"^\.TP\n\.B (\w+)\n(.*?)(?=^\.TP|^\.SH|\Z)", section, re.MULTILINE | re.DOTALL):
            (default,) = re.findall(r"^Default: (.*)\.$", text, re.MULTILINE)
            found.add((table, name, default))
    assert found == set(options())


def test_the_sample_configuration_has_every_option_at_its_default() -> None:
    table, found = "", set()
    for line in SAMPLE.read_text().splitlines():
        table = line[1:-1] if line.startswith("[") else table
        if option := re.fullmatch(r"#(\w+) = (.*)", line):
            found.add((table, option[1], option[2]))
    assert found == set(options())


def test_the_example_of_a_configuration_is_valid() -> None:
    (example,) = re.findall(r"^\.nf\n(.*?)^\.fi$", TOML.read_text(), re.MULTILINE | re.DOTALL)
    entry = Settings.model_validate(tomllib.loads(example.replace("\\-", "-"))).entry
    assert [name for name in type(entry).model_fields if getattr(entry, name) != getattr(Settings().entry, name)] == [
        *("meminfo", "outcome", "cmdline", "redact")
    ]


def ring_bytes_of_a_kill(path: int, cmdline: int = 0) -> int:
    """The most that a kill takes, with its release: cpuset, two paths, two executables, and the ring's own bytes.

    ``path``: bytes for each; the shorter of the two is for a ring that is half full, and comes without candidates.
    """
    kill, release = (
        struct.calcsize(recordlayout.struct_format(each))
        for each in (recordlayout.KILL_RECORD, recordlayout.RELEASE_RECORD)
    )
    (name,) = map(int, re.findall(r"^#define NAME_ROOM (\d+)", BPF_DRAFT.read_text(), re.MULTILINE))
    candidates = recordlayout.MOST_CANDIDATES * struct.calcsize(f"={recordlayout.CANDIDATE}")
    listed = candidates if path == recordlayout.PATH_ROOM else 0
    header = 8  # BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h
    return sum(-(-(size + header) // 8) * 8 for size in (kill + listed + 3 * name + 2 * path + cmdline, release))


def test_the_room_of_a_kill_in_the_ring_is_documented() -> None:
    with_cmdline = ring_bytes_of_a_kill(recordlayout.PATH_ROOM, 4 + recordlayout.CMDLINE_ROOM - 1)
    for path in (TOML, SAMPLE):
        plain_kb, cmdline_kb = re.findall(r"([\d.]+) KB", words(path).replace("# ", ""))
        for said, size in ((plain_kb, ring_bytes_of_a_kill(recordlayout.PATH_ROOM)), (cmdline_kb, with_cmdline)):
            assert size <= float(said) * 1000 < size + 200, path
    # Once the ring is half full, new records are shorter.
    half = configfiles.DEFAULT_RING_BYTES // 2
    fit = half // with_cmdline + (half - with_cmdline) // ring_bytes_of_a_kill(recordlayout.PATH_ROOM_SHORT)
    (least,) = re.findall(r"at least ([\d,]+) with the default size", words(SERVICE))
    assert fit - 200 < int(least.replace(",", "")) <= fit


def test_every_exit_status_is_documented_and_used() -> None:
    every = vars(errors).values()
    kinds = [kind for kind in every if isinstance(kind, type) and issubclass(kind, errors.OomkilldError)]
    assert {kind.exit_status for kind in kinds} | {0, 2} == STATUSES
    for text in (EXIT_STATUSES, re.sub(r"\.B (\d+)", r"  \1  ", SERVICE.read_text())):
        assert [status for status in STATUSES if not re.search(rf"^ *{status}  ", text, re.MULTILINE)] == []
    assert [status for status in STATUSES - {0} if not re.search(rf"\bstatus {status}\b", README.read_text())] == []


def test_every_kind_of_entry_is_in_the_catalog_and_in_the_page_of_fields() -> None:
    assert sorted(catalog.texts()) == sorted(MESSAGE_IDS.values())
    rows = re.findall(r"^(\w+)\t([0-9a-f]{32})\tT\{$", FIELDS.read_text(), re.MULTILINE)
    assert dict(rows) == MESSAGE_IDS


def test_every_reason_of_a_missed_kill_is_explained() -> None:
    (field,) = (field for field in schema.FIELDS if field.name == "OOM_MISSED_REASON")
    reasons = re.findall(r"`([a-z-]+)`", field.source)
    section = SERVICE.read_text().partition("\n.SH ACCOUNTING\n")[2].partition("\n.SH ")[0]
    assert re.findall(r"^\.TP\n\.B (\S+)$", section.replace("\\-", "-"), re.MULTILINE) == reasons


def test_the_catalog_pastes_only_what_every_entry_has_and_no_sizes() -> None:
    texts = catalog.texts()
    lacked: dict[str, set[str]] = {message_id: set() for message_id in texts}
    for entry in catalog.entries():
        text = texts[entry["MESSAGE_ID"]]
        assert "@" not in catalog.shown(text, entry)
        lacked[entry["MESSAGE_ID"]] |= catalog.mentioned(text) - entry.keys()
    types = {field.name: field.type for field in schema.FIELDS}
    for message_id, text in texts.items():
        pasted = set(catalog.PASTED.findall(text))
        assert [name for name in pasted if types[name] in ("bytes", "pages")] == []
        # Any other field that the text names is in every entry.
        always = {field.name for field in schema.FIELDS if field.absent == "never"} | {
            "OOM_DETAIL",
            "OOM_MISSED_REASON",
        }
        assert catalog.mentioned(text) - pasted - lacked[message_id] <= always


def test_the_readme_names_only_existing_fields() -> None:
    known = "\n".join(field.name for field in EVERY_FIELD)
    named = re.findall(r"`(OOM_[A-Z_0-9<>n]+|_[A-Z_]{3,})(?:=\w+)?(…?)`", README.read_text())
    assert len(named) > 20
    for name, more in named:
        pattern = name.replace("<n>", "<KEY>") + ("" if more else "$")
        assert re.search(pattern if name.startswith("_") else f"^{pattern}", known, re.MULTILINE), name


def test_failures_that_a_restart_cannot_fix_prevent_a_restart() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    prevented = set(map(int, service["RestartPreventExitStatus"].split()))
    passing = {errors.NoRoom.exit_status, errors.AlreadyRunning.exit_status}
    # With a bad configuration the service continues; only the commands exit with that status.
    assert prevented == STATUSES - passing - {0, 1, errors.BadConfiguration.exit_status}
    assert "ExecReload" not in service, "reload-or-restart restarts"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    # systemd passes no limit of 0 on to journald, whose own then applies.
    assert (service["LogRateLimitIntervalSec"], service["LogRateLimitBurst"]) == ("1s", "1000000")
    assert service["Type"] == "notify"
    assert unit["Unit"]["Documentation"].split() == [f"man:{page.stem}({page.suffix[1:]})" for page in PAGES]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_placeholder_is_left(path: Path) -> None:
    assert not re.findall(r"\b(?:ENTRY|TEXT|COST|WAKES|DATE|COMMIT|TODO|FIXME|XXX)\b", path.read_text())


def test_the_message_ids_have_the_form_that_systemd_wants() -> None:
    # Random ids of RFC 4122: version 4, variant 1.
    for each in MESSAGE_IDS.values():
        assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", each)


def test_other_killers_are_named_with_the_place_of_their_records() -> None:
    assert [
        name for name in ("systemd-oomd", "earlyoom", "kubelet", "KILLS BY OTHERS") if name not in words(README)
    ] == []
    for said in (
        *("oomkilld records kills by the kernel's OOM killer.", "systemd-oomd", "journalctl -u systemd-oomd"),
        *("MESSAGE_ID=d989611b15e44c9dbf31e3c81256e4ed", "systemd-oomd killed 27 process(es) in this unit."),
        *("earlyoom", "nohang", "bustd", "journalctl -u earlyoom", "sending SIGTERM to process"),
        *("kubelet", "Evicted", "--field-selector reason=Evicted", "OOMKilled"),
    ):
        assert said in words(SERVICE), said


@each_page
def test_a_page_is_well_formed(page: Path) -> None:
    commands = [["groff", "-t", "-man", "-ww", "-z", "-Kutf8", "-Tutf8", str(page)]]
    if shutil.which("mandoc"):
        commands.append(["mandoc", "-T", "lint", "-W", "warning", str(page)])
    for command in commands:
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_page_lists_the_default_patterns() -> None:
    text = TOML.read_text().replace("\\-", "-").replace("\\ ", " ").replace("\n", " ")
    assert ", ".join(DEFAULT_PATTERNS) in text


def test_the_page_names_every_file_in_the_runtime_directory_and_in_that_of_state() -> None:
    files = {lock.NAME, vars(sentids)["_NAME"], vars(ledger)["_NAME"]}
    files |= {vars(headertree)["_NAME"], *(vars(rundir)[name] for name in ("_LAST", "_CEILING", "_KEPT_IS_BAD"))}
    section = SERVICE.read_text().replace("\\-", "-").partition("\n.SH FILES\n")[2].partition("\n.SH ")[0]
    nested = [part.partition("\n.RE\n")[0] for part in section.split("\n.RS\n")[1:]]
    named = [set(re.findall(r"^\.I (\S+)$", part, re.MULTILINE)) for part in nested]
    assert named == [files, {rundir.PROGRAM, vars(validated)["_NOTE"]}]


def test_the_page_names_every_place_of_the_configuration() -> None:
    places = {f"/{directory}/{configfiles.FILE_NAME}" for directory in configfiles.DIRECTORIES}
    synopsis = TOML.read_text().partition("\n.SH SYNOPSIS\n")[2].partition("\n.SH ")[0]
    assert set(re.findall(r"^\.I (\S+)$", synopsis, re.MULTILINE)) == places | {f"{place}.d/*.toml" for place in places}


def test_the_readme_is_a_front_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 250
    assert len(text.encode()) <= 20_000


def test_no_sentence_is_in_two_documents() -> None:
    places: dict[str, set[str]] = {}
    for path in DOCUMENTS:
        for sentence in sentences(path):
            if len(sentence) > 60:
                places.setdefault(sentence, set()).add(path.name)
    assert len(places) > 300
    assert {sentence: sorted(paths) for sentence, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_reference_in_a_document_has_a_target(path: Path) -> None:
    text = words(path)
    ours = {f"{page.stem}({page.suffix[1:]})": page for page in PAGES}
    assert set(re.findall(rf"\b{OUR_PAGE}", text)) <= ours.keys()
    # "FLOODS in oomkilld(8)", "oomkilld(8), KILLS BY OTHERS"; within a page, "see FLOODS".
    name = r"([A-Z]{3,}(?: [A-Z]+)*)"
    found = [(section, page) for section, page in re.findall(rf"\b{name} in ({OUR_PAGE})", text)]
    found += [(section, page) for page, section in re.findall(rf"({OUR_PAGE}), {name}\b", text)]
    for section, page in found:
        assert f"\n.SH {section}\n" in ours[page].read_text(), f"{section} in {page}"
    if path in PAGES:
        for section in re.findall(rf"\b[Ss]ee {name}(?:[.;]| in this)", text):
            assert f"\n.SH {section}\n" in path.read_text(), section
    else:
        names = re.findall(r"`((?:tests|packaging|etc|oomkilld|\.github)/[\w./-]+)`", path.read_text())
        assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_readmes_promises_and_limits_have_their_sections() -> None:
    (listed,) = re.findall(r"states each promise and limit in full, see ([A-Z, and\n]+)\.", README.read_text())
    for section in re.split(r", | and ", listed.replace("\n", " ")):
        assert f"\n.SH {section}\n" in SERVICE.read_text(), section


def test_every_option_in_the_readme_exists() -> None:
    known, named = usages(), re.findall(r"`(?:[\w/ ]* )?(--[a-z-]+)", README.read_text())
    assert len(named) >= 6
    assert [option for option in named if option not in known] == []


def test_the_readmes_costs_are_rows_of_the_results() -> None:
    def rows(path: Path) -> Iterator[tuple[str, str, str]]:
        """For each row: name, bcc's figure, ours."""
        for line in path.read_text().splitlines():
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) > 1 and re.search(r"\d", cells[-1]):
                yield name, cells[0], cells[-1]

    section = README.read_text().partition("\n## Cost\n")[2].partition("\n## ")[0]
    (commit,) = re.findall(r"commit ([0-9a-f]{7})", section)
    assert f"commit {commit}" in RESULTS.read_text()
    costs = [row for row in rows(README) if f"| {row[0]} |" in section]
    assert len(costs) == 6
    assert [row for row in costs if row not in set(rows(RESULTS))] == []


def test_every_page_is_installed() -> None:
    listed = subprocess.run(
        ["packaging/install", "--dry-run"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert [page for page in PAGES if f"/usr/local/share/man/man{page.suffix[1:]}/{page.name}" not in listed] == []
    assert sorted(PAGES) == sorted((ROOT / "packaging/man").iterdir())
