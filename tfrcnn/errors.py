"""The exception for what a user can fix, and a collector that reports several at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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


def reason_of(error: BaseException) -> str:
    """Return the first line of what another library's error says, or its kind if it says nothing."""
    return next((line for line in map(str.strip, str(error).splitlines()) if line), type(error).__name__)


def check_type(value: Any, kind: type, name: str, example: str = "") -> None:
    """Check the type of an argument.

    Args:
        value: the argument.
        kind: its type.
        name: of the argument.
        example: code that makes a right value.

    Raises:
        InputError: it has another type.
    """
    if not isinstance(value, kind):
        hint = f", for example {example}" if example else ""
        raise InputError(f"{name} must be a {kind.__name__}{hint}, found {type(value).__name__}")


@contextmanager
def renamed_arguments(**names: str) -> Iterator[None]:
    """Raise an `InputError` of the block with the names that the caller has for the arguments of a function.

    Args:
        names: the caller's name by the function's, for example data="val".

    Raises:
        InputError: the block raises one; a message that begins with "data: " begins with "val: " then.
    """
    try:
        yield
    except InputError as error:
        words = (message.partition(": ") for message in error.messages)
        messages = [f"{names.get(name, name)}{colon}{rest}" for name, colon, rest in words]
        raise InputError(*messages) from error


class LostFeederError(InputError):
    """A process that makes training batches has gone, and threads of TensorFlow may wait for it for an hour.

    Under a `tf.distribute` strategy they keep this process from ending: leave it by `os._exit`.
    """


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
    def collect(self, **names: str) -> Iterator[None]:
        """Keep the messages of an `InputError` that the block raises, and continue after the block.

        Args:
            names: as in `renamed_arguments`.
        """
        try:
            with renamed_arguments(**names):
                yield
        except InputError as error:
            self.messages += error.messages

    def check(self) -> None:
        """Raise one `InputError` with all messages, each once; do nothing if there are none."""
        if self.messages:
            raise InputError(*dict.fromkeys(self.messages))
