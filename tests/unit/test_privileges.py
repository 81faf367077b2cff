# SPDX-License-Identifier: Apache-2.0
"""The privileges that the resident stage drops, tried on a process of its own."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oomkilld.errors import NoRoom
from oomkilld.record.process import landlock, privileges, seccomp

ROOT = Path(__file__).parents[2]
SHOW = "print(*[line.split()[1] for line in open('/proc/self/status') if line[:3] in ('Cap', 'NoN', 'Sec')])"
DROP = f"""
import subprocess, sys
from oomkilld.record.process import privileges
print(privileges.drop())
{SHOW}
sys.stdout.flush()
subprocess.run([sys.executable, "-c", {SHOW!r}], check=True)
"""


def test_it_keeps_no_capability_and_no_program_gets_any() -> None:
    command = [sys.executable, "-c", DROP]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == 3
    for line in lines[1:]:
        inheritable, permitted, effective, _bounding, _ambient, no_new, seccomp_mode, _filters = line.split()
        assert {inheritable, permitted, effective} == {"0" * 16}
        assert (no_new, seccomp_mode) == ("1", "2")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A kernel that does nothing, and refuses each call in this dictionary with the given errno."""
    refused: dict[str, int] = {}

    def checked(what: str, *_call: int | bytes | str) -> int:
        for name, error in refused.items():
            if name in what:
                raise OSError(error, f"{what}: {os.strerror(error)}")
        return 0

    for module in (privileges, landlock, seccomp):
        monkeypatch.setattr(module, "checked", checked)
    # The version of Landlock, and that seccomp exists.
    monkeypatch.setattr(landlock, "call", lambda *_arguments: 1)
    monkeypatch.setattr(seccomp, "call", lambda *_arguments: 0)
    monkeypatch.setattr(os, "close", lambda _fd: None)
    return refused


REFUSALS = ("PR_SET_NO_NEW_PRIVS", "capset", "landlock_create", "landlock_add", "landlock_restrict", "PR_SET_SECCOMP")


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_refusal_ends_the_service_without_a_restart(kernel: dict[str, int], refused: str) -> None:
    kernel[refused] = errno.EPERM
    with pytest.raises(privileges.CannotDrop, match=refused) as ended:
        privileges.drop()
    assert ended.value.exit_status == 70
    unit = (ROOT / "packaging/oomkilld.service").read_text()
    assert " 70 " in next(line for line in unit.splitlines() if line.startswith("RestartPreventExitStatus="))


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_lack_of_memory_ends_it_with_a_restart(kernel: dict[str, int], refused: str) -> None:
    kernel[refused] = errno.ENOMEM
    with pytest.raises(NoRoom, match=refused):
        privileges.drop()


@pytest.mark.usefixtures("kernel")
def test_missing_features_of_the_kernel_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (landlock, seccomp):
        monkeypatch.setattr(module, "call", lambda *_arguments: -1)
    assert privileges.drop() == ["this kernel has no Landlock", "this kernel has no seccomp"]


def test_the_kernel_log_is_opened_first_and_read_from_its_start_any_number_of_times(tmp_path: Path) -> None:
    device = tmp_path / "kmsg"
    device.write_bytes(b"6,0,7,-;first\n")
    program = f"""
import os
from oomkilld.record.process import privileges
from oomkilld.record.kernlog.kmsg import DevKmsg
privileges._KERNEL_LOG, privileges._KMSG = {str(device)!r}, 0
log = privileges.open_log()
privileges.drop()
for _ in range(2):
    print(DevKmsg(log, from_start=True).read().text)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=20)
    assert done.stdout.splitlines() == ["b'first'", "b'first'"]
