# SPDX-License-Identifier: Apache-2.0
"""A named tuple of the resident stage is one of ``typing``."""

import subprocess
import sys
import typing
from collections.abc import Callable

import pytest

from oomkilld import lighttyping


def light() -> type:
    class Point(lighttyping.NamedTuple):
        """Where it is."""

        x: int
        y: int = 2

        def sum(self) -> int:
            """Of both."""
            return self.x + self.y

        @property
        def first(self) -> int:
            """The first."""
            return self.x

        @classmethod
        def origin(cls) -> lighttyping.Self:
            """Nowhere."""
            return cls(0, 0)

    return Point


def heavy() -> type:
    class Point(typing.NamedTuple):
        """Where it is."""

        x: int
        y: int = 2

        def sum(self) -> int:
            """Of both."""
            return self.x + self.y

        @property
        def first(self) -> int:
            """The first."""
            return self.x

        @classmethod
        def origin(cls) -> typing.Self:
            """Nowhere."""
            return cls(0, 0)

    return Point


@pytest.mark.parametrize(
    "told",
    [
        lambda made: repr(made(1)),
        lambda made: repr(made(y=3, x=4)),
        lambda made: made(1) == (1, 2),
        lambda made: made(1).sum() + made(7).first,
        lambda made: made.origin(),
        lambda made: made(1)._replace(x=9),
        lambda made: made._make(iter([5, 6]))._asdict(),
        lambda made: (made.__name__, made.__doc__, made.__module__, made._fields, made._field_defaults),
    ],
)
def test_it_is_made_as_of_typing(told: Callable[[type], object]) -> None:
    assert told(light()) == told(heavy())


def test_changing_one_leaves_no_memory_behind() -> None:
    code = """
import sys
from oomkilld.lighttyping import NamedTuple
class Seven(NamedTuple):
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int
    g: int
seven = Seven(1, 2, 3, 4, 5, 6, 7)
for number in range(3000):
    seven = seven._replace(a=number)
sys._debugmallocstats()
"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr
    (kept,) = [int(line.split()[0]) for line in told.splitlines() if " 7-sized PyTupleObjects" in line]
    assert kept < 100


def test_a_field_without_a_value_is_missed() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        light()()


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3]])
def test_not_as_many_values_as_fields(values: list[int]) -> None:
    with pytest.raises(TypeError, match=f"found {len(values)}|got {len(values)}"):
        light()._make(values)  # type: ignore[attr-defined]
