# SPDX-License-Identifier: Apache-2.0
"""Parses the kernel's own lines about OOM kills (mm/oom_kill.c), which are the same from 5.8 to 7.3.

Process and cgroup names stand in these lines unquoted and may contain text that looks like the rest of the line. So
each value is read from where the kernel's text is fixed, mostly the end; an ambiguous value counts as unknown.
Every parser takes the text of one line, and returns None for a line of another kind.
"""

from oomkilld.lighttyping import NamedTuple

# oom_constraint_text, in the order of enum oom_constraint.
CONSTRAINTS = ("CONSTRAINT_NONE", "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY", "CONSTRAINT_MEMCG")
# The messages of a decision, with which a kill line begins; "(oom_kill_allocating_task)" is part of one.
MEMCG_REASON = b"Memory cgroup out of memory"
_REASONS = (b"Out of memory", MEMCG_REASON, b"Out of memory (oom_kill_allocating_task)")
NOTHING_TO_KILL = b"Out of memory and no killable processes"
_KILLED = b": Killed process "
_INVOKED = b" invoked oom-killer: gfp_mask="
_CONSTRAINT = b"oom-kill:constraint="
_GROUP_BEGIN, _GROUP_END = b"Tasks in /", b" are going to be killed due to memory.oom.group set"
# lib/dump_stack.c, dump_stack_print_info(); print_tainted() in kernel/panic.c.
_BEHIND_COMM = (b"Kdump: loaded ", b"Not tainted", b"Tainted: ")
_STATS = b"Memory cgroup stats for "
MEMORY, SWAP, MEMORY_AND_SWAP = b"memory", b"swap", b"memory+swap"
RAM, RESERVED = b" pages RAM", b" pages reserved"
FREE_SWAP, TOTAL_SWAP = b"Free swap  = ", b"Total swap = "
_MAX_COMM_BYTES = 15
# The kernel may have cut a line longer than this (PRINTKRB_RECORD_MAX, formerly LOG_LINE_MAX: 976 bytes and more).
_MAX_WHOLE_BYTES = 900


class Killed(NamedTuple):
    """``…: Killed process 42 (name) total-vm:…``. Sizes in bytes; ``tid`` is a thread id."""

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
    """``name invoked oom-killer: …``: the trigger, and its allocation."""

    comm: bytes
    gfp_mask: int
    order: int


class Asker(NamedTuple):
    """``CPU: 1 UID: 5 PID: 42 Comm: name …``: the trigger's thread. ``uid`` None: an older kernel, which omits it."""

    tid: int
    uid: int | None


class Chosen(NamedTuple):
    """``oom-kill:constraint=…``. None: absent or ambiguous.

    The chosen process is left out, because the kill line may name another of its threads.
    """

    constraint: int  # index into CONSTRAINTS
    nodes: bytes | None  # NUMA nodes that ran out, of a cpuset or a memory policy, as ``0-3,8``
    cpuset: bytes | None  # its name, if a cpuset ran out
    domain_cgroup: bytes | None
    victim_cgroup: bytes | None  # of the memory controller
    uid: int


class Charged(NamedTuple):
    """``memory: usage 8kB, limit 8kB, failcnt 1``, or the same for swap. In bytes."""

    what: bytes  # MEMORY, SWAP or MEMORY_AND_SWAP
    usage: int
    limit: int


def killed(text: bytes) -> Killed | None:
    """A kill. The kernel counts it, and always prints this line."""
    reason, _words, rest = text.partition(_KILLED)
    tid, parenthesis, rest = rest.partition(b" (")
    # After the name comes only the kernel's own text.
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
    """The first line of the header, which the kernel omits when there are many."""
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


def asker(text: bytes, comm: bytes) -> Asker | None:
    """The header's second line, if it names ``comm``: other CPUs may print such lines in between."""
    before, words, rest = text.partition(b" Comm: ")
    cpu, pid_word, tid = before.rpartition(b" PID: ")
    if not (words and pid_word and cpu.startswith(b"CPU: ") and tid.isdigit()):
        return None
    if not rest.startswith(comm + b" ") or not rest[len(comm) + 1 :].startswith(_BEHIND_COMM):
        return None
    uid = cpu.partition(b" UID: ")[2]
    return Asker(int(tid), int(uid) if uid.isdigit() else None)


def charged(text: bytes) -> Charged | None:
    """How much of a cgroup's limit was in use."""
    what, words, rest = text.partition(b": usage ")
    usage, limit_word, rest = rest.partition(b"kB, limit ")
    limit, end, _count = rest.partition(b"kB, failcnt ")
    if what not in (MEMORY, SWAP, MEMORY_AND_SWAP) or not (words and limit_word and end):
        return None
    return Charged(what, int(usage) << 10, int(limit) << 10) if usage.isdigit() and limit.isdigit() else None


def domain_in(text: bytes) -> bytes | None:
    """``Memory cgroup stats for /a/b:``: path of the cgroup that hit its limit."""
    if not is_domain(text) or not text.endswith(b":") or len(text) > _MAX_WHOLE_BYTES:
        return None
    return _path(text.removeprefix(_STATS)[:-1])


def is_domain(text: bytes) -> bool:
    """Whether it is such a line, whole or cut."""
    return text.startswith(_STATS)


def machine(text: bytes) -> tuple[bytes, int] | None:
    """``524155 pages RAM``, ``59647 pages reserved``, ``Total swap = 8kB``: of the whole machine, in pages or bytes."""
    for words in (RAM, RESERVED):
        number = text.removesuffix(words)
        if number != text and number.isdigit():
            return words, int(number)
    for words in (FREE_SWAP, TOTAL_SWAP):
        number = text.removeprefix(words).removesuffix(b"kB")
        if text.startswith(words) and number.isdigit():
            return words, int(number) << 10
    return None


def is_chosen(text: bytes) -> bool:
    """Whether it is the last line of the header, whole or cut."""
    return text.startswith(_CONSTRAINT)


def chosen(text: bytes, victim: Killed) -> Chosen | None:
    """The last line of the header, which precedes the kill of ``victim``. None also if the line was cut."""
    if not is_chosen(text) or len(text) > _MAX_WHOLE_BYTES:
        return None
    before, uid_word, uid = text.removeprefix(_CONSTRAINT).rpartition(b",uid=")
    before, pid_word, pid = before.rpartition(b",pid=")
    if not (pid.isdigit() and uid.isdigit()):
        return None
    before, task_word = _without_name(before, victim.comm if int(pid) == victim.tid else None)
    word, comma, rest = before.partition(b",")
    name = word.decode("ascii", "replace")
    if not (uid_word and pid_word and task_word and comma) or name not in CONSTRAINTS:
        return None
    constraint = CONSTRAINTS.index(name)
    return Chosen(constraint, *_nodes(name, rest), *_paths(b"," + rest), int(uid))


def _without_name(text: bytes, comm: bytes | None) -> tuple[bytes, bytes]:
    """Without ``,task=name``, and ``,task=`` if it was found. ``comm`` None: the name is that of another thread."""
    if comm is not None and text.endswith(b",task=" + comm):
        return text.removesuffix(b",task=" + comm), b",task="
    before, words, name = text.rpartition(b",task=")
    # If the name may contain these words, too, its start is ambiguous.
    is_clear = len(name) <= _MAX_COMM_BYTES and text[-_MAX_COMM_BYTES - len(words) :].count(words) == 1
    return (before, words) if words and is_clear else (text, b"")


def _nodes(constraint: str, rest: bytes) -> tuple[bytes | None, bytes | None]:
    """``nodemask=3,cpuset=a,mems_allowed=0-7,…``: the nodes that ran out, and the name of the cpuset."""
    before, cpuset_word, rest = rest.partition(b",cpuset=")
    nodemask = before.removeprefix(b"nodemask=")
    if constraint == "CONSTRAINT_MEMORY_POLICY":
        return _node_list(nodemask), None
    name, _words, allowed = rest.partition(b",mems_allowed=")
    if constraint != "CONSTRAINT_CPUSET" or not cpuset_word or b",mems_allowed=" in allowed:
        return None, None
    end = min(at for at in (allowed.find(b",global_oom"), allowed.find(b",oom_memcg="), len(allowed)) if at >= 0)
    return _node_list(allowed[:end]), name


def _node_list(text: bytes) -> bytes | None:
    return text if text and not text.translate(None, b"0123456789,-") else None


def _paths(text: bytes) -> tuple[bytes | None, bytes | None]:
    """Domain and victim in ``…,oom_memcg=/a,task_memcg=/a/b`` or ``…,global_oom,task_memcg=/b``; None: ambiguous."""
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


def group(text: bytes) -> bytes | None:
    """Path of the cgroup in and below which the kernel kills all processes, after the chosen one."""
    if not text.startswith(_GROUP_BEGIN) or not text.endswith(_GROUP_END):
        return None
    return text.removeprefix(_GROUP_BEGIN[:-1]).removesuffix(_GROUP_END)


def skipped(text: bytes) -> bytes | None:
    """The decision's message, if it skips a process, the chosen one or a group member, that is exiting already."""
    reason, words, _rest = text.partition(b": OOM victim ")
    return reason if words and reason in _REASONS else None


def is_unkillable(text: bytes) -> bool:
    """Whether it is the last line of a decision that found nothing to kill."""
    return text == NOTHING_TO_KILL + b"..."


def fits(reason: bytes, constraint: int) -> bool:
    """Whether a kill with this message can belong to a decision with this constraint."""
    return (reason == MEMCG_REASON) == (CONSTRAINTS[constraint] == "CONSTRAINT_MEMCG")
