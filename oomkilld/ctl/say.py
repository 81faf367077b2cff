# SPDX-License-Identifier: Apache-2.0
"""Lines on stderr."""

from oomkilld.stderr import NOTICE, WARNING, say

PROGRAM = "oomkillctl"


def warn(text: str) -> None:
    """Something is wrong, and the program goes on."""
    say(WARNING, text, PROGRAM)


def note(text: str) -> None:
    """Something that a person may want to know; ``-q`` leaves it out."""
    say(NOTICE, text, PROGRAM)
