# SPDX-License-Identifier: Apache-2.0
"""The table of journal fields: each field's name, type and source, and when it is absent.

A public contract: fields may be added, but no field is renamed or gets another meaning. Only this module formats
values, by their type. Standard library only: the resident stage imports it.
"""

from collections.abc import Callable, Iterable, Iterator

from oomkilld.lighttyping import NamedTuple
from oomkilld.text import pasteable, printable

SCHEMA_VERSION = 1
# Above this, name included, `journalctl -o json` prints null.
MAX_FIELD_BYTES = 4095
MAX_NAME_CHARACTERS = 64
# The most bytes of a cgroup's path: it fits behind every field name.
MAX_PATH_BYTES = MAX_FIELD_BYTES - MAX_NAME_CHARACTERS
_CUT = "…".encode()

MESSAGE_ID_KILL = "e7ebac58f04548179461ecbe5addc3a1"
MESSAGE_ID_SPARED = "5bc35b06cfdf48488aa9e078e5dc3d4b"
MESSAGE_ID_MISSED = "83802878236546c281238a110b8958af"
MESSAGE_ID_LEVEL = "abeea0b7d7d244b8bed1939f8e763bf7"
MESSAGE_ID_STUCK = "5cc42b550e9e4b76a971854da8f306d8"
MESSAGE_ID_GONE = "9a51f47116d24049ae47bf76cd4bb93a"
MESSAGE_ID_UNKILLABLE = "b2a964aca04344748c6472e82b7d0087"

FieldValue = int | float | str | bytes

# Why kills have no entry: OOM_MISSED_REASON.
RING_FULL = "ring-full"
LOG_OVERWRITTEN = "log-overwritten"
RECORD_REJECTED = "record-rejected"
STOPPED = "stopped"
NOT_RUNNING = "not-running"
NOT_SEEN = "not-seen"
# Neither seen nor in the kernel log, although that is complete: only the kernel's count has them, and it may be wrong.
UNCONFIRMED = "unconfirmed"
# Part of `not-running`: kills before the first start in this boot.
BEFORE_FIRST_START = "before-first-start"


class FieldType(NamedTuple):
    """A kind of value, and how it is written to the journal."""

    name: str
    format: Callable[[FieldValue], str]


def _text(value: FieldValue) -> str:
    """Escape bytes of the kernel; the service's own text is printable already."""
    return printable(value) if isinstance(value, bytes) else str(value)


def _name(value: FieldValue) -> str:
    """Format a name as systemctl accepts it."""
    return pasteable(value) if isinstance(value, bytes) else str(value)


def _integer(value: FieldValue) -> str:
    return str(int(value))


TEXT = FieldType("text", _text)
NAME = FieldType("name", _name)
WORD = FieldType("word", _text)
INTEGER = FieldType("integer", _integer)
DECIMAL = FieldType("decimal", lambda value: f"{float(value):.2f}")
BYTES = FieldType("bytes", _integer)
PAGES = FieldType("pages", _integer)
USEC = FieldType("µs", _integer)
TIMESTAMP = FieldType("µs since 1970", _integer)
BOOTTIME = FieldType("µs since boot", _integer)
MASK = FieldType("mask", lambda value: hex(int(value)))
ID = FieldType("id", _text)


class Field(NamedTuple):
    """One journal field. ``source``: where the value comes from. ``absent``: when the field is left out."""

    name: str
    group: str
    type: FieldType
    source: str
    absent: str = "never"


_OLD_KERNEL = "this kernel has no such member"
_NOT_LOGGED = f"level `kmsg`, or {_OLD_KERNEL}"
_MISSED_DECISION = "the probe missed the decision"
_NO_TRIGGER = f"level `kmsg`, {_OLD_KERNEL}, or {_MISSED_DECISION}"
_NOT_PRINTED = "level `kmsg` and the kernel did not print it"
# In these cases the service reads the lines of the kernel log.
_NOT_SEEN = f"level `tracepoint` or `kmsg`, or {_MISSED_DECISION}"
_NO_DECISION = f"{_NOT_SEEN}; and the kernel log has no header of the decision, or was not readable in time"
_NO_MEMORY = f"a spared process that had no memory left, or {_OLD_KERNEL}"
_NO_COUNT = (
    f"{_NO_MEMORY}; or the kernel hides the addresses of its data (kptr_restrict, no CONFIG_KALLSYMS_ALL), and its log "
    "was not readable in time"
)
_NO_VICTIM = "events other than `kill`, `spared` and `unkillable`"
_NO_PROCESS = "an `unkillable`, `missed` or `level` entry"
_NO_INSTANT = "a `missed` or `level` entry"
_HAD_LEFT = (
    "only the thread was known (level `kmsg`; a spared process on 5.10 at level `tracepoint`), and the process had "
    "exited when the service looked it up"
)
_ONLY_THREAD = (
    "only the thread was known (level `kmsg`, unless the kernel listed it among the tasks; a spared process on 5.10 at "
    "level `tracepoint`), and the process had exited when the service looked it up"
)
_NO_ASKER = (
    "level `kmsg`, unless the kernel listed it among the tasks, or it is the victim and still existed when the "
    "service looked it up"
)
_HIDDEN = "the kernel hides the addresses of its data"
_NO_LIMIT = f"no limit is set; {_NO_DECISION}; or {_HIDDEN}"
_NO_USAGE = f"{_NO_DECISION}; or {_HIDDEN}"
_NO_CMDLINE = "`entry.cmdline` is `off` (the default), level `kmsg`, a kernel thread, or arguments not in memory"
_NO_VICTIM_CMDLINE = (
    f"{_NO_CMDLINE}; or another process asked for memory, and the victim had exited or could not be read within 100 ms"
)
_LATE = "read more than 10 s after the kill"
_NOT_WANTED = "not selected by `entry.statistics`"
_NO_CONTENTS = f"the domain is unknown or gone, reading it took longer than 20 ms, or {_LATE}"

_PATH = "path of {its} cgroup, from the root of the hierarchy"
# Names in the path of a cgroup, by the naming rules of systemd and of container runtimes.
_CGROUP_NAMES = (
    ("CGROUP", NAME, _PATH, "unknown"),
    (
        "CGROUP_CUT",
        INTEGER,
        "1 if the inner names of that path are missing, or if it is the path of an ancestor (the domain)",
        "the path is complete",
    ),
    ("UNIT", NAME, "{its} systemd unit, as `systemctl status` accepts it", "it is in none"),
    ("USER_UNIT", NAME, "{its} unit of a user's service manager", "it is in none"),
    ("SLICE", NAME, "{its} slice", "it is in none"),
    ("SESSION", TEXT, "{its} login session", "it is in none"),
    ("MACHINE", TEXT, "{its} machine, as systemd-machined names it", "it is in none"),
    ("CONTAINER_ID", NAME, "{its} container, as the host's runtime names it", "it is in no container of the host"),
    ("CONTAINER_RUNTIME", WORD, "that container's runtime: {runtimes}", "it is in none, or the path does not show it"),
    ("CONTAINER_NAME", TEXT, "that container's name in its pod", "not of Kubernetes, or not found below /var/log"),
    (
        "INNER_CONTAINER_ID",
        NAME,
        "the outermost container that a user, a unit or an outer container named; the name may be fake",
        "it is in none",
    ),
    ("INNER_CONTAINER_RUNTIME", WORD, "that container's runtime", "it is in none, or the path does not show it"),
    ("POD_UID", TEXT, "{its} Kubernetes pod, as the host's kubelet names it", "it is in none"),
    ("POD_NAMESPACE", TEXT, "the pod's namespace", "not found below /var/log/pods"),
    ("POD_NAME", TEXT, "the pod's name", "not found below /var/log/pods"),
)
RUNTIMES = ("docker", "podman", "containerd", "cri-o", "lxc")


def _cgroup_fields(role: str, its: str) -> Iterator[Field]:
    for name, kind, source, absent in _CGROUP_NAMES:
        text = source.format(its=its, runtimes=", ".join(f"`{runtime}`" for runtime in RUNTIMES))
        yield Field(f"OOM_{role.upper()}_{name}", role, kind, text, absent)


# The values that /proc/meminfo and /proc/loadavg would have had at the decision.
_AT_KILL = (
    ("MEMFREE_BYTES", BYTES, "free memory of the machine", "vm_zone_stat"),
    ("ANONPAGES_BYTES", BYTES, "anonymous memory of all processes", "vm_node_stat"),
    ("MAPPED_BYTES", BYTES, "files that processes have mapped", "vm_node_stat"),
    ("SHMEM_BYTES", BYTES, "shared memory and tmpfs", "vm_node_stat"),
    ("SLAB_BYTES", BYTES, "the kernel's own objects", "vm_node_stat"),
    ("DIRTY_BYTES", BYTES, "file pages that wait to be written to disk", "vm_node_stat"),
    ("WRITEBACK_BYTES", BYTES, "file pages that are being written to disk", "vm_node_stat"),
    ("SWAPFREE_BYTES", BYTES, "free swap", "nr_swap_pages"),
    ("LOADAVG_1", DECIMAL, "load average over 1 minute", "avenrun"),
    ("LOADAVG_5", DECIMAL, "load average over 5 minutes", "avenrun"),
    ("LOADAVG_15", DECIMAL, "load average over 15 minutes", "avenrun"),
)


def _at_kill_fields() -> Iterator[Field]:
    for name, kind, what, source in _AT_KILL:
        yield Field(
            f"OOM_AT_KILL_{name}",
            "at the kill",
            kind,
            f"{what}, from the kernel's `{source}`",
            f"level `kmsg` (free swap: if the kernel did not print it), or {_HIDDEN}",
        )


_NOT_LOGGED_BY_KERNEL = (
    "no cgroup ran out, level `tracepoint` or `kmsg`, or the kernel printed no report, as after ten within 5 s"
)
# As in the kernel's own report about the kill, which uses the names of memory.stat.
_DOMAIN_AT_KILL = (
    ("ANON", "anonymous memory in the domain and below", _NOT_LOGGED_BY_KERNEL),
    ("FILE", "file cache there, including SHMEM", _NOT_LOGGED_BY_KERNEL),
    ("SHMEM", "shared memory and tmpfs there", _NOT_LOGGED_BY_KERNEL),
    ("KERNEL", "the kernel's own memory there", f"{_NOT_LOGGED_BY_KERNEL}, or before Linux 5.18"),
)


def _domain_at_kill_fields() -> Iterator[Field]:
    for name, what, absent in _DOMAIN_AT_KILL:
        yield Field(f"OOM_AT_KILL_DOMAIN_{name}_BYTES", "at the kill", BYTES, f"{what}, from `memcg->vmstats`", absent)


PRESSURE_RESOURCES = ("memory", "cpu", "io")
_STALLS = {"some": "at least one task waited for {it}", "full": "all tasks that could have run waited for {it}"}
_NO_PRESSURE = f"{_LATE}, or the kernel has no PSI or was booted with psi=0"
_NO_OTHER_PRESSURE = f"{_NO_PRESSURE}, or {_NOT_WANTED}"
_NO_FULL_CPU = (
    f"{_NO_OTHER_PRESSURE}, or before Linux 5.13; later kernels report 0, because it has no meaning for a whole machine"
)


def pressure_names(resource: str, kind: str) -> tuple[str, str, str, str]:
    """Names of the fields with the averages over 10, 60 and 300 s, and with the total."""
    name = f"OOM_PSI_{resource.upper()}_{kind.upper()}"
    return f"{name}_AVG10", f"{name}_AVG60", f"{name}_AVG300", f"{name}_TOTAL_USEC"


def _pressure_fields() -> Iterator[Field]:
    for resource in PRESSURE_RESOURCES:
        for kind, waited in _STALLS.items():
            absent = _NO_PRESSURE if resource == "memory" else _NO_OTHER_PRESSURE
            if (resource, kind) == ("cpu", "full"):
                absent = _NO_FULL_CPU
            *averages, total = pressure_names(resource, kind)
            source = f"percent of the last {{}} s in which {waited.format(it=resource)}"
            for name, seconds in zip(averages, (10, 60, 300), strict=True):
                yield Field(name, "sampled after", DECIMAL, source.format(seconds), absent)
            yield Field(
                total, "sampled after", USEC, "total time, since boot, in which " + waited.format(it=resource), absent
            )


FIELDS = (
    Field("MESSAGE", "entry", TEXT, "one sentence for a person"),
    Field("MESSAGE_ID", "entry", ID, "one per kind of event; `journalctl -x` explains it"),
    Field(
        "PRIORITY",
        "entry",
        INTEGER,
        "`entry.priority` for `kill`; 3 for `unkillable` and `missed`, but 4 for unconfirmed kills and 6 for kills "
        "before the first start in this boot; 4 for `stuck`; 5 for `gone` and `spared`; 4 or 5 for `level`",
    ),
    Field("SYSLOG_IDENTIFIER", "entry", WORD, "`oomkilld`"),
    Field("DOCUMENTATION", "entry", WORD, "`man:oomkilld(8)`"),
    Field("OOM_EVENT", "entry", WORD, "`kill`, `spared`, `unkillable`, `stuck`, `gone`, `missed` or `level`"),
    Field("OOM_SCHEMA", "entry", INTEGER, "version of this table"),
    Field("OOM_SOURCE", "entry", WORD, "capture level: `kprobe`, `fentry`, `tracepoint` or `kmsg`"),
    Field(
        "OOM_KILL_ID",
        "entry",
        ID,
        "hash of boot id, victim's thread id and time of the kill (level `kmsg`: of the log line)",
        _NO_PROCESS,
    ),
    Field(
        "OOM_DECISION_ID",
        "entry",
        ID,
        "the same for all kills of one decision",
        f"an `unkillable` entry; {_NO_DECISION}",
    ),
    Field("OOM_TIMESTAMP", "entry", TIMESTAMP, "time of the kill, by the wall clock", _NO_INSTANT),
    Field("OOM_BOOTTIME_TIMESTAMP", "entry", BOOTTIME, "time of the kill, by CLOCK_BOOTTIME", _NO_INSTANT),
    Field("OOM_KERNEL_RELEASE", "entry", TEXT, "release of the running kernel, from uname(2)"),
    Field("OOM_DETAIL", "entry", WORD, "`full`, or `reduced` in a flood, see `entry.reduce_from`", _NO_VICTIM),
    Field(
        "OOM_TRIGGER_PID",
        "origin parity",
        INTEGER,
        "process whose allocation invoked the OOM killer",
        f"{_NO_VICTIM}; or {_NO_ASKER}",
    ),
    Field("OOM_TRIGGER_TID", "trigger", INTEGER, "its thread", f"{_NO_VICTIM}; or {_NOT_PRINTED}"),
    Field(
        "OOM_TRIGGER_COMM",
        "origin parity",
        TEXT,
        "name of the thread",
        f"not readable in the kernel, or {_NOT_PRINTED}",
    ),
    Field("OOM_TRIGGER_UID", "trigger", INTEGER, "its user", f"{_NO_VICTIM}; or {_NOT_PRINTED}"),
    Field("OOM_TRIGGER_NS_PID", "trigger", INTEGER, "its number in its own PID namespace", _NO_TRIGGER),
    Field("OOM_TRIGGER_PARENT_PID", "trigger", INTEGER, "its parent process", _NO_TRIGGER),
    Field("OOM_TRIGGER_PARENT_COMM", "trigger", TEXT, "name of the parent process", _NO_TRIGGER),
    Field("OOM_TRIGGER_START_TIMESTAMP", "trigger", TIMESTAMP, "its start, by the wall clock", _NO_TRIGGER),
    Field("OOM_TRIGGER_EXE_NAME", "trigger", TEXT, "base name of the file it runs", f"a kernel thread, {_NO_TRIGGER}"),
    Field(
        "OOM_TRIGGER_CMDLINE", "trigger", TEXT, "its arguments, separated by spaces, with secrets hidden", _NO_CMDLINE
    ),
    *_cgroup_fields("trigger", "the trigger's"),
    Field(
        "OOM_VICTIM_PID",
        "origin parity",
        INTEGER,
        "process that was killed or spared",
        f"{_NO_PROCESS}; or {_ONLY_THREAD}",
    ),
    Field("OOM_VICTIM_TID", "victim", INTEGER, "the thread that the kernel's own line names", _NO_PROCESS),
    Field("OOM_VICTIM_COMM", "origin parity", TEXT, "name of the thread", _OLD_KERNEL),
    Field("OOM_VICTIM_UID", "victim", INTEGER, "its user", _OLD_KERNEL),
    Field("OOM_VICTIM_NS_PID", "victim", INTEGER, "its number in its own PID namespace", _NOT_LOGGED),
    Field("OOM_VICTIM_PARENT_PID", "victim", INTEGER, "its parent process", f"{_OLD_KERNEL}; or {_HAD_LEFT}"),
    Field("OOM_VICTIM_PARENT_COMM", "victim", TEXT, "name of the parent process", _NOT_LOGGED),
    Field("OOM_VICTIM_EXE_NAME", "victim", TEXT, "base name of the file it ran", f"level `kmsg`, {_NO_MEMORY}"),
    Field(
        "OOM_VICTIM_CMDLINE",
        "victim",
        TEXT,
        "its arguments, separated by spaces, with secrets hidden",
        _NO_VICTIM_CMDLINE,
    ),
    Field("OOM_VICTIM_START_TIMESTAMP", "victim", TIMESTAMP, "its start, by the wall clock", _NOT_LOGGED),
    Field("OOM_VICTIM_AGE_USEC", "victim", USEC, "from its start to the kill", _NOT_LOGGED),
    Field("OOM_VICTIM_TOTAL_VM_BYTES", "victim", BYTES, "address space", _NO_MEMORY),
    Field("OOM_VICTIM_RSS_BYTES", "victim", BYTES, "resident: anonymous + file + shared", _NO_COUNT),
    Field("OOM_VICTIM_RSS_ANON_BYTES", "victim", BYTES, "resident anonymous memory", _NO_COUNT),
    Field("OOM_VICTIM_RSS_FILE_BYTES", "victim", BYTES, "resident file pages", _NO_COUNT),
    Field("OOM_VICTIM_RSS_SHMEM_BYTES", "victim", BYTES, "resident shared memory", _NO_COUNT),
    Field(
        "OOM_VICTIM_SWAP_BYTES",
        "victim",
        BYTES,
        "swapped out",
        f"level `kmsg`, unless the kernel listed it among the tasks; {_NO_COUNT}",
    ),
    Field("OOM_VICTIM_PGTABLES_BYTES", "victim", BYTES, "page tables", _NO_MEMORY),
    Field("OOM_VICTIM_OOM_SCORE_ADJ", "victim", INTEGER, "/proc/PID/oom_score_adj", _OLD_KERNEL),
    Field(
        "OOM_VICTIM_BADNESS",
        "victim",
        INTEGER,
        "its badness, by which the kernel chose it, in pages",
        "not the chosen process, or level `tracepoint` or `kmsg`",
    ),
    *_cgroup_fields("victim", "the victim's"),
    Field(
        "OOM_TOTAL_PAGES",
        "origin parity",
        PAGES,
        "capacity of what ran out: a cgroup's limit, or RAM and swap",
        _NOT_SEEN,
    ),
    Field("OOM_TOTAL_BYTES", "origin parity", BYTES, "the same in bytes", _NOT_SEEN),
    Field("OOM_DOMAIN", "cause", WORD, "what ran out: `host`, `cgroup`, `cpuset`, `mempolicy`", _NO_DECISION),
    Field("OOM_CONSTRAINT", "cause", WORD, "the kernel's word for it, such as `CONSTRAINT_MEMCG`", _NO_DECISION),
    Field("OOM_GFP_MASK", "cause", MASK, "allocation flags (gfp) of that allocation", _NO_DECISION),
    Field("OOM_ORDER", "cause", INTEGER, "its order: it asked for 2^order pages; -1 for sysrq-f", _NO_DECISION),
    Field("OOM_ORDER_BYTES", "cause", BYTES, "its size in bytes", f"sysrq-f; {_NO_DECISION}"),
    Field("OOM_GFP_FLAGS", "cause", TEXT, "names of these flags", f"neither tracefs nor BTF has them; {_NO_DECISION}"),
    Field(
        "OOM_REASON", "cause", TEXT, "the kernel's message", f"{_NOT_SEEN}; and the kernel log was not readable in time"
    ),
    Field(
        "OOM_GROUP_KILL",
        "cause",
        INTEGER,
        "1 if the kernel kills all processes of a cgroup together, else 0",
        f"{_NO_DECISION} (also for the first kill of a decision)",
    ),
    *_cgroup_fields("domain", "the domain's"),
    Field("OOM_DOMAIN_LIMIT_BYTES", "domain", BYTES, "its memory limit; for the host its RAM", _NO_LIMIT),
    Field("OOM_DOMAIN_USAGE_BYTES", "domain", BYTES, "memory in use by the domain", _NO_USAGE),
    Field("OOM_DOMAIN_SWAP_LIMIT_BYTES", "domain", BYTES, "its swap limit; for the host its swap", _NO_LIMIT),
    Field("OOM_DOMAIN_SWAP_USAGE_BYTES", "domain", BYTES, "swap in use by the domain", _NO_USAGE),
    Field(
        "OOM_DOMAIN_NODES",
        "domain",
        TEXT,
        "NUMA nodes whose memory ran out, such as `0-3,8`",
        "neither a cpuset nor a memory policy ran out, or unknown",
    ),
    Field("OOM_DOMAIN_CPUSET", "domain", NAME, "name of the cpuset", "no cpuset ran out, or unknown"),
    *_at_kill_fields(),
    *_domain_at_kill_fields(),
    Field(
        "OOM_SAMPLE_DELAY_USEC", "sampled after", USEC, "time from the kill until the service read /proc", _NO_VICTIM
    ),
    Field("OOM_LOADAVG", "origin parity", TEXT, "the line of /proc/loadavg", _LATE),
    Field("OOM_LOADAVG_1", "sampled after", DECIMAL, "load average over 1 minute", _LATE),
    Field("OOM_LOADAVG_5", "sampled after", DECIMAL, "load average over 5 minutes", _LATE),
    Field("OOM_LOADAVG_15", "sampled after", DECIMAL, "load average over 15 minutes", _LATE),
    *_pressure_fields(),
    Field(
        "OBJECT_SYSTEMD_UNIT",
        "for journalctl",
        NAME,
        "the victim's unit, for `journalctl -u`; of an `unkillable` entry the domain's",
        "in none",
    ),
    Field("OBJECT_SYSTEMD_USER_UNIT", "for journalctl", NAME, "its user unit, for `journalctl --user-unit`", "in none"),
    Field("OBJECT_SYSTEMD_SLICE", "for journalctl", NAME, "its slice", "in none"),
    Field("OBJECT_SYSTEMD_CGROUP", "for journalctl", NAME, "its cgroup", "unknown, or cut"),
    Field(
        "OBJECT_SYSTEMD_INVOCATION_ID",
        "for journalctl",
        ID,
        "this run of its unit, for `systemctl status`",
        "unknown, as when the unit is gone",
    ),
    Field("OOM_MISSED", "other kinds", INTEGER, "number of kills without an entry", "not a `missed` entry"),
    Field(
        "OOM_MISSED_REASON",
        "other kinds",
        WORD,
        "`ring-full`, `log-overwritten`, `record-rejected`, `stopped`, `not-running`, `not-seen` or `unconfirmed`",
        "not a `missed` entry",
    ),
    Field(
        "OOM_EXIT_AFTER_USEC",
        "other kinds",
        USEC,
        "time from the kill until the victim released its memory or exited",
        "not a `gone` entry, or the service did not see the moment",
    ),
    Field(
        "OOM_LEVEL_FROM",
        "other kinds",
        WORD,
        "capture level of the previous run",
        "not a `level` entry, or the first start in this boot",
    ),
    Field("OOM_LEVEL_TO", "other kinds", WORD, "capture level from now on", "not a `level` entry"),
)

# Families: the middle of the name is a row of a file, in upper case and with `_` for other characters, or a number.
_NO_MEMINFO = f"{_LATE}, or not selected by `entry.meminfo`"
MEMINFO_BYTES = Field("OOM_MEMINFO_<KEY>_BYTES", "sampled after", BYTES, "a /proc/meminfo row with a unit", _NO_MEMINFO)
MEMINFO_COUNT = Field("OOM_MEMINFO_<KEY>", "sampled after", INTEGER, "a /proc/meminfo row without a unit", _NO_MEMINFO)
VMSTAT = Field(
    "OOM_VMSTAT_<KEY>",
    "sampled after",
    INTEGER,
    "a counter of /proc/vmstat, since the boot",
    f"{_LATE}, or {_NOT_WANTED}",
)
DOMAIN_STAT = Field(
    "OOM_DOMAIN_STAT_<KEY>_BYTES",
    "domain",
    BYTES,
    "a row of the domain's memory.stat, right after the kill",
    f"{_NO_CONTENTS}, or {_NOT_WANTED}",
)
TOP_CGROUP = Field(
    "OOM_TOP_<KEY>_CGROUP",
    "domain",
    NAME,
    "1 to 5: the largest cgroups directly below the domain, right after the kill; for the host, the largest leaves",
    _NO_CONTENTS,
)
TOP_BYTES = Field(
    "OOM_TOP_<KEY>_BYTES",
    "domain",
    BYTES,
    "memory in use there",
    "if its CGROUP field is; for the last one also if that cgroup, or some below it, could not be read within 20 ms",
)
FAMILIES = (MEMINFO_BYTES, MEMINFO_COUNT, VMSTAT, DOMAIN_STAT, TOP_CGROUP, TOP_BYTES)

# The fields that an entry with OOM_DETAIL=reduced may have: the entry itself, who, whose, why, and the load average.
_REDUCED_GROUPS = ("entry", "origin parity", "cause", "domain", "for journalctl")
_IDENTITY = tuple(f"_{name}" for name in ("TID", "UID", "CMDLINE", *(each[0] for each in _CGROUP_NAMES)))
_SAMPLED = ("OOM_SAMPLE_DELAY_USEC", "OOM_LOADAVG_1", "OOM_LOADAVG_5", "OOM_LOADAVG_15")
# For trigger and domain, fields that only repeat a part of their path are left out.
_TOLD_BY_PATH = (
    *("SLICE", "SESSION", "MACHINE", "POD_UID"),
    *(f"{inner}CONTAINER_{name}" for inner in ("", "INNER_") for name in ("ID", "RUNTIME")),
)
_TWICE = {f"OOM_{role}_{name}" for role in ("TRIGGER", "DOMAIN") for name in _TOLD_BY_PATH} | {"OBJECT_SYSTEMD_CGROUP"}
REDUCED = (
    frozenset(
        field.name
        for field in FIELDS
        if field.group in _REDUCED_GROUPS or field.name.endswith(_IDENTITY) or field.name in _SAMPLED
    )
    - _TWICE
)

# The fields about the victim in a `stuck` or `gone` entry, as in the entry of its kill. The entry takes as many as fit,
# so the more important ones come first.
VICTIM_FIELDS = (
    *("OOM_KILL_ID", "OOM_VICTIM_PID", "OOM_VICTIM_TID", "OOM_VICTIM_COMM", "OOM_VICTIM_NS_PID", "OOM_VICTIM_UID"),
    *("OOM_BOOTTIME_TIMESTAMP", "OOM_TIMESTAMP", "OBJECT_SYSTEMD_UNIT", "OBJECT_SYSTEMD_USER_UNIT"),
    *("OOM_VICTIM_CONTAINER_NAME", "OOM_VICTIM_POD_NAMESPACE", "OOM_VICTIM_POD_NAME", "OOM_VICTIM_START_TIMESTAMP"),
    *("OOM_VICTIM_EXE_NAME", "OOM_VICTIM_UNIT", "OOM_VICTIM_USER_UNIT", "OOM_VICTIM_MACHINE"),
    *("OOM_VICTIM_CONTAINER_RUNTIME", "OOM_VICTIM_CONTAINER_ID", "OOM_VICTIM_POD_UID"),
    *("OOM_VICTIM_INNER_CONTAINER_RUNTIME", "OOM_VICTIM_INNER_CONTAINER_ID"),
)

_BY_NAME = {field.name: field for field in FIELDS}


def family_name(family: Field, row: str) -> str:
    """``Active(anon)`` -> ``OOM_MEMINFO_ACTIVE_ANON_BYTES``."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in row.upper()).split()
    return family.name.replace("<KEY>", "_".join(words))[:MAX_NAME_CHARACTERS]


def format_field(field: Field, value: FieldValue, name: str | None = None) -> bytes:
    """``NAME=value`` as journald accepts it: one line, of bounded length; a value that is cut ends in ``…``."""
    return _within(f"{name or field.name}={field.type.format(value)}".encode(), MAX_FIELD_BYTES)


def _within(text: bytes, room: int) -> bytes:
    return text if len(text) <= room else text[: room - len(_CUT)].decode(errors="ignore").encode() + _CUT


def format_fields(values: Iterable[tuple[str, FieldValue | None]]) -> list[bytes]:
    """Format fields of FIELDS, given by name; an unknown value (None) leaves its field out."""
    return [format_field(_BY_NAME[name], value) for name, value in values if value is not None]


def format_reduced(values: Iterable[tuple[str, FieldValue | None]], room: int) -> list[bytes]:
    """Format only the fields of REDUCED. A value that a stranger may have named is cut after ``room`` bytes.

    Names by which journalctl finds an entry stay complete.
    """
    kept = [(name, value) for name, value in values if name in REDUCED and value is not None]
    fields = format_fields(kept)
    return [
        _within(field, len(name) + 1 + room) if name.startswith("OOM_") and name.endswith(_IDENTITY) else field
        for field, (name, _value) in zip(fields, kept, strict=True)
    ]
