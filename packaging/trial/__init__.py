# SPDX-License-Identifier: Apache-2.0
"""What packaging/try runs once everything is in place: it makes one kill, shows its entry and leaves no trace."""
