# SPDX-License-Identifier: Apache-2.0
"""The resident process itself: its memory, what it gives up, how it ends."""
