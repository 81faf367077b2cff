# SPDX-License-Identifier: Apache-2.0
"""The resident process itself: its memory, the privileges it drops, how it exits."""
