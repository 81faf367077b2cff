# SPDX-License-Identifier: Apache-2.0
"""The resident stage's NamedTuple behaves like that of ``typing``."""

import subprocess
import sys
import typing
from collections.abc import Callable

import pytest

from oomkilld import lighttyping


def light() -> type:
    class Point(lighttyping.NamedTuple):
        """A place."""

        x: int
        y: int = 2

        def sum(self) -> int:
            """Both added."""
            return self.x + self.y

        @property
        def first(self) -> int:
            """The first."""
            return self.x

        @classmethod
        def origin(cls) -> lighttyping.Self:
            """The place 0, 0."""
            return cls(0, 0)

    return Point


def heavy() -> type:
    class Point(typing.NamedTuple):
        """A place."""

        x: int
        y: int = 2

        def sum(self) -> int:
            """Both added."""
            return self.x + self.y

        @property
        def first(self) -> int:
            """The first."""
            return self.x

        @classmethod
        def origin(cls) -> typing.Self:
            """The place 0, 0."""
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
def test_it_behaves_like_that_of_typing(told: Callable[[type], object]) -> None:
    assert told(light()) == told(heavy())


def test_replacing_a_field_leaks_no_memory() -> None:
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


def test_a_missing_field_raises() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        light()()


@pytest.mark.parametrize("values", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_values_raises(values: list[int]) -> None:
    with pytest.raises(TypeError, match=f"found {len(values)}|got {len(values)}"):
        light()._make(values)  # type: ignore[attr-defined]
