# SPDX-License-Identifier: Apache-2.0
"""What outlives one process: the hand-over, the service manager's store, files in /run/oomkilld."""
