# SPDX-License-Identifier: Apache-2.0
"""The house: every module is in a room of CONTRIBUTING's map, and imports only what the map allows."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CONTRIBUTING = ROOT / ".github/CONTRIBUTING.md"
HEADING = "## Rooms"
MAX_LINES = 300
# One table; each of its rows is a journal field.
TABLES = {"oomkilld.schema"}
STAGES = ("oomkilld.arm", "oomkilld.record")


class Import(NamedTuple):
    """``line`` of ``module`` imports ``imported``, a module of this project."""

    module: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{file_of(self.module)}:{self.line} imports {self.imported}"


def file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def modules() -> dict[str, Path]:
    """All modules, except those that only make a folder a package."""
    paths = [path for path in ROOT.glob("oomkilld/**/*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(paths)}


@cache
def imports() -> list[Import]:
    """All imports, also those within functions and those for types only."""
    known = modules()
    return [each for module, path in known.items() for each in _imports_of(module, path, known)]


def _imports_of(module: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file_of(module)}:{node.lineno}: write `from oomkilld.… import …`, not `from .`"
            named = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        elif isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        else:
            continue
        yield from (Import(module, name, node.lineno) for name in dict.fromkeys(named) if name in known)


def rooms() -> dict[str, str]:
    """The room of each module, in the order of the map. A room is a row: a folder, and the modules in it."""
    text = CONTRIBUTING.read_text()
    assert HEADING in text, f"expected the map of rooms below {HEADING!r} in {CONTRIBUTING}"
    rows = re.findall(r"^\| (`(oomkilld/[a-z/]*)`[^|]*?) *\| ([^|]*)\|", text.partition(HEADING)[2], re.MULTILINE)
    found: dict[str, str] = {}
    for room, folder, content in rows:
        for name in re.findall(r"`(\w+)`", content):
            module = folder.replace("/", ".") + name
            assert module not in found, f"CONTRIBUTING's map names {module} in two rooms: leave one"
            found[module] = room
    return found


def between_rooms() -> Iterator[tuple[str, str, Import]]:
    """The importing room, the imported room, and the import. Modules without a room are left to another test."""
    room_of = rooms()
    for each in imports():
        if each.module in room_of and each.imported in room_of:
            yield room_of[each.module], room_of[each.imported], each


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle, with its first element repeated at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def list_of(found: Iterable[object], what_to_do: str) -> str:
    return "\n".join(["", *map(str, found), what_to_do])


def test_every_module_is_in_a_room_of_the_map() -> None:
    there, mapped = modules().keys(), rooms().keys()
    strangers, gone = sorted(map(file_of, there - mapped)), sorted(map(file_of, mapped - there))
    in_the_map = f"the map of rooms in {CONTRIBUTING}"
    assert not strangers, list_of(strangers, f"in no room: say in {in_the_map} what it does, in its folder's row")
    assert not gone, list_of(gone, f"not there: take it out of {in_the_map}")


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for each in imports():
        graph.setdefault(each.module, set()).add(each.imported)
    found = circle(graph)
    assert not found, list_of(
        found, "each imports the next: move what both ends need into a module of its own, or pass it in"
    )


def test_no_rooms_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    because: dict[tuple[str, str], list[str]] = {}
    for room, used, each in between_rooms():
        if room != used:
            graph.setdefault(room, set()).add(used)
            because.setdefault((room, used), []).append(str(each))
    found = [line for pair in pairwise(circle(graph)) for line in because[pair]]
    assert not found, list_of(found, "rooms in a circle: move a module to another room, or what is needed of it")


def test_a_room_imports_only_from_rooms_above_it() -> None:
    order = list(dict.fromkeys(rooms().values()))
    found = [
        f"{each}: {used} stands below {room}"
        for room, used, each in between_rooms()
        if order.index(used) > order.index(room)
    ]
    assert not found, list_of(
        found, f"move what is needed up, or pass it in from above; the order is the map's in {CONTRIBUTING}"
    )


def test_neither_stage_imports_the_other() -> None:
    arm, record = (f"{stage}." for stage in STAGES)
    found = [
        each
        for each in imports()
        for one, other in ((arm, record), (record, arm))
        if each.module.startswith(one) and each.imported.startswith(other)
    ]
    assert not found, list_of(found, "what both stages need stands in oomkilld/, host/, service/ or config/")


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in modules().items() if module not in TABLES}
    found = [f"{file_of(module)}: {count} lines" for module, count in lines.items() if count > MAX_LINES]
    assert not found, list_of(found, f"more than {MAX_LINES}: split by what it does, name the new module in the map")
