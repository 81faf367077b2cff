# SPDX-License-Identifier: Apache-2.0
"""Text for people, made from bytes that strangers control."""

from collections.abc import Mapping

# No blank, comma, parenthesis, quote or semicolon, which the sentences themselves have between names.
_PLAIN = {ord(c): None for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+@#"}


# Printable, and nothing to be seen: blank letters and the blank pattern of Braille. Marks that enclose what is before
# them, and parts of a Korean syllable, which are put into one with the part before.
_UNSEEN = (
    frozenset((0x115F, 0x3164, 0xFFA0, 0x2800, 0x0488, 0x0489, 0x1ABE)),
    range(0x20DD, 0x20E5),
    range(0xA670, 0xA673),
    range(0x1160, 0x1200),
    range(0xD7B0, 0xD800),
)


class _Escapes(dict[int, str]):
    """What stands for a character. Those of one byte are there, for a stranger may have used nothing else.

    ``byte_format`` is of a byte that is not printable; it begins with ``mark``, which therefore is written so, too.
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
    """Whether it has a place of its own: else a name with it looks like one without it."""
    if ord(char) < 0x80:
        return char.isprintable()
    # Of what may stand in an identifier, neither letter nor digit are marks, which come over the letter before.
    is_mark = not char.isalnum() and ("a" + char).isidentifier()
    return char.isprintable() and not is_mark and not any(ord(char) in codes for codes in _UNSEEN)


_AS_IN_KMSG = _Escapes("\\", r"\x{:02x}")
_AS_IN_URLS = _Escapes("%", "%{:02X}")


def printable(raw: bytes) -> str:
    r"""Printable UTF-8 as it is; every other byte, and the backslash, as ``\x5c`` like /dev/kmsg has it.

    Not printable are control, format and bidirectional characters, too, and marks that come over the letter before: a
    terminal shows what is there.
    """
    return raw.decode(errors="surrogateescape").translate(_AS_IN_KMSG)


PASTEABLE_QUOTE = "%27"


def pasteable(raw: bytes) -> str:
    r"""Names of units and paths of control groups, as systemctl takes them: a backslash stays as it is.

    systemd itself writes ``\x2d`` there. So every byte that is not printable UTF-8 is ``%0A``, and the percent sign is
    ``%25``: each name looks only like itself.
    """
    return raw.decode(errors="surrogateescape").translate(_AS_IN_URLS)


def quoted(printed: str, quote: str = r"\x27") -> str:
    """In quotes, which none of it can end: a stranger may have chosen it. ``quote``: what stands for one in it."""
    return "'" + printed.replace("'", quote) + "'"


def as_name(printed: str, quote: str = r"\x27") -> str:
    """For the middle of a sentence: in quotes where it could be read as more than a name, as ``'a, b'`` or ``''``."""
    is_plain = printed != "" and printed.isascii() and not printed.translate(_PLAIN)
    return printed if is_plain else quoted(printed, quote)


def counted(number: int, one: str, more: str | None = None) -> str:
    """``1 kill``, ``2 kills``. ``one``: what is said of one; ``more``: of none or several, where an "s" is not all."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def grouped(reasons: Mapping[str, str]) -> list[str]:
    """``kprobe, fentry: reason``: each reason once, with the names of all that have it."""
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
