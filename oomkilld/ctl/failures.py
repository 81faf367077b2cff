# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of oomkillctl, and the failures that end it; wrong arguments: errors.WrongArguments (status 2)."""

from oomkilld.errors import OomkilldError

SHOWN = 0
NOTHING_MATCHED = 1

STATUSES = """\
exit statuses:
  0   something was shown
  1   nothing matched, or the output could not be written
  2   wrong arguments
  4   not permitted to read the journal
  5   no such journal, or none that can be read
"""


class NotPermitted(OomkilldError):
    """The journal may not be read by this user (status 4)."""

    exit_status = 4


class NoJournal(OomkilldError):
    """There is no such journal, or it is damaged throughout (status 5)."""

    exit_status = 5
