# SPDX-License-Identifier: Apache-2.0
"""Short-lived processes that read the journal and the kernel log for the resident stage."""
