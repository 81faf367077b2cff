# SPDX-License-Identifier: Apache-2.0
"""A tree that really boots: systemd as PID 1 in a container of systemd-nspawn, on this machine's kernel."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.host.trees import Tree
from tests.support import live, pace, sysctls

# Packages that make a tree bootable; dbus for units that systemd itself starts; the last two for fleet.py.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "systemd-journal-remote", "openssl")
# Everything that BPF needs, and Landlock, which nspawn otherwise forbids.
_LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
BPF_RIGHTS = ("--capability=all", f"--system-call-filter=bpf perf_event_open {_LANDLOCK}")
_BOOT_SECONDS = 90
_CGROUPS = Path("/sys/fs/cgroup")


class Container(NamedTuple):
    """A booted tree, and the pid of its PID 1 on this machine."""

    tree: Tree
    leader: int

    def command(self, *command: str, unit: str | None = None) -> list[str]:
        """A command that runs as a unit of its own in the checkout, with the command's output and exit status."""
        kinds = ("--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup")
        namespaces = ["nsenter", f"--target={self.leader}", *kinds]
        name = [f"--unit={unit}"] if unit else []
        directory = f"WorkingDirectory=/{self.tree.checkout.relative_to(self.tree.root)}"
        # The command provokes OOM kills, which must not stop it.
        properties = ["-p", directory, "-p", "OOMPolicy=continue", "-p", "Delegate=yes"]
        options = ["--quiet", "--pipe", "--wait", "--collect", *name, *properties]
        return [*namespaces, "systemd-run", *options, *self.tree.environment(), *command]

    def run(self, *command: str, seconds: float = 600) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*command),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds * pace.patience(),
        )


@contextmanager
def booted(tree: Tree, visible: Sequence[Path] = (), rights: Sequence[str] = BPF_RIGHTS) -> Iterator[Container]:
    """``visible``: files and directories of this machine that it sees read-only; ``rights``: options of nspawn.

    Skips the test if this machine cannot boot a container.
    """
    with sysctls.given_back(), _running(tree, visible, rights) as container:
        yield container


@contextmanager
def _running(tree: Tree, visible: Sequence[Path], rights: Sequence[str]) -> Iterator[Container]:
    # The container brings its own.
    for name in ("proc", "sys", "dev"):
        subprocess.run(["umount", "--recursive", tree.root / name], check=True)
    console = tree.root.parent / "console"
    with console.open("wb") as output:
        nspawn = subprocess.Popen(
            _nspawn(tree.root, visible, rights),
            env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    groups: list[Path] = []
    try:
        container = _wait_until_booted(tree, nspawn, console)
        groups = [*_own_groups(container.leader), *_own_groups(nspawn.pid)]
        yield container
    finally:
        nspawn.terminate()  # tells its PID 1 to power off
        try:
            nspawn.wait(60 * pace.patience())
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
        for group in groups:
            _remove_empty(group)


def _nspawn(root: Path, visible: Sequence[Path], rights: Sequence[str]) -> list[str]:
    # If systemd does not run here, without machined and without a unit of its own.
    alone = [] if Path("/run/systemd/system").exists() else ["--keep-unit"]
    binds = [f"--bind-ro={path}" for path in visible]
    directory = f"--directory={root}"
    return ["systemd-nspawn", "--quiet", "--boot", directory, "--register=no", *alone, *rights, *binds]


def _wait_until_booted(tree: Tree, nspawn: "subprocess.Popen[bytes]", console: Path) -> Container:
    def up() -> Container | None:
        if nspawn.poll() is not None:
            _skip(f"systemd-nspawn ended with status {nspawn.returncode}", console)
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if not children:
            return None
        container = Container(tree, int(children[0]))
        state = subprocess.run(
            ["nsenter", f"--target={container.leader}", "--mount", "--pid", "systemctl", "is-system-running"],
            check=False,
            capture_output=True,
            text=True,
        ).stdout.strip()
        # Units that do not matter here may fail in a container.
        return container if state in ("running", "degraded") else None

    return live.wait_for("booted system", up, _BOOT_SECONDS, lambda: console.read_text(errors="replace")[-4000:])


def _skip(reason: str, console: Path) -> None:
    text = f"this machine boots no container: {reason}\n{console.read_text(errors='replace')[-2000:]}"
    if "OOMKILLD_REQUIRE_ALL" in os.environ:
        pytest.fail(text)
    pytest.skip(text)


def _own_groups(pid: int) -> list[Path]:
    """The cgroups that nspawn created for the container: the first ones below ours."""
    ours = {line.split(":")[1]: line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        inside = Path(path).relative_to(ours[controllers]).parts
        directory = controllers.removeprefix("name=") or ("unified" if (_CGROUPS / "unified").exists() else "")
        if inside:
            found.append(_CGROUPS / directory / ours[controllers].lstrip("/") / inside[0])
    return found


def _remove_empty(group: Path) -> None:
    for directory, _names, _files in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(directory).rmdir()
