"""Errors that a person can act on."""


class UserError(Exception):
    """Something the user can put right: the message says what is wrong and what to do, in one line."""
