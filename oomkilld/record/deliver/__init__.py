# SPDX-License-Identifier: Apache-2.0
"""Sends entries to journald, and frees their records in the source once the entries are stored."""
