# SPDX-License-Identifier: Apache-2.0
"""Finds kills that the kernel counted and that have no entry, records them from the kernel log, or reports them."""
