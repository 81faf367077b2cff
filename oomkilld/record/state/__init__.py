# SPDX-License-Identifier: Apache-2.0
"""Files under /run/oomkilld that outlive the service: the ledger and the ids sent last."""
