# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: samples the machine's memory and that of cgroups, and says what led up to a kill."""
