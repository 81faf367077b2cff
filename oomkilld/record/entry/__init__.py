# SPDX-License-Identifier: Apache-2.0
"""What is known of an event becomes the fields of its journal entry."""
