# SPDX-License-Identifier: Apache-2.0
"""The service in guests of other sizes, at level kprobe."""

from tests.vm.guest.kernel.conftest import _installed, level, swap

__all__ = ["_installed", "level", "swap"]
