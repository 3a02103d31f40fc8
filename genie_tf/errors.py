"""Errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix. The message states the problem and the solution in one line."""
