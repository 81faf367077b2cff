# SPDX-License-Identifier: Apache-2.0
"""The grammar of the kernel's own lines about OOM kills (mm/oom_kill.c), the same from 5.8 to 7.3.

Names of processes and of control groups stand in them unquoted, and may hold what looks like the rest of the line. So
each is read from where the kernel's text is fixed, mostly the end; what can be read in two ways is not known.
Every function takes a line's text, and returns None for a line of another kind.
"""

from typing import NamedTuple

# oom_constraint_text, in the order of enum oom_constraint.
CONSTRAINTS = ("CONSTRAINT_NONE", "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_MEMCG")
# How a decision's message may begin; "(oom_kill_allocating_task)" is a message, too.
_REASONS = (b"Out of memory", b"Memory cgroup out of memory", b"Out of memory (oom_kill_allocating_task)")
_KILLED = b": Killed process "
_INVOKED = b" invoked oom-killer: gfp_mask="
_CONSTRAINT = b"oom-kill:constraint="
_GROUP_BEGIN, _GROUP_END = b"Tasks in /", b" are going to be killed due to memory.oom.group set"
_MAX_COMM_BYTES = 15
# Longer than this, a line may have been cut (PRINTKRB_RECORD_MAX, formerly LOG_LINE_MAX: 976 bytes and more).
_MAX_WHOLE_BYTES = 900


class Killed(NamedTuple):
    """``…: Killed process 42 (name) total-vm:…``. Sizes in bytes; ``tid`` is the number of a thread."""

    reason: bytes
    tid: int
    comm: bytes
    total_vm: int
    anon: int
    file: int
    shmem: int
    uid: int
    pgtables: int
    oom_score_adj: int


class Invoked(NamedTuple):
    """``name invoked oom-killer: …``: who asked for how much."""

    comm: bytes
    gfp_mask: int
    order: int


class Chosen(NamedTuple):
    """``oom-kill:constraint=…``. None: there is none, or it can be read in two ways."""

    constraint: int  # index into CONSTRAINTS
    domain_cgroup: bytes | None
    victim_cgroup: bytes | None  # of the memory controller


def killed(text: bytes) -> Killed | None:
    """A kill: the kernel counted it, and prints this line always."""
    reason, _words, rest = text.partition(_KILLED)
    tid, parenthesis, rest = rest.partition(b" (")
    # Behind the name there is only what the kernel itself writes.
    comm, total, rest = rest.rpartition(b") total-vm:")
    if reason not in _REASONS or not parenthesis or not total or len(comm) > _MAX_COMM_BYTES:
        return None
    words = (b"total-vm:" + rest).replace(b", ", b" ").split(b" ")
    names = (b"total-vm", b"anon-rss", b"file-rss", b"shmem-rss", b"UID", b"pgtables", b"oom_score_adj")
    values = [word.removeprefix(name + b":") for name, word in zip(names, words, strict=False)]
    if len(words) != len(names) or not tid.isdigit():
        return None
    *sizes, uid, pgtables, adjust = values
    kilobytes = [size.removesuffix(b"kB") for size in (*sizes, pgtables)]
    if not all(number.isdigit() for number in (*kilobytes, uid, adjust.removeprefix(b"-"))):
        return None
    total_vm, anon, file, shmem, tables = (int(number) << 10 for number in kilobytes)
    return Killed(reason, int(tid), comm, total_vm, anon, file, shmem, int(uid), tables, int(adjust))


def invoked(text: bytes) -> Invoked | None:
    """The first line of the header, which the kernel leaves out when there are many."""
    comm, words, rest = text.rpartition(_INVOKED)
    mask, _parenthesis, rest = rest.partition(b"(")
    _names, order_word, rest = rest.partition(b"), order=")
    order, adjust_word, _adjust = rest.partition(b", oom_score_adj=")
    if not (words and order_word and adjust_word and order.removeprefix(b"-").isdigit()) or len(comm) > _MAX_COMM_BYTES:
        return None
    if not mask.startswith(b"0x") and mask != b"0":
        return None
    try:
        return Invoked(comm, int(mask, 16), int(order))
    except ValueError:
        return None


def caller_tid(text: bytes) -> int | None:
    """``CPU: 1 UID: 0 PID: 42 Comm: name …``, the header's second line: the thread that asked."""
    before, words, _comm = text.partition(b" Comm: ")
    cpu, pid_word, tid = before.rpartition(b" PID: ")
    return int(tid) if words and pid_word and cpu.startswith(b"CPU: ") and tid.isdigit() else None


def is_chosen(text: bytes) -> bool:
    """Whether it is the last line of the header; whole or not."""
    return text.startswith(_CONSTRAINT)


def chosen(text: bytes, victim: Killed) -> Chosen | None:
    """What the last line of the header tells of the kill that follows. None too: it is of another victim, or cut."""
    end = b",task=%s,pid=%d,uid=%d" % (victim.comm, victim.tid, victim.uid)
    if not is_chosen(text) or not text.endswith(end) or len(text) > _MAX_WHOLE_BYTES:
        return None
    word, comma, rest = text.removeprefix(_CONSTRAINT).removesuffix(end).partition(b",")
    name = word.decode("ascii", "replace")
    if not comma or name not in CONSTRAINTS:
        return None
    return Chosen(CONSTRAINTS.index(name), *_paths(b"," + rest))


def _paths(text: bytes) -> tuple[bytes | None, bytes | None]:
    """``…,oom_memcg=/a,task_memcg=/a/b`` or ``…,global_oom,task_memcg=/b``; unknown where a name has such words."""
    scope, task_word, victim = text.partition(b",task_memcg=")
    if not task_word or text.count(b",task_memcg=") != 1:
        return None, None
    whole_machine, of_domain = scope.count(b",global_oom"), scope.count(b",oom_memcg=")
    if whole_machine + of_domain != 1 or b",global_oom" in victim or b",oom_memcg=" in victim:
        return None, None
    domain = scope.partition(b",oom_memcg=")[2] if of_domain else None
    return _path(domain), _path(victim)


def _path(path: bytes | None) -> bytes | None:
    return path if path is not None and path.startswith(b"/") else None


def is_group(text: bytes) -> bool:
    """All of a control group are killed, after the one that was chosen."""
    return text.startswith(_GROUP_BEGIN) and text.endswith(_GROUP_END)


def is_skipped(text: bytes) -> bool:
    """The one that was chosen, or one of a group, was exiting already: it is not killed."""
    reason, words, _rest = text.partition(b": OOM victim ")
    return bool(words) and reason in _REASONS
