# SPDX-License-Identifier: Apache-2.0
"""Adds to a record what user space knows: why, whose, the machine's state right after."""
