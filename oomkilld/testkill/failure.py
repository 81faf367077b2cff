# SPDX-License-Identifier: Apache-2.0
"""Exceptions that end a trial early."""


class TrialFailed(Exception):
    """``message``: what happened. ``hint``: what to do about it."""

    def __init__(self, message: str, hint: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_status = exit_status


class Interrupted(BaseException):
    """Signal ``number`` ended the trial."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
