# SPDX-License-Identifier: Apache-2.0
"""State that outlives one process: the handover, the service manager's store, files in /run/oomkilld."""
