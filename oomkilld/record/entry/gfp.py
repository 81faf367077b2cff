# SPDX-License-Identifier: Apache-2.0
"""Names of allocation flags (gfp)."""

from collections.abc import Mapping


def flag_names(mask: int, names: Mapping[str, int]) -> str | None:
    """``GFP_HIGHUSER_MOVABLE|__GFP_COMP``, as this kernel prints it; None: the names are unknown.

    ``names``: mask by name in the kernel's order, from the arming stage. Bits without a name are the last word,
    ``0x200``. The log and tracing follow the same rules (format_flags() of lib/vsprintf.c, trace_print_flags_seq() of
    kernel/trace/trace_output.c). They differ only for an empty mask: tracing prints ``none``, as here; the log prints
    nothing, ``gfp_mask=0x0()``.
    """
    if not names:
        return None
    words = []
    left = mask
    for name, flags in names.items():
        if left and left & flags == flags:
            words.append(name)
            left &= ~flags
    if left:
        words.append(hex(left))
    return "|".join(words) or "none"
