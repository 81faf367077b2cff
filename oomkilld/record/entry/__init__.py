# SPDX-License-Identifier: Apache-2.0
"""Turns what is known of an event into the fields of its journal entry."""
