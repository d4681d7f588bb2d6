"""The one exception for what a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: a file, an option or a configuration value that cannot be used.

    The message names what was read (the file, the field or the option), what was expected and what was found.
    The command line prints it as one line and ends with exit code 2; library callers catch it as a `ValueError`.
    """
