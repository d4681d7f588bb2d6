"""Load untrusted pickles: import nothing, and call nothing but stand-ins.

A pickle is a program: it can name any function of any module and call it. This loader looks up every name in a table of
stand-ins and refuses names that are not there. Four rules keep the load harmless:

- They only hold or check values. None of them imports, opens, evaluates, or looks up an attribute by name.
- Each defines `__setstate__`, because pickle would otherwise let a file set its attributes (BUILD).
- The opcodes are checked first. Only those that torch, numpy and Python write for data may occur.

- Tuples may be nested a few times only, since Python hashes and deletes them by recursion.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from tfrcnn.errors import InputError


class Sealed:
    """A stand-in that a pickle cannot change."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise InputError(f"refused to set the state of {type(self).__name__}")


class Lazy(Sealed):
    """A stand-in for an array: checked when it is loaded, made when `array` is called."""

    __slots__ = ()

    def array(self) -> np.ndarray:
        """Return the array. Do not write to it."""
        raise NotImplementedError


class Call(Sealed):
    """A stand-in for a function."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class Ignored(Sealed):
    """A stand-in for an object that training scripts save next to the weights. Its content is dropped."""

    __slots__ = ()

    def __init__(self, *content: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class OrderedDict(dict[Any, Any]):
    """A stand-in for `collections.OrderedDict`. A plain dict keeps the order too."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Drop the attribute `_metadata`, the versions of layers that torch adds to its state dicts."""


# The names that any checkpoint may hold. The ignored ones occur in what torchvision's reference scripts save (`args`
# and the `milestones` of the learning rate) and in the arguments that torch pickles.
COMMON_GLOBALS: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Ignored,
    "argparse.Namespace": Ignored,
    "torch.Size": Ignored,
    "torch.device": Ignored,
}

MAX_DEPTH = 50  # of nested tuples; torch nests them three deep
MAX_ITEMS = 1_000_000  # of a tuple and the tuples in it

# The opcodes of protocols 2 to 5 for numbers, texts, bytes, lists, tuples, dicts, named objects and torch's storages.
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID"),
}


def load(file: BytesIO, names: Mapping[str, Any], persistent_load: Callable[[Any], Any] | None = None) -> Any:
    """Load one pickle. The file is then positioned at the byte after it.

    Args:
        file: A file that is positioned at the pickle.
        names: Stand-ins by the full name that each stands for.
        persistent_load: Turns torch's reference to a storage into a stand-in. None: the pickle must have no references.

    Returns:
        The object that the pickle holds, made of plain values and stand-ins.

    Raises:
        InputError: The pickle uses a name that is not in `names`, uses another opcode, or is damaged.
    """
    start = file.tell()
    # A crafted or cut pickle can make both readers raise any error: TypeError, KeyError, UnicodeError, ...
    try:
        _check_opcodes(file)
        file.seek(start)
        return _Unpickler(file, names, persistent_load).load()
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"expected a whole pickle, found a damaged one ({type(error).__name__}: {one_line(error)})"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BytesIO, names: Mapping[str, Any], persistent_load: Callable[[Any], Any] | None) -> None:
        super().__init__(file, encoding="latin1")  # for arrays that Python 2 wrote
        self.names, self.storage = names, persistent_load

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self.names:
            raise InputError(
                f"refused to load {full}: expected tensors, numbers and texts in dicts and lists, as "
                f"torch.save(model.state_dict(), ...) writes them"
            )
        return self.names[full]

    def persistent_load(self, reference: Any) -> Any:
        if self.storage is None:
            raise InputError("expected a plain pickle, found references to storages")
        return self.storage(reference)


def _check_opcodes(file: BytesIO) -> None:
    tuples = _Tuples()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        index = int(argument or 0) if opcode.name == "LONG_BINPUT" else 0
        if opcode.name not in _OPCODES:
            raise InputError(f"refused the pickle opcode {opcode.name}: weights do not need it")
        # The unpickler allocates a memo as long as the largest index: an index of 2**32 takes 64 GB.
        if index > count:
            raise InputError(f"expected the pickle's memo in order, found index {index} at opcode {count}")
        if (tuples.after(opcode, argument) or _Shape()).exceeds():
            raise InputError("expected a state dict, found tuples that are nested deeply or share their items")


class _Shape(NamedTuple):
    """How deep tuples are nested in an object, and how many items they have with repetitions."""

    depth: int = 0
    items: int = 1

    def exceeds(self) -> bool:
        return self.depth > MAX_DEPTH or self.items > MAX_ITEMS


class _Tuples:
    """The stack and the memo of the unpickler, with the shape of each object in place of it.

    A file of 200 bytes can nest tuples 60 deep, each twice in the next: the hash of the last one, as the key of a dict,
    takes 2**60 steps. A tuple nested a million deep overflows Python's stack.
    """

    def __init__(self) -> None:
        self.stack: list[_Shape | None] = []  # None is a mark
        self.memo: dict[int, _Shape | None] = {}

    def after(self, opcode: pickletools.OpcodeInfo, argument: Any) -> _Shape | None:
        """Apply an opcode; return the shape of the object on top of the stack."""
        stack, name = self.stack, opcode.name
        if name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(None)
        else:
            taken = self._take(opcode.stack_before)
            if name.startswith("TUPLE"):
                stack.append(_Shape(1 + max((s.depth for s in taken), default=0), 1 + sum(s.items for s in taken)))
            else:
                stack.extend([_Shape()] * len(opcode.stack_after))
        return stack[-1] if stack else None

    def _take(self, kinds: list[Any]) -> list[_Shape]:
        """Take the objects that an opcode takes from the stack."""
        taken = []
        for kind in reversed(kinds):
            if kind is pickletools.stackslice:
                while (shape := self.stack.pop()) is not None:
                    taken.append(shape)
            elif kind is not pickletools.markobject:
                taken.append(self.stack.pop() or _Shape())
        return taken


def is_count(value: Any) -> bool:
    """Return whether a value from a pickle is a whole number that can count elements."""
    return type(value) is int and 0 <= value < 2**62


def one_line(text: object, max_length: int = 200) -> str:
    """Make a text safe to print: one line, cut to `max_length`, "?" for control characters that a file may hold."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)[:max_length]
