# SPDX-License-Identifier: Apache-2.0
"""Finds in the kernel's log the kills that have no entry: a process of its own, for as long as that takes."""
