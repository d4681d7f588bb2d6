"""Converts frozen dataclasses to JSON and back, and checks them: the base of all configurations."""

from __future__ import annotations

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Iterator
from numbers import Integral
from typing import Any, Literal, TypeVar

from tfrcnn.errors import InputError
from tfrcnn.printable import shorten

T = TypeVar("T", bound="Config")

MAX_ITEMS = 1000  # of a tuple of numbers
MAX_SHOWN = 80  # characters of a wrong value that an error repeats


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all configurations: conversion to and from plain JSON values, with checks of types and ranges.

    Lists become tuples and whole numbers become floats where the field's type says so. Any other value of the wrong
    type raises an `InputError`, however the configuration is made. Numbers are finite, and each has an upper bound far
    above any use, so that a damaged or hostile file cannot fill the memory.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _build(hints[field.name], getattr(self, field.name), f"{type(self).__name__}.{field.name}")
            object.__setattr__(self, field.name, value)  # the dataclass is frozen
        self._check_ranges()
        for field in dataclasses.fields(self):
            self._require(all(map(math.isfinite, _numbers(getattr(self, field.name)))), field.name, "finite")

    def _check_ranges(self) -> None:
        """Check what the types do not say; subclasses call `_require`."""

    @classmethod
    def _upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Convert the values that an earlier release wrote; subclasses rename fields here."""
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON values (dict, list, str, numbers, None)."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls: type[T], values: dict[str, Any]) -> T:
        """Rebuild a configuration from the result of `to_dict`, of this release or an earlier one.

        Raises:
            InputError: a field is unknown or missing, or a value has the wrong type or is out of range.
        """
        config: T = _build(cls, values, cls.__name__)
        return config

    def replace(self: T, **changes: Any) -> T:
        """Return a copy with some fields changed; the copy is checked too."""
        return dataclasses.replace(self, **changes)

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise InputError(f"{type(self).__name__}.{name} must be {expected}, found {shown(getattr(self, name))}")

    def _require_at_most(self, **limits: float) -> None:
        """Check upper bounds of fields: numbers by value; tuples by their length and their largest number."""
        for name, limit in limits.items():
            value = getattr(self, name)
            if isinstance(value, tuple):
                self._require(len(value) <= MAX_ITEMS, name, f"at most {MAX_ITEMS} items")
            self._require(all(number <= limit for number in _numbers(value)), name, f"at most {limit:,}")


def shown(value: object) -> str:
    """Write a value for an error, shortened."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return shorten(text, MAX_SHOWN)


def check_whole_number(value: Any, name: str, low: int = 1, high: int | None = None) -> int:
    """Return an argument that is a whole number.

    Args:
        value: the argument.
        name: of the argument.
        low: the lowest number.
        high: the highest number; None for no limit.

    Raises:
        InputError: it is no whole number, or out of range.
    """
    is_number = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_number or value < low or (high is not None and value > high):
        expected = f"of at least {low}" if high is None else f"in {low}..{high:,}"
        raise InputError(f"{name}: expected a whole number {expected}, found {shown(value)}")
    return int(value)


def _numbers(value: Any) -> Iterator[float]:
    """Yield the absolute values of the numbers in nested tuples."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)):
        yield abs(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, dict) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    """Return `value` as an instance of the annotated type `kind`; `where` is its path, for errors."""
    if isinstance(kind, type) and issubclass(kind, Config):
        return value if isinstance(value, kind) else _build_config(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _build_any([a for a in arguments if a is not type(None)], value, where)
    if origin is tuple:
        return _build_tuple(arguments, value, where)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise InputError(f"{where} must be one of {', '.join(map(str, arguments))}, found {shown(value)}")
        return value
    kind = origin or kind  # dict[str, Any] is checked as a dict
    accepted = {float: numbers.Real, int: numbers.Integral}.get(kind, kind)  # NumPy's numbers too
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where} must be {kind.__name__}, found {shown(value)}")
    if kind is int and not -(2**63) <= value < 2**63:
        raise InputError(f"{where} must be a whole number of 64 bits, found {shown(value)}")
    try:
        return kind(value)
    except OverflowError:  # a whole number beyond the largest float
        return math.inf if value > 0 else -math.inf


def _build_config(kind: type[T], value: Any, where: str) -> T:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be an object, found {shown(value)}")
    value = kind._upgraded(value)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields), key=str)
    if unknown:
        raise InputError(f"{where} has no field {shown(unknown[0])}; its fields are {', '.join(fields)}")
    unset = dataclasses.MISSING
    required = [name for name, f in fields.items() if f.default is unset and f.default_factory is unset]
    missing = sorted(name for name in required if name not in value)
    if missing:
        raise InputError(f"{where}.{missing[0]} is missing")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _build_any(kinds: list[Any], value: Any, where: str) -> Any:
    """Return `value` as an instance of the first of several types that it fits."""
    if len(kinds) == 1:
        return _build(kinds[0], value, where)
    expected = []
    for kind in kinds:
        try:
            return _build(kind, value, where)
        except InputError as error:
            expected.append(str(error).removeprefix(f"{where} must be ").partition(", found ")[0])
    raise InputError(f"{where} must be {' or '.join(expected)}, found {shown(value)}")


def _build_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where} must be a list, found {shown(value)}")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    elif len(value) != len(kinds):
        raise InputError(f"{where} must have {len(kinds)} items, found {len(value)}")
    return tuple(_build(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value)))
