# SPDX-License-Identifier: Apache-2.0
"""What packaging/try does once everything is in place: one kill, its entry, and no trace left behind."""
