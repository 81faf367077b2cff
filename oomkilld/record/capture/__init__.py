# SPDX-License-Identifier: Apache-2.0
"""Where records come from: the ring or the kernel's log, as bytes or decoded, and whether they can be true."""
