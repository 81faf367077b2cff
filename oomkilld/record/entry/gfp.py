# SPDX-License-Identifier: Apache-2.0
"""A mask of allocation flags (gfp) in words."""

from collections.abc import Mapping


def flag_names(mask: int, names: Mapping[str, int]) -> str | None:
    """``GFP_HIGHUSER_MOVABLE|__GFP_COMP``, as this kernel prints it; None when its names are not known.

    ``names``: mask by name in the kernel's order, from the order of arming. What no name covers is the last word,
    ``0x200``. The rules are those of the log and of tracing alike (format_flags() of lib/vsprintf.c,
    trace_print_flags_seq() of kernel/trace/trace_output.c). They differ over no flags at all: tracing prints
    ``none``, as here; the log prints nothing, ``gfp_mask=0x0()``.
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
