# SPDX-License-Identifier: Apache-2.0
"""Entries to journald, and when the source may forget their records."""
