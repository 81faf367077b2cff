# SPDX-License-Identifier: Apache-2.0
"""Mounts of a test's own, which nobody else sees and which end with its processes; also for who is not root."""

import os
import subprocess

import pytest

NAMESPACES = ["unshare", "--mount", "--propagation=private"]
NAMESPACES += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]


def need_namespaces() -> None:
    tried = subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True, text=True)
    if tried.returncode and not os.environ.get("OOMKILLD_REQUIRE_ALL"):
        pytest.skip(f"no namespaces: {tried.stderr.strip()}")
