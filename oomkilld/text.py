# SPDX-License-Identifier: Apache-2.0
"""Text for people, made from bytes that strangers control."""


def printable(raw: bytes) -> str:
    r"""Printable UTF-8 as it is; every other byte, and the backslash, as ``\x5c`` like /dev/kmsg has it.

    Not printable are control, format and bidirectional characters, too: a terminal shows what is there.
    """
    return "".join(
        c if c.isprintable() and c != "\\" else "".join(f"\\x{byte:02x}" for byte in c.encode(errors="surrogateescape"))
        for c in raw.decode(errors="surrogateescape")
    )


def human_bytes(size: int) -> str:
    """``498.2M``: one decimal, 1024-based units, as systemctl prints memory."""
    value = float(size)
    for unit in ("B", "K", "M", "G", "T", "P"):
        if value < 1024 or unit == "P":
            break
        value /= 1024
    return f"{size}B" if unit == "B" else f"{value:.1f}{unit}"
