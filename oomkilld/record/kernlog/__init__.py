# SPDX-License-Identifier: Apache-2.0
"""The kernel's log as a source: its lines become the record of a kill."""
