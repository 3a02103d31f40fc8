"""Errors that the user can fix."""

BAD_INPUT = 2  # exit code


class UserError(Exception):
    """An error that the user can fix. The message states the problem and the solution in one line."""
