# SPDX-License-Identifier: Apache-2.0
"""The kernel log as a source: turns its lines into records of kills."""
