# SPDX-License-Identifier: Apache-2.0
"""The parts of ``typing`` that the resident stage needs at run time, without its half megabyte of resident memory.

For type checkers, and from Python 3.14 on, it is ``typing`` itself: 3.14 stores a class's annotations elsewhere.
"""

import sys
from collections import namedtuple
from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING or sys.version_info >= (3, 14):
    from typing import Any, Generic, NamedTuple, NoReturn, Protocol, Self, TypeVar
else:
    Any = NoReturn = Self = object

    class Protocol:
        """A class like any other."""

    class Generic:
        """``Generic[T]`` is a class like any other."""

        def __class_getitem__(cls, parameters: object) -> type:
            return cls

    def TypeVar(name: str, *_constraints: object, **_bound: object) -> object:  # noqa: N802 # its name in typing
        """A name that only type checkers use."""
        return name

    class _NamedTupleMeta(type):
        """Turns a class with the base ``NamedTuple`` into a named tuple, with its methods and defaults."""

        def __new__(cls, name: str, _bases: tuple[type, ...], namespace: dict[str, object]) -> type:
            fields = namespace.pop("__annotations__", {})
            defaults = [namespace.pop(field) for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace.pop("__module__"))  # noqa: PYI024
            for key, value in {**namespace, "_make": classmethod(_make)}.items():
                setattr(made, key, value)
            return made

    def _make(cls: type, values: Iterable[object]) -> tuple[object, ...]:
        # From a list: for an iterator, CPython allocates a larger tuple and shrinks it. It takes such a tuple from no
        # free list, but returns it to one: 2,000 of each size stay for ever, half a megabyte after a storm.
        made = tuple.__new__(cls, [*values])
        if len(made) != len(cls._fields):
            raise TypeError(f"expected {len(cls._fields)} values, found {len(made)}")
        return made

    class _NamedTuple:
        def __mro_entries__(self, _bases: tuple[object, ...]) -> tuple[type, ...]:
            return (type.__new__(_NamedTupleMeta, "NamedTuple", (), {}),)

    NamedTuple = _NamedTuple()

__all__ = ["TYPE_CHECKING", "Any", "Generic", "NamedTuple", "NoReturn", "Protocol", "Self", "TypeVar"]
