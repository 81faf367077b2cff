# SPDX-License-Identifier: Apache-2.0
"""What packaging/try runs once everything is in place: it lets the kernel kill one process, and shows the entry."""
