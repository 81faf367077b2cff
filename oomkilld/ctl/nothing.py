# SPDX-License-Identifier: Apache-2.0
"""What to say if nothing was found: what was searched for, and what a person may have meant."""

import os
import re
from argparse import Namespace
from collections.abc import Iterator

from oomkilld.ctl.files import SUFFIXES
from oomkilld.ctl.match import ID, NAME, PID, POD, UNIT, kind_of
from oomkilld.ctl.options import VERBS
from oomkilld.ctl.say import note
from oomkilld.ctl.selection import Selection, say_aside
from oomkilld.ctl.spelling import nearest
from oomkilld.text import counted, harmless

_AS = {
    ID: "the beginning of an id",
    NAME: "the name of a process or a pod",
    PID: "a process id",
    POD: "the uid of a pod",
    UNIT: "a unit",
}
# What other programs call these verbs.
_SYNONYMS = {"show": "info", "tail": "follow", "watch": "follow"}
# Options that select kills, besides MATCH.
_SELECTING = (*("since", "until", "boot", "unit", "user_unit", "slice", "container", "pod", "event", "source", "host"),)
_SHORT_ID = re.compile(r"[0-9a-fA-F]{4,7}")


def say(options: Namespace, selection: Selection) -> None:
    """On stderr, unless ``-q``."""
    if options.quiet:
        return
    field = getattr(options, "field", None)
    if field is not None and selection.kills:
        whose = "the kill has no" if selection.kills == 1 else f"none of {counted(selection.kills, 'kill')} has the"
        note(f"{whose} field {field}")
        return
    if options.matches:
        note(f"found no {'kill' if options.event is None else 'entry'} that matches {_searched(options)}")
    else:
        note("no kills found")
    say_aside(options, selection.aside)
    for word in options.matches:
        for hint in _hints(options, word):
            note(hint)


def _searched(options: Namespace) -> str:
    """``'a' or 'b' (as the name of a process or a pod) and '553' (as a process id); for a unit: -u a``."""
    by_kind: dict[str, list[str]] = {}
    for word in options.matches:
        by_kind.setdefault(kind_of(word), []).append(word)
    searched = [
        " or ".join(f"'{harmless(word)}'" for word in words) + (f" (as {_AS[kind]})" if kind in _AS else "")
        for kind, words in by_kind.items()
    ]
    if any(getattr(options, name, None) not in (None, []) for name in _SELECTING):
        searched.append("the options")
    names = [word for word in by_kind.get(NAME, ()) if "/" not in word and not _is_verb(word)]
    return " and ".join(searched) + (f"; for a unit: -u {_for_shell(names[0])}" if names else "")


def _hints(options: Namespace, word: str) -> Iterator[str]:
    shown = harmless(word)
    if _SHORT_ID.fullmatch(word):
        yield f"'{shown}': an id needs at least 8 digits"
    elif word in VERBS:
        yield f"only one verb, as the first word: '{shown}' was read as a MATCH"
    elif word.endswith(SUFFIXES) and os.path.exists(word):
        yield f"'{shown}' is a file: " + ("quote the pattern, or repeat --file" if options.file else "use --file")
    elif word is options.matches[0] and (meant := _SYNONYMS.get(word) or nearest(word, VERBS)):
        yield f"'{shown}' is a MATCH; did you mean the verb {meant}?"


def _is_verb(word: str) -> bool:
    return word in VERBS or word in _SYNONYMS


def _for_shell(word: str) -> str:
    from shlex import quote

    return quote(harmless(word))
