# SPDX-License-Identifier: Apache-2.0
"""What takes all the memory that the machine has."""

# Above everything else on the machine: only these are killed.
HOG = ("adjust=1000", "uid=65534", "name=host eater")
# For one of them to take all, on an emulated machine that fetches its programs from disk again and again meanwhile.
KILLED_WITHIN = 240.0
