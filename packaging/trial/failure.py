# SPDX-License-Identifier: Apache-2.0
"""How a trial ends early."""


class TrialFailed(Exception):
    """What happened (``message``), what to do about it (``hint``), the exit status."""

    def __init__(self, message: str, hint: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_status = exit_status


class Interrupted(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
