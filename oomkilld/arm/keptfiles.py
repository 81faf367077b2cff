# SPDX-License-Identifier: Apache-2.0
"""Checks that stored files match their names: a probe's maps, of the right size, and the files that keep it attached.

The resident stage also talks to the manager, and could have stored other files under these names.
"""

import os
from collections.abc import Iterator, Mapping

from oomkilld import recordlayout
from oomkilld.host.levels import LEVELS, Hook, Kind
from oomkilld.service import fdstore
from oomkilld.service.handover import Arming

# uapi/linux/bpf.h.
_ARRAY, _RINGBUF = 2, 27
_MMAPABLE = 1 << 10
_PROC = "/proc/self"
_MAP = "anon_inode:bpf-map"
_PERF_EVENT, _LINK = "anon_inode:[perf_event]", "anon_inode:bpf_link"
_HOLDS: dict[Kind, str] = {
    "kprobe": _PERF_EVENT,
    "kretprobe": _PERF_EVENT,
    "fentry": _LINK,
    "fexit": _LINK,
    "raw_tracepoint": _LINK,
}
_HOOKS = {level.name: level.hooks for level in LEVELS}


def wrong(arming: Arming, fds: Mapping[str, int]) -> str | None:
    """The first mismatch with ``arming``: what was found, and what was expected; None: all files match."""
    return next(_wrong(arming, fds), None)


def names(arming: Arming) -> list[str]:
    """Names of the files to hand to the resident stage; it gets no other stored file."""
    return [fdstore.RING, fdstore.COUNTERS, *map(fdstore.probe, range(arming.probes))]


def _wrong(arming: Arming, fds: Mapping[str, int]) -> Iterator[str]:
    if absent := [name for name in names(arming) if name not in fds]:
        yield f"found no {absent[0]}"
        return
    hooks = _HOOKS[arming.level]
    least = sum(hook.needed for hook in hooks)
    if not least <= arming.probes <= len(hooks):
        expected = len(hooks) if least == len(hooks) else f"{least} to {len(hooks)}"
        yield f"found {arming.probes} probes, expected {expected} of level {arming.level}"
        return
    # O_RDWR: the reader writes its position.
    ring = {"map_type": _RINGBUF, "max_entries": arming.ring_bytes, "flags": os.O_RDWR}
    entries = len(recordlayout.COUNTERS)
    counters = {"map_type": _ARRAY, "key_size": 4, "value_size": 8, "max_entries": entries, "map_flags": _MMAPABLE}
    yield from _wrong_file(fdstore.RING, fds[fdstore.RING], _MAP, ring)
    yield from _wrong_file(fdstore.COUNTERS, fds[fdstore.COUNTERS], _MAP, counters)
    # Hooks that this kernel lacks are left out. At a level where that can happen, all files are of the same kind.
    for number, hook in zip(range(arming.probes), hooks, strict=False):
        yield from _wrong_probe(fdstore.probe(number), fds[fdstore.probe(number)], hook)


def _wrong_probe(name: str, fd: int, hook: Hook) -> Iterator[str]:
    yield from _wrong_file(name, fd, _HOLDS[hook.kind], {})
    if hook.kind == "raw_tracepoint" and (target := _told(fd).get("tp_name")) != hook.target:
        yield f"found {name} at the tracepoint {target}, expected {hook.target}"


def _wrong_file(name: str, fd: int, kind: str, numbers: Mapping[str, int]) -> Iterator[str]:
    """``numbers``: the expected values in the kernel's description of the file."""
    if (found := os.readlink(f"{_PROC}/fd/{fd}")) != kind:
        yield f"found {found!r} as {name}, expected {kind}"
        return
    told = _told(fd)
    for what, expected in numbers.items():
        mask = os.O_ACCMODE if what == "flags" else -1
        # The prefix of each number gives its base, except for the flags, which are octal with a leading 0.
        number = int(told.get(what, "-1"), 8 if what == "flags" else 0)
        if number & mask != expected:
            yield f"found {name} with {what} {told.get(what)}, expected {expected}"


def _told(fd: int) -> dict[str, str]:
    """The rows of /proc/self/fdinfo/FD, see bpf_map_show_fdinfo() and bpf_link_show_fdinfo() of the kernel."""
    with open(f"{_PROC}/fdinfo/{fd}") as file:
        rows = (line.partition(":") for line in file)
        return {key: value.strip() for key, _colon, value in rows}
