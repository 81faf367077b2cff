# SPDX-License-Identifier: Apache-2.0
"""A fault in the program that tries what an attacker would, who has taken over the resident stage."""

from pathlib import Path

FOUND = Path("/run/oomkilld/attack")
MODULE = "record/main.py"
BEFORE = "    command_lines, victim_reader = optional.command_lines("
# One call each, by its number on x86_64 and on aarch64; all arguments are 0 unless given.
CALLS = {
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "setuid": (105, 146),
    "setresgid": (119, 149),
    "capset": (126, 91),
    "finit_module": (313, 273),
    "mount": (165, 40),
    "fsopen": (430, 430),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "mknodat": (259, 33),
    "open_by_handle_at": (304, 265),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "reboot": (169, 142),
    "fchmodat": (268, 53),
    "fsetxattr": (190, 7),
    "sched_setscheduler": (144, 119),
    "pidfd_send_signal": (424, 424),
}
READ = ("/etc/shadow", "/etc/passwd", "/root", "/proc/kcore", "/dev/kmsg", "/sys/kernel/debug")
WRITTEN = (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger", "/proc/self/comm"),
    *(
        "/sys/kernel/mm/ksm/run",
        "/etc/passwd",
        "/tmp/planted-by-a-test-of-oomkilld",
        "/run/planted-by-a-test-of-oomkilld",
        "/dev/shm/planted-by-a-test-of-oomkilld",
        "/var/tmp/planted-by-a-test-of-oomkilld",
        "/var/lib/oomkilld/planted-by-a-test-of-oomkilld",
        "/var/lib/oomkilld/program",
        "/var/lib/oomkilld/settings",
    ),
)
CONNECTED = ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/docker.sock", "/run/systemd/journal/stdout")
# Replaces BEFORE, which it repeats at its end. Writes a line per attempt: what was tried, and the result.
PROGRAM = f"""
    def _attack():
        import socket
        from oomkilld.host.syscall import call
        column = 0 if os.uname().machine == "x86_64" else 1
        def opened(path, flags):
            try:
                os.close(os.open(path, flags, 0o600))
                return "opened"
            except OSError as error:
                return error.strerror
        def connected(path):
            with socket.socket(socket.AF_UNIX) as one:
                try:
                    one.connect(path)
                    return "connected"
                except OSError as error:
                    return error.strerror
        def called(*arguments):
            pid = os.fork()
            if pid == 0:
                call("syscall", *arguments)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            return "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == 31 else "made"
        lines = [f"call {{name}} {{called(numbers[column])}}" for name, numbers in {CALLS!r}.items()]
        lines.append("call clone-newuser " + called(56 if column == 0 else 220, 0x10000011, 0, 0, 0, 0))
        lines.append("call prlimit64-of-another " + called(302 if column == 0 else 261, 1, 0, 0, 0))
        lines += [f"read {{path}} {{opened(path, os.O_RDONLY)}}" for path in {READ!r}]
        lines += [f"write {{path}} {{opened(path, os.O_WRONLY | os.O_CREAT)}}" for path in {WRITTEN!r}]
        lines += [f"connect {{path}} {{connected(path)}}" for path in {CONNECTED!r}]
        with open({str(FOUND)!r}, "w") as file:
            file.write("\\n".join(lines))
    _attack()
{BEFORE}"""


def succeeded() -> list[str]:
    """The attempts that succeeded; none should have."""
    lines = FOUND.read_text().splitlines()
    print("\n".join(lines))
    assert len(lines) == len(CALLS) + 2 + len(READ) + len(WRITTEN) + len(CONNECTED)
    return [line for line in lines if line.rsplit(" ", 1)[1] in ("opened", "connected", "made")]


def visible_to(pid: int) -> "Seen":
    """The files that the mounts of process ``pid`` show to a process with every right."""
    return Seen(Path(f"/proc/{pid}/root"))


class Seen:
    """/proc/PID/root shows the mounts of another process."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, path: str) -> set[str]:
        """Names in a directory; empty if it is hidden."""
        directory = self._root / path
        return {each.name for each in directory.iterdir()} if directory.exists() else set()

    def content(self, path: str) -> bytes:
        """The content of a file."""
        return (self._root / path).read_bytes()

    def writing(self, path: str) -> str:
        """Why it cannot be written; empty: it can."""
        try:
            with (self._root / path).open("r+b"):
                return ""
        except OSError as error:
            return error.strerror or str(error)
