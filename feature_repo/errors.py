"""The one exception that a user can cause."""


class BadInput(Exception):
    """What the user gave cannot be used; the message says what, where, and what to do.

    The message is one line. A command line prints it and exits with code 2.
    """
