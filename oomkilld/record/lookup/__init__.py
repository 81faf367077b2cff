# SPDX-License-Identifier: Apache-2.0
"""Processes of their own that read the journal and the kernel's log for the resident stage."""
