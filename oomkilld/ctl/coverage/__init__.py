# SPDX-License-Identifier: Apache-2.0
"""Whether a kill on this machine would be recorded, and whether one was missed, as findings of one line each."""
