# SPDX-License-Identifier: Apache-2.0
"""Settings of all unit tests."""

from hypothesis import settings

# A drawn case may take any time: what else runs on this machine decides it, and no test promises it.
settings.register_profile("any time", deadline=None)
settings.load_profile("any time")
