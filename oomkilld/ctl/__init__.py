# SPDX-License-Identifier: Apache-2.0
"""The command oomkillctl: reads the journal, and nothing else of the service."""
