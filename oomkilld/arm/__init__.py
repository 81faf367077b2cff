# SPDX-License-Identifier: Apache-2.0
"""Stage "arm": reads the settings, attaches the probe, then execs into stage "record" and is gone."""
