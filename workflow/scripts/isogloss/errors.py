"""The one exception that a user is meant to read."""


class IsoglossError(Exception):
    """Bad input or a failed run, in one line: what is wrong, where, and how to mend it.

    A stage that raises it ends with this line instead of a traceback (see `isogloss.stage`).
    """
