"""Pickles from strangers: nothing is imported, and nothing is called but the stand-ins given here.

A pickle is a program: it may name any function of any module and have it called. Here every name is looked up in a
table of stand-ins and refused if it is not there. Three rules keep the stand-ins harmless:

- they only hold or check values; none imports, opens, evaluates, or looks up an attribute by name;
- all have a `__setstate__` of their own, because pickle would otherwise let a file set their attributes (BUILD);
- the opcodes are read beforehand, and those that torch, numpy and Python write for data are the only ones let through.

What a hostile file can still do is end the process: Python overflows its stack over tuples nested a million deep.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from tfrcnn.errors import InputError


class Sealed:
    """A stand-in that a pickle cannot change."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise InputError(f"refused to set the state of {type(self).__name__}")


class Lazy(Sealed):
    """A stand-in for an array: checked already, made when asked for."""

    __slots__ = ()

    def array(self) -> np.ndarray:
        """The array; not to be written to."""
        raise NotImplementedError


class Call(Sealed):
    """A stand-in for a function."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class Ignored(Sealed):
    """A stand-in for an object that training scripts save beside the weights: its content is dropped."""

    __slots__ = ()

    def __init__(self, *content: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class OrderedDict(dict):
    """A stand-in for `collections.OrderedDict`: an ordinary dict keeps its order too."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Drop the attribute `_metadata`, versions of layers, that torch hangs on its state dicts."""


# The names any checkpoint may hold. The ignored ones are in what torchvision's reference scripts save (`args`, and the
# `milestones` of the learning rate) and what torch itself puts into arguments.
COMMON_GLOBALS: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Ignored,
    "argparse.Namespace": Ignored,
    "torch.Size": Ignored,
    "torch.device": Ignored,
}

# What protocols 2 to 5 write for numbers, texts, bytes, lists, tuples, dicts, named objects and torch's storages.
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
    """Load one pickle, leaving the file behind it.

    Args:
        file: positioned at the pickle.
        names: stand-ins by the full name they stand for.
        persistent_load: turns torch's reference to a storage into a stand-in; without it there must be none.

    Raises:
        InputError: the pickle names something that is not in `names`, or is damaged.
    """
    start = file.tell()
    # A crafted or cut pickle makes both readers raise whatever comes: TypeError, KeyError, UnicodeError, ...
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
        super().__init__(file, encoding="latin1")  # what arrays need that Python 2 wrote
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
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        index = int(argument or 0) if opcode.name == "LONG_BINPUT" else 0
        if opcode.name not in _OPCODES:
            raise InputError(f"refused the pickle opcode {opcode.name}: weights do not need it")
        # The unpickler allocates a memo as long as the largest index: an index as large as 2**32 is 64 GB.
        if index > count:
            raise InputError(f"expected the pickle's memo in order, found index {index} at opcode {count}")


def one_line(text: object, longest: int = 200) -> str:
    """One line for people: a file can put anything into an error, also control characters of the terminal."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)[:longest]
