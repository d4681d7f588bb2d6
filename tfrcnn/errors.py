"""The one exception for what a user can fix, and a collector that reports several at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input: a file, an option or a configuration value that cannot be used.

    The message names what was read (the file, the field or the option), what was expected and what was found. The
    command line prints it after "error:" and exits with code 2. Python code can catch it as a `ValueError`.

    Attributes:
        messages: one per fault, if several are reported together.

    Example:
        try:
            dataset = tfrcnn.load_dataset("cells/VOC@train")
        except tfrcnn.InputError as error:
            print(error)
    """

    def __init__(self, *messages: str) -> None:
        lines = "".join(f"\n  {message}" for message in messages)
        super().__init__(messages[0] if len(messages) == 1 else f"{len(messages)} faults:{lines}")
        self.messages = messages


class InputErrors:
    """Collects input errors, to report all of them together.

    Example:
        errors = InputErrors()
        with errors.collect():
            check_something()
        with errors.collect():
            check_something_else()
        errors.check()
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def collect(self, data: str = "data") -> Iterator[None]:
        """Keep the messages of an `InputError` that the block raises, and continue after the block.

        Args:
            data: what the caller calls the argument `data` of the function in the block, for example "val".
        """
        try:
            yield
        except InputError as error:
            self.messages += [re.sub("^data: ", f"{data}: ", message) for message in error.messages]

    def check(self) -> None:
        """Raise one `InputError` with all messages, each once; do nothing if there are none."""
        if self.messages:
            raise InputError(*dict.fromkeys(self.messages))
