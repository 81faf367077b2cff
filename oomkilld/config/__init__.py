# SPDX-License-Identifier: Apache-2.0
"""The configuration: its files, their options, and the settings in force."""
