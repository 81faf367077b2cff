# SPDX-License-Identifier: Apache-2.0
"""Makes text for people from bytes that strangers control."""

from collections.abc import Mapping

# Without blank, comma, parenthesis, quote and semicolon: the sentences around a name use these.
_PLAIN = {ord(c): None for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+@#"}


# Printable, but invisible by themselves: blank letters, the blank pattern of Braille, marks that enclose the character
# before them, and parts of a Korean syllable, which join the part before them.
_UNSEEN = (
    frozenset((0x115F, 0x3164, 0xFFA0, 0x2800, 0x0488, 0x0489, 0x1ABE)),
    range(0x20DD, 0x20E5),
    range(0xA670, 0xA673),
    range(0x1160, 0x1200),
    range(0xD7B0, 0xD800),
)


class _Escapes(dict[int, str]):
    """Maps a character to its printed form. Single bytes are precomputed: a stranger may have used nothing else.

    ``byte_format``: the form of a byte that is not printable. It begins with ``mark``, so ``mark`` is escaped as well.
    """

    def __init__(self, mark: str, byte_format: str) -> None:
        super().__init__()
        self._mark = mark
        self._byte_format = byte_format
        for code in (*range(0x80), *range(0xDC80, 0xDD00)):
            self[code] = self[code]

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if _is_seen(char) and char != self._mark:
            return char
        return "".join(self._byte_format.format(byte) for byte in char.encode(errors="surrogateescape"))


def _is_seen(char: str) -> bool:
    """Whether it takes a place of its own: otherwise a name with it looks like one without it."""
    if ord(char) < 0x80:
        return char.isprintable()
    # A character of an identifier that is neither letter nor digit is a mark, drawn over the letter before it.
    is_mark = not char.isalnum() and ("a" + char).isidentifier()
    return char.isprintable() and not is_mark and not any(ord(char) in codes for codes in _UNSEEN)


_AS_IN_KMSG = _Escapes("\\", r"\x{:02x}")
_AS_IN_URLS = _Escapes("%", "%{:02X}")


def printable(raw: bytes) -> str:
    r"""Keep printable UTF-8; escape the backslash and every other byte as /dev/kmsg does, such as ``\x5c``.

    Control, format and bidirectional characters count as not printable, and so do marks drawn over the letter before
    them: a terminal then shows all that the name holds.
    """
    return raw.decode(errors="surrogateescape").translate(_AS_IN_KMSG)


PASTEABLE_QUOTE = "%27"


def pasteable(raw: bytes) -> str:
    r"""Format a unit's name or a cgroup's path as systemctl accepts it: a backslash stays.

    systemd itself writes ``\x2d`` there. So a byte that is not printable UTF-8 becomes ``%0A``, and the percent sign
    ``%25``: no two names look the same.
    """
    return raw.decode(errors="surrogateescape").translate(_AS_IN_URLS)


def harmless(text: str) -> str:
    r"""Escape what a terminal might act on or hide, and nothing else; bytes that are not UTF-8 become ``\xff``.

    For text that somebody else has written: an entry of another machine, an argument.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_seen(char) else printable(char.encode(errors="surrogateescape")) for char in text)


def quoted(printed: str, quote: str = r"\x27") -> str:
    """Put a stranger's text in quotes that it cannot close. ``quote``: replaces a quote in the text."""
    return "'" + printed.replace("'", quote) + "'"


def as_name(printed: str, quote: str = r"\x27") -> str:
    """For the middle of a sentence: quoted if it could be read as more than a name, such as ``'a, b'`` or ``''``."""
    is_plain = printed != "" and printed.isascii() and not printed.translate(_PLAIN)
    return printed if is_plain else quoted(printed, quote)


def counted(number: int, one: str, more: str | None = None) -> str:
    """``1 kill``, ``2 kills``. ``one``: the singular; ``more``: the plural, if it is not the singular and an "s"."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def grouped(reasons: Mapping[str, str]) -> list[str]:
    """``kprobe, fentry: reason``: each reason once, after the names that share it."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(having)}: {reason}" for reason, having in names.items()]


def human_bytes(size: int) -> str:
    """``498.2M``: one decimal, 1024-based units, as systemctl prints memory."""
    value = float(size)
    for unit in ("B", "K", "M", "G", "T", "P"):
        if value < 1024 or unit == "P":
            break
        value /= 1024
    return f"{size}B" if unit == "B" else f"{value:.1f}{unit}"
