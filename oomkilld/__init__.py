# SPDX-License-Identifier: Apache-2.0
"""oomkilld: every kernel OOM kill becomes one structured journal entry."""

__version__ = "0.1.0"
