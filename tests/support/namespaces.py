# SPDX-License-Identifier: Apache-2.0
"""Mounts that only a test sees and that end with its processes; also without root."""

import os
import subprocess

import pytest

NAMESPACES = ["unshare", "--mount", "--propagation=private"]
NAMESPACES += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]


def need_namespaces() -> None:
    tried = subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True, text=True)
    if tried.returncode and not os.environ.get("OOMKILLD_REQUIRE_ALL"):
        pytest.skip(f"no namespaces: {tried.stderr.strip()}")
