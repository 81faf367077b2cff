# SPDX-License-Identifier: Apache-2.0
"""Command lines of victims and triggers, their secrets hidden. Imported only where they are wanted."""
