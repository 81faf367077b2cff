# SPDX-License-Identifier: Apache-2.0
"""Whatever the program is started in: it says what is wrong and what to do, and ends with a documented status."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from oomkilld.commands import EXIT_STATUSES
from tests.support.namespaces import NAMESPACES, need_namespaces
from tests.unit.bad_environments import CASES, NO_PRIVILEGE, Case

ROOT = Path(__file__).parents[2]
# As packaging/lib.sh writes it.
PROGRAM = """\
#!{interpreter} -I
import sys

sys.path.insert(0, "{library}")
from oomkilld.__main__ import main

sys.exit(main())
"""
PREPARE = """\
mount -t tmpfs none /run
for directory in /etc/oomkilld /usr/lib/oomkilld; do
	if [[ -d $directory ]]; then mount -t tmpfs none $directory; fi
done
if [[ -e /dev/kmsg ]]; then mount --bind /dev/null /dev/kmsg; fi
cd /
"""
WITHOUT_CAPABILITIES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
DOCUMENTED = {int(number) for number in re.findall(r"^  (\d+) ", EXIT_STATUSES, re.MULTILINE)}
Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Case, Future[Ended]]]:
    """All cases, several at a time: most of each is waiting for the interpreter to be loaded."""
    need_namespaces()
    library = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "oomkilld", library / "oomkilld", ignore=shutil.ignore_patterns("__pycache__"))
    program = library / "program"
    program.write_text(PROGRAM.format(interpreter=sys.executable, library=library))
    program.chmod(0o755)
    # Compiles what all of them load.
    subprocess.run([program, "--show-config"], cwd="/", check=False, capture_output=True)
    base = subprocess.run(
        [sys.executable, "-I", "-c", "print(open('/proc/self/status').read().split('VmPeak:')[1].split()[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    words = " ".join([shutil.which("setpriv") or "setpriv", *WITHOUT_CAPABILITIES[1:], str(program)])
    prepare = f'set -e\n{PREPARE}BASE={base}\noomkilld() {{ exec {words} "$@"; }}\n'

    def run(case: Case) -> Ended:
        return subprocess.run(
            [*NAMESPACES, "bash", "-c", prepare + case.script],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    before = shared()
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        yield {case: pool.submit(run, case) for case in CASES}
        pool.shutdown(cancel_futures=True)
    assert shared() == before


def shared() -> dict[str, int]:
    """What mounts of the cases' own do not keep from the machine: the modes of the kernel's file systems."""
    return {
        path: os.stat(path).st_mode for path in ("/proc", "/proc/sys", "/sys", "/sys/fs/cgroup", "/dev", "/run", "/etc")
    }


@pytest.mark.parametrize("case", CASES, ids=[case.script[:60] for case in CASES])
def test_it_ends_with_what_is_wrong_and_what_to_do(ended: dict[Case, Future[Ended]], case: Case) -> None:
    result = ended[case].result()
    shown = f"{result.stdout}\n{result.stderr}"
    assert result.returncode == case.status, shown
    assert result.returncode in DOCUMENTED
    lines = result.stderr.splitlines()
    assert [line for line in lines if not line.startswith("oomkilld: ")] == []
    assert all(line.isprintable() for line in lines)
    if case.status == 0:
        assert (result.stdout.startswith(case.said), lines) == (True, [])
        return
    assert result.stdout == ""
    if not case.said:
        assert lines == []
        return
    failure = [line.removeprefix("oomkilld: ") for line in lines if not line.endswith(", ignoring")]
    assert case.said in failure[0], shown
    assert ("df -h /run" in failure[1]) == (case.said.endswith("No space left on device") and case.status == 71)
    assert len(failure) == 2 or (case.status, failure[0]) == NO_PRIVILEGE, shown


def test_there_are_many_and_each_is_there_once() -> None:
    assert len({case.script for case in CASES}) == len(CASES) >= 60
