# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of oomkillctl, and the failures that end it; wrong arguments: errors.WrongArguments (status 2)."""

from oomkilld.errors import OomkilldError

SHOWN = 0
NOTHING_MATCHED = 1

STATUSES = """\
exit statuses:
  0   something was shown; check: kills are recorded; selftest: the kill was recorded
  1   nothing matched, or the output could not be written; check: a kill would be missed now, or was since the first
      start in this boot; selftest: the kill was not recorded
  2   wrong arguments
  3   selftest: no kill could be made
  4   not permitted to read the journal, or to make a kill
  5   no such journal, or none that can be read
"""


def reason(error: OSError) -> str:
    """What failed, for the end of a sentence; an error of a library may have no number."""
    return error.strerror or str(error)


class NotPermitted(OomkilldError):
    """The journal may not be read by this user (status 4)."""

    exit_status = 4


class NoJournal(OomkilldError):
    """There is no such journal, or it is damaged throughout (status 5)."""

    exit_status = 5
