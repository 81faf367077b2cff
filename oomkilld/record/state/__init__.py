# SPDX-License-Identifier: Apache-2.0
"""What is counted and sent, kept where it outlives the service."""
