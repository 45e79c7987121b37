"""Name what can go wrong, and the exit code each kind of failure has.

PenstockError
    UserMistake     exit 2: a spec, recipe, flag or path that cannot work as written
    DataRefused     exit 3: data or a dataset that breaks its own contract
"""


class PenstockError(Exception):
    """Carry a message for people: the place, what was found, what was expected, the remedy."""

    exit_code = 1


class UserMistake(PenstockError):
    """Say that the request itself is wrong, before any expensive work starts."""

    exit_code = 2


class DataRefused(PenstockError):
    """Say that data was read and is not what it claims or is required to be."""

    exit_code = 3
