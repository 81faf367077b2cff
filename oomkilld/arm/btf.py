# SPDX-License-Identifier: Apache-2.0
"""Reads offsets, sizes and enumerators of this kernel's types with libbpf's BTF API."""

import ctypes
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from oomkilld.errors import NO_ROOM, CaptureBroken, CaptureUnavailable
from oomkilld.host.system import VMLINUX

# Kinds of linux/btf.h, and the number of 32-bit words after a type's first three: (fixed, per member).
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST = range(1, 11)
RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(11, 20)
_TAIL_WORDS = {INT: (1, 0), ARRAY: (3, 0), STRUCT: (0, 3), UNION: (0, 3), ENUM: (0, 2), FUNC_PROTO: (0, 2)}
_TAIL_WORDS |= {VAR: (1, 0), DATASEC: (0, 3), DECL_TAG: (1, 0), ENUM64: (0, 3)}
_MODIFIERS = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}


class _Type(ctypes.Structure):
    """``struct btf_type``; its members follow it in memory."""

    _fields_ = [("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32)]

    @property
    def kind(self) -> int:
        return int(self.info) >> 24 & 0x1F

    @property
    def member_count(self) -> int:
        return int(self.info) & 0xFFFF


class _Member(ctypes.Structure):
    """``struct btf_member``."""

    _fields_ = [("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32)]


class _Parameter(ctypes.Structure):
    """``struct btf_param``."""

    _fields_ = [("name", ctypes.c_uint32), ("type", ctypes.c_uint32)]


class Member(NamedTuple):
    """A member's offset in its structure and its size, in bytes, and its BTF type."""

    offset: int
    size: int
    type_id: int


class Btf:
    """The types of one kernel. Raises CaptureUnavailable if it has none, OSError if memory or files are exhausted."""

    def __init__(self, path: Path = VMLINUX) -> None:
        self._lib = _library()
        self._enumerators: tuple[bytes, dict[int, int]] | None = None
        ctypes.set_errno(0)
        self._btf = self._lib.btf__parse(str(path).encode(), None)
        if not self._btf:
            number = ctypes.get_errno()
            if number in NO_ROOM:
                raise OSError(number, os.strerror(number), str(path))
            raise CaptureUnavailable(
                f"Failed to read this kernel's type information: {path}: {os.strerror(number)}",
                "run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is) and "
                "do not hide /sys/kernel/btf from the service",
            )

    def close(self) -> None:
        """Free the types; no other method may be called after this."""
        self._lib.btf__free(self._btf)

    def struct_size(self, name: str) -> int | None:
        """The size in bytes; None: this kernel has no such structure."""
        type_id = self._find(name)
        return None if type_id is None else self._size(type_id)

    def member(self, struct: str, name: str) -> Member | None:
        """A member, also inside anonymous members; None: this kernel lacks it."""
        type_id = self._find(struct)
        return None if type_id is None else self._search(type_id, name)

    def function(self, name: str) -> int:
        """The number of a function's type; 0: this kernel has no such function."""
        return self._find(name, FUNC) or 0

    def element_struct(self, member: Member) -> str | None:
        """The structure's name if the member is an array of structures, else None."""
        outer = self._type(self._resolve(member.type_id))
        if outer.kind != ARRAY:
            return None
        element_id = ctypes.c_uint32.from_address(ctypes.addressof(outer) + ctypes.sizeof(_Type)).value
        element = self._type(self._resolve(element_id))
        return self._name(element.name) if element.kind == STRUCT else None

    def raw_tracepoint_gives(self, event: str, struct: str) -> bool:
        """Whether a raw tracepoint's first argument points to that structure."""
        type_id = self._find(f"btf_trace_{event}", TYPEDEF)
        if type_id is None:
            return False
        # A pointer to a function. Its parameter 0 belongs to the tracepoint itself.
        prototype = self._type(self._pointed_to(type_id))
        if prototype.kind != FUNC_PROTO or prototype.member_count < 2:
            return False
        parameters_at = ctypes.addressof(prototype) + ctypes.sizeof(_Type)
        parameter = _Parameter.from_address(parameters_at + ctypes.sizeof(_Parameter))
        target = self._type(self._pointed_to(parameter.type))
        return target.kind == STRUCT and self._name(target.name) == struct

    def enumerators(self, names: Iterable[str]) -> dict[str, int]:
        """Values of those of ``names`` that this kernel declares as enumerators, in any enum."""
        if self._enumerators is None:
            self._enumerators = self._all_enumerators()
        strings, values = self._enumerators
        found = {name: values.get(strings.find(b"\0" + name.encode() + b"\0") + 1) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def _all_enumerators(self) -> tuple[bytes, dict[int, int]]:
        """The section of strings, and the values by the place of their names in it."""
        size = ctypes.c_uint32()
        raw = ctypes.string_at(self._lib.btf__raw_data(self._btf, ctypes.byref(size)), size.value)
        header_size, types_at, types_size, strings_at, strings_size = array("I", raw[4:24])
        words = array("I", raw[header_size + types_at :][:types_size])
        values: dict[int, int] = {}
        for first, step, count in _enums(words):
            end = first + step * count
            values.update(zip(words[first:end:step], words[first + 1 : end : step], strict=True))
        return raw[header_size + strings_at :][:strings_size], values

    def _search(self, type_id: int, name: str) -> Member | None:
        outer = self._type(self._resolve(type_id))
        if outer.kind not in (STRUCT, UNION):
            return None
        members_at = ctypes.addressof(outer) + ctypes.sizeof(_Type)
        for i in range(outer.member_count):
            member = _Member.from_address(members_at + i * ctypes.sizeof(_Member))
            # With kind_flag set the upper byte is a bit field's width.
            bits = member.offset & 0xFFFFFF if outer.info >> 31 else member.offset
            if self._name(member.name) == name:
                return Member(bits // 8, self._size(member.type), member.type)
            if not member.name and (inner := self._search(member.type, name)):
                return inner._replace(offset=bits // 8 + inner.offset)
        return None

    def _find(self, name: str, kind: int = STRUCT) -> int | None:
        type_id = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return type_id if type_id > 0 else None

    def _resolve(self, type_id: int) -> int:
        while self._type(type_id).kind in _MODIFIERS:
            type_id = self._type(type_id).size_or_type
        return type_id

    def _pointed_to(self, type_id: int) -> int:
        """The type that a pointer points to; for any other type, the type itself."""
        resolved = self._resolve(type_id)
        target = self._type(resolved)
        return self._resolve(target.size_or_type) if target.kind == PTR else resolved

    def _type(self, type_id: int) -> _Type:
        address = self._lib.btf__type_by_id(self._btf, type_id)
        if not address:
            raise CaptureBroken(f"{VMLINUX}: found no type {type_id}", "report this, with the kernel's release")
        return _Type.from_address(address)

    def _size(self, type_id: int) -> int:
        return int(self._lib.btf__resolve_size(self._btf, type_id))

    def _name(self, offset: int) -> str:
        name: bytes = self._lib.btf__name_by_offset(self._btf, offset)
        return name.decode()


def _enums(words: "array[int]") -> Iterator[tuple[int, int, int]]:
    """(index of the first enumerator, words each, number of enumerators) of every enum in BTF's type section."""
    at = 0
    while at < len(words):
        kind, count = words[at + 1] >> 24 & 0x1F, words[at + 1] & 0xFFFF
        fixed, each = _TAIL_WORDS.get(kind, (0, 0))
        if kind in (ENUM, ENUM64):
            yield at + 3, each, count
        at += 3 + fixed + each * count


def _library() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise CaptureUnavailable(f"Failed to load libbpf: {error}", "install the package libbpf1") from None
    pointer, number = ctypes.c_void_p, ctypes.c_uint32
    for name, result, arguments in (
        ("btf__parse", pointer, [ctypes.c_char_p, pointer]),
        ("btf__free", None, [pointer]),
        ("btf__raw_data", pointer, [pointer, ctypes.POINTER(number)]),
        ("btf__find_by_name_kind", ctypes.c_int32, [pointer, ctypes.c_char_p, number]),
        ("btf__type_by_id", pointer, [pointer, number]),
        ("btf__resolve_size", ctypes.c_int64, [pointer, number]),
        ("btf__name_by_offset", ctypes.c_char_p, [pointer, number]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    # libbpf would print its own messages to stderr. The service reports each failure once itself.
    lib.libbpf_set_print(None)
    return lib
