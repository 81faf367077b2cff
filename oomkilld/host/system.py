# SPDX-License-Identifier: Apache-2.0
"""Reads the system's properties: capabilities, lockdown, symbols, sources of events."""

import errno
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from oomkilld.errors import NO_ROOM

# Numbers of linux/capability.h.
CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39}
VMLINUX = Path("/sys/kernel/btf/vmlinux")
# The symbol of the kernel's first byte.
TEXT = "_text"
# Documentation/admin-guide/devices.txt.
_KMSG = os.makedev(1, 11)


class System(NamedTuple):
    """The system, as its files below an injectable root describe it."""

    root: Path = Path("/")

    def missing_capabilities(self, wanted: Collection[str]) -> list[str]:
        """Those of ``wanted`` that are not effective in this process (CapEff of /proc/self/status)."""
        status = (self.root / "proc/self/status").read_text()
        effective = int(status.split("CapEff:")[1].split()[0], 16)
        return [name for name in wanted if not effective >> CAPABILITIES[name] & 1]

    def in_user_namespace(self) -> bool:
        """Whether capabilities hold in a user namespace only, user_namespaces(7)."""
        return (self.root / "proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]

    def may_use_perf(self) -> bool:
        """Whether CAP_PERFMON may open perf events; False also if the kernel has none."""
        try:
            # Debian's kernels add the value 3: only CAP_SYS_ADMIN may open perf events.
            return int((self.root / "proc/sys/kernel/perf_event_paranoid").read_text()) <= 2
        except (OSError, ValueError):
            return False

    def lockdown(self) -> str:
        """``none``, ``integrity`` or ``confidentiality``; ``none`` also if the kernel has no lockdown."""
        try:
            modes = (self.root / "sys/kernel/security/lockdown").read_text()
        except OSError:
            return "none"
        return modes.partition("[")[2].partition("]")[0]

    def has_type_information(self) -> bool:
        """Whether the kernel has BTF, which describes its own types."""
        return self.shows(str(VMLINUX.relative_to("/")))

    def shows(self, path: str) -> bool:
        """Whether this process can see that file: it exists, and is not hidden from the service."""
        return os.path.exists(self.root / path)

    def open_kernel_log(self) -> int:
        """Open /dev/kmsg, non-blocking. Raises OSError, also if that is another file."""
        fd = os.open(self.root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(fd)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _KMSG:
            # In some containers, it is a pipe.
            os.close(fd)
            raise OSError(errno.ENODEV, "it is not the kernel's log")
        return fd

    def event_format(self, event: str) -> str | None:
        """The format of an event, such as ``kmem/mm_page_alloc``, in tracefs; None: tracefs is not available."""
        for mounted_at in ("sys/kernel/tracing", "sys/kernel/debug/tracing"):
            try:
                return (self.root / mounted_at / "events" / event / "format").read_text(errors="replace")
            except OSError:
                continue
        return None

    def symbols(self, names: Collection[str]) -> dict[str, int]:
        """Address of each of ``names`` that this kernel has; 0 if addresses are hidden (no CAP_SYSLOG).

        Empty if the whole list is hidden. Raises OSError if memory or files are exhausted.
        """
        # One search in the whole text for each name: a loop over 200,000 lines would be slower.
        try:
            table = (self.root / "proc/kallsyms").read_bytes()
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            return {}
        found = {}
        for name in names:
            # "ffffffff81000000 t name". The symbol of a module ends in " [module]", and so does not match.
            end = table.find(f" {name}\n".encode())
            if end >= 0:
                start = table.rfind(b"\n", 0, end) + 1
                found[name] = int(table[start:end].split()[0], 16)
        return found

    def text_address(self) -> int:
        """The address where the kernel starts; 0 if it is hidden. Does not read the whole list of symbols.

        Raises OSError if memory or files are exhausted.
        """
        name, text = f" {TEXT}\n".encode(), b""
        try:
            with open(self.root / "proc/kallsyms", "rb", buffering=0) as table:
                while (end := text.find(name)) < 0:
                    more = table.read(4096)
                    if not more:
                        return 0
                    # A whole line, at least: the name may be cut.
                    text = text[-256:] + more
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            return 0
        return int(text[text.rfind(b"\n", 0, end) + 1 : end].split()[0], 16)


def no_address(symbols: Mapping[str, int], name: str) -> str:
    """Why the symbol has no address. ``symbols``: see System.symbols()."""
    if not symbols:
        return "the kernel's list of symbols, /proc/kallsyms, cannot be read"
    if name not in symbols:
        return f"this kernel's list of symbols, /proc/kallsyms, has no {name} (CONFIG_KALLSYMS_ALL)"
    return "addresses of kernel symbols are hidden (CAP_SYSLOG, sysctl kernel.kptr_restrict)"
