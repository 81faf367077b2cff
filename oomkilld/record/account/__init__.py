# SPDX-License-Identifier: Apache-2.0
"""What the kernel counted and has no entry is found, sent, or said to be missed."""
