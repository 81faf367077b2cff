# SPDX-License-Identifier: Apache-2.0
"""Command lines of victims and triggers, with secrets hidden. Imported only if they are wanted."""
