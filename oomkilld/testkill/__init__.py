# SPDX-License-Identifier: Apache-2.0
"""Makes one OOM kill on purpose, confined to a cgroup with one process of our own, and leaves no trace."""
