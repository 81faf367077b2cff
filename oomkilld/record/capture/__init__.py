# SPDX-License-Identifier: Apache-2.0
"""Where records come from, the ring or the kernel log: reads them, decodes them, finds impossible ones."""
