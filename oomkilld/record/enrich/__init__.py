# SPDX-License-Identifier: Apache-2.0
"""Adds to a record what user space knows: the cause, the owners, the machine's state right after the kill."""
