# SPDX-License-Identifier: Apache-2.0
"""Whatever the input, the program reports what is wrong and what to do, and exits with a documented status."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from oomkilld.cli import EXIT_STATUSES
from tests.support.namespaces import NAMESPACES, need_namespaces
from tests.unit.bad_inputs import OF_OTHERS, TABLE, Bad

ROOT = Path(__file__).parents[2]
NEEDS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 and "OOMKILLD_REQUIRE_ALL" not in os.environ,
    reason="only root makes files of others, and devices",
)
# As packaging/lib.sh writes it.
PROGRAM = """\
#!{interpreter} -I
import sys

sys.path.insert(0, "{library}")
from oomkilld.__main__ import main

sys.exit(main())
"""
# The same program, but the slow imports happen once: it forks a process for each line of input, which is the path of a
# root directory. gc.freeze(): collecting what is already imported would take as long as all the rest.
FORKED = """\
import difflib, gc, os, sys, tomllib

sys.path.insert(0, sys.argv[1])
from oomkilld import cli; from oomkilld.config import settings, tomlplaces
from oomkilld.__main__ import main

chr(27).encode("unicode_escape")
gc.freeze()
for line in sys.stdin:
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    root = line.rstrip("\\n")
    for fd, name in ((0, "/dev/null"), (1, root + ".stdout"), (2, root + ".stderr")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), fd)
    os.chroot(root)
    os.chdir("/")
    sys.argv[1:] = ["--check-config"]
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


class Forks:
    """Runs the program with one configuration after another. ``trees``: where the configurations are."""

    def __init__(self, library: Path, trees: Path) -> None:
        self._trees = trees
        self._one_at_a_time = threading.Lock()
        self._server = subprocess.Popen(
            [*NAMESPACES, sys.executable, "-I", "-c", FORKED, library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, bad: Bad) -> Ended:
        assert self._server.stdin
        assert self._server.stdout
        with self._one_at_a_time:
            root = self._trees / str(len(os.listdir(self._trees)))
            root.mkdir()
            bad.put(root)
            self._server.stdin.write(f"{root}\n")
            self._server.stdin.flush()
            status = int(self._server.stdout.readline())
            printed, said = (root.with_name(f"{root.name}.{name}").read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(bad.script, status, printed, said)

    def end(self) -> None:
        self._server.communicate()
        # Some of the files only root can list.
        subprocess.run([*NAMESPACES, "rm", "-rf", self._trees], check=True)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Bad, Future[Ended]]]:
    """The results of all rows, run in parallel: each mostly waits for the interpreter to start."""
    need_namespaces()
    library = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "oomkilld", library / "oomkilld", ignore=shutil.ignore_patterns("__pycache__"))
    program = library / "program"
    program.write_text(PROGRAM.format(interpreter=sys.executable, library=library))
    program.chmod(0o755)
    # This writes the bytecode that all of them load.
    subprocess.run([program, "--show-config"], cwd="/", check=False, capture_output=True)
    base = subprocess.run(
        [sys.executable, "-I", "-c", "print(open('/proc/self/status').read().split('VmPeak:')[1].split()[0])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    words = " ".join([shutil.which("setpriv") or "setpriv", *WITHOUT_CAPABILITIES[1:], str(program)])
    prepare = f'set -e\n{PREPARE}BASE={base}\noomkilld() {{ exec {words} "$@"; }}\n'
    forks = Forks(library, tmp_path_factory.mktemp("trees"))

    def run(bad: Bad) -> Ended:
        if bad.make is not None:
            return forks.run(bad)
        return subprocess.run(
            [*NAMESPACES, "bash", "-c", prepare + bad.script],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    before = shared()
    # The others first: rows with a configuration run one at a time.
    rows = sorted((bad for bad in TABLE if os.geteuid() == 0 or bad not in OF_OTHERS), key=lambda bad: bool(bad.make))
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        yield {bad: pool.submit(run, bad) for bad in rows}
        pool.shutdown(cancel_futures=True)
    forks.end()
    assert shared() == before


def shared() -> dict[str, int]:
    """The modes of the kernel's file systems, which the rows' own mounts do not protect."""
    return {
        path: os.stat(path).st_mode for path in ("/proc", "/proc/sys", "/sys", "/sys/fs/cgroup", "/dev", "/run", "/etc")
    }


@pytest.mark.parametrize(
    "bad", [pytest.param(bad, id=bad.name, marks=[NEEDS_ROOT] if bad in OF_OTHERS else []) for bad in TABLE]
)
def test_it_exits_with_the_reason_and_the_advice(ended: dict[Bad, Future[Ended]], bad: Bad) -> None:
    result = ended[bad].result()
    shown = f"{result.stdout}\n{result.stderr}"
    assert "Traceback" not in shown
    assert result.returncode == bad.status, shown
    assert result.returncode in DOCUMENTED
    assert result.stdout.startswith(bad.printed)
    assert bool(result.stdout) == bool(bad.printed)
    lines = result.stderr.splitlines()
    assert all(line.isprintable() and line.startswith("oomkilld: ") for line in lines), shown
    lines = [line.removeprefix("oomkilld: ") for line in lines]
    expected = [re.escape(line).replace(r"\{number\}", r"\d+") for line in bad.lines(root="")]
    assert [bool(re.fullmatch(*pair)) for pair in zip(expected, lines, strict=False)] == [True] * len(expected), shown
    assert lines[-1:] == [bad.advice] * bool(bad.advice), shown
    # If no level works, there is one more line per level.
    assert len(lines) == len(expected) + bool(bad.advice) or bad.status == 77, shown


def test_the_table_is_long_and_each_name_occurs_once() -> None:
    assert len({bad.name for bad in TABLE}) == len(TABLE) >= 270
