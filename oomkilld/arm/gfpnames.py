# SPDX-License-Identifier: Apache-2.0
"""Reads this kernel's names of allocation flags (gfp) from the description of a tracepoint.

The kernel log (``%pGg``, mm/debug.c) and the tracepoint ``kmem:mm_page_alloc`` use the same list of names:
``__def_gfpflag_names`` in include/trace/events/mmflags.h. The tracepoint's ``format`` file contains the list as C text.
Each mask is an expression that the preprocessor left behind:

* ``{(unsigned long)(( gfp_t)0x40u), "__GFP_IO"}`` at first;
* ``{( unsigned long)(( gfp_t)((((1UL))) << (___GFP_IO_BIT))), "__GFP_IO"}`` since Linux commit 772dd0342727
  ("mm: enumerate all gfp flags", 6.10); BTF has the values of the words;
* the same with numbers for the words since Linux commit 60295b944ff6 ("tracing: gfp: Fix the GFP enum values shown
  for user space tracing tools", 6.14 and stable trees).
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

EVENT = "kmem/mm_page_alloc"

# Returns the values of those enumerators, by name, that this kernel has.
Enumerators = Callable[[Collection[str]], dict[str, int]]

# The names in ___GFP_<name>_BIT that kernels have had. Used if tracefs is not available.
_BITS = (
    *("DMA", "HIGHMEM", "DMA32", "MOVABLE", "RECLAIMABLE", "HIGH", "IO", "FS", "ZERO", "DIRECT_RECLAIM"),
    *("KSWAPD_RECLAIM", "WRITE", "NOWARN", "RETRY_MAYFAIL", "NOFAIL", "NORETRY", "MEMALLOC", "COMP", "NOMEMALLOC"),
    *("HARDWALL", "THISNODE", "ACCOUNT", "ZEROTAGS", "SKIP_ZERO", "SKIP_KASAN", "NOLOCKDEP", "NO_OBJ_EXT"),
)
_LIST = re.compile(r'__print_flags\(REC->gfp_flags,\s*"\|",')
_TOKEN = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*|(?P<word>[A-Za-z_]\w*)"
    r'|"(?P<text>[^"]*)"|(?P<sign><<|>>|[-+|^&~(){},*]))'
)
# Words in casts; no cast changes the value of a mask.
_TYPES = {"unsigned", "long", "int", "gfp_t", "void"}
_PRECEDENCE = {"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5}
_UNARY = 6
_GFP_BITS = 0xFFFFFFFF  # gfp_t is an unsigned int
_LONG_BITS = 0xFFFFFFFFFFFFFFFF
_MAX_SHIFT = 63
_MAX_DEPTH = 50  # the kernel's own are 10 deep


class NotUnderstood(ValueError):
    """The kernel's text is unlike that of known kernels."""


class _Token(NamedTuple):
    kind: str  # a group of _TOKEN; "end" after the last token
    text: str


def flag_list(event_format: str, enumerators: Enumerators) -> dict[str, int]:
    """Masks by name, in the order in which the kernel tries them. Raises NotUnderstood."""
    start = _LIST.search(event_format)
    if start is None:
        raise NotUnderstood(f"format of {EVENT}: found no list of gfp_flags")
    tokens = list(_tokens(event_format, start.end()))
    words = {token.text for token in tokens if token.kind == "word"} - _TYPES
    return _Parser(tokens, enumerators(words) if words else {}).flags()


def single_bits(enumerators: Enumerators) -> dict[str, int]:
    """Masks by name for single bits, lowest first; empty for a kernel without those enumerators.

    Combinations (``GFP_KERNEL``) are missing: they are not enumerators.
    """
    found = enumerators([f"___GFP_{name}_BIT" for name in _BITS])
    bits = {name: 1 << found[f"___GFP_{name}_BIT"] for name in _BITS if f"___GFP_{name}_BIT" in found}
    return {f"__GFP_{name}": mask for name, mask in sorted(bits.items(), key=lambda item: item[1])}


def _tokens(text: str, at: int) -> Iterator[_Token]:
    """The tokens of the list, up to the closing parenthesis."""
    depth = 0
    while depth >= 0:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise NotUnderstood(f"format of {EVENT}: found {text[at : at + 20]!r} in the list of gfp_flags")
        at = match.end()
        token = _Token(match.lastgroup, match[match.lastgroup])
        depth += (token == ("sign", "(")) - (token == ("sign", ")"))
        yield token
    yield _Token("end", "")


class _Parser:
    """Parses the C subset of the list: a few operators, casts, numbers, enumerators."""

    def __init__(self, tokens: list[_Token], values: dict[str, int]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._values = values

    def flags(self) -> dict[str, int]:
        """``{mask, "name"}, …``; newer kernels end the list with ``{ 0, ((void *)0) }``."""
        flags: dict[str, int] = {}
        while self._accept("{"):
            mask = self._expression(1) & _LONG_BITS
            self._expect(",")
            if self._tokens[self._at].kind == "text":
                flags[self._take().text] = mask
            else:
                self._expression(1)  # NULL
            self._expect("}")
            self._accept(",")
        self._expect(")")
        if not flags:
            raise NotUnderstood(f"format of {EVENT}: found no flags")
        return flags

    def _expression(self, weakest: int) -> int:
        """Evaluate up to the first operator of a lower precedence than ``weakest``."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise NotUnderstood(f"format of {EVENT}: found an expression more than {_MAX_DEPTH} deep")
        value = self._operand()
        while (operator := self._tokens[self._at]).kind == "sign" and _PRECEDENCE.get(operator.text, 0) >= weakest:
            self._at += 1
            value = _apply(operator.text, value, self._expression(_PRECEDENCE[operator.text] + 1))
        self._depth -= 1
        return value

    def _operand(self) -> int:
        while self._accept_cast():
            pass
        token = self._take()
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "word" and token.text in self._values:
            return self._values[token.text]
        if token == ("sign", "~"):
            return self._expression(_UNARY) ^ _GFP_BITS
        if token == ("sign", "("):
            value = self._expression(1)
            self._expect(")")
            return value
        raise NotUnderstood(f"format of {EVENT}: found {token.text!r}, expected a value")

    def _accept_cast(self) -> bool:
        """``( unsigned long)``."""
        at = self._at
        if self._tokens[at] != ("sign", "(") or self._tokens[at + 1].text not in _TYPES:
            return False
        while self._tokens[at] != ("sign", ")"):
            at += 1
        self._at = at + 1
        return True

    def _accept(self, sign: str) -> bool:
        found = self._tokens[self._at] == ("sign", sign)
        self._at += found
        return found

    def _expect(self, sign: str) -> None:
        token = self._take()
        if token != ("sign", sign):
            raise NotUnderstood(f"format of {EVENT}: found {token.text!r}, expected {sign!r}")

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        # The end token stays, however often it is taken.
        self._at += token.kind != "end"
        return token


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise NotUnderstood(f"format of {EVENT}: found {text!r}, expected a number") from None


def _apply(operator: str, left: int, right: int) -> int:
    if operator in ("<<", ">>"):
        if not 0 <= right <= _MAX_SHIFT:
            raise NotUnderstood(f"format of {EVENT}: found a shift by {right}")
        return left << right if operator == "<<" else left >> right
    results = {"|": left | right, "^": left ^ right, "&": left & right, "+": left + right, "-": left - right}
    return results[operator]
