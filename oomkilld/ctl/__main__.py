# SPDX-License-Identifier: Apache-2.0
"""``python3 -m oomkilld.ctl`` is ``oomkillctl``."""

import sys

from oomkilld.ctl.main import main

sys.exit(main())
