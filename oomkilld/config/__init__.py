# SPDX-License-Identifier: Apache-2.0
"""What a person writes: the files, what is in them, and the settings in force."""
