# SPDX-License-Identifier: Apache-2.0
"""Looks up what was recorded, and what is in the kernel's log: processes of their own, for as long as that takes."""
