# SPDX-License-Identifier: Apache-2.0
"""Stage "arm": reads the settings, attaches the probe, then executes stage "record" in the same process."""
