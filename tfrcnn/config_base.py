"""How a frozen dataclass becomes JSON and comes back, checked: the mixin of all configurations."""

from __future__ import annotations

import dataclasses
import numbers
import types
import typing
from typing import Any, Literal, TypeVar

from tfrcnn.errors import InputError

T = TypeVar("T", bound="Config")


class Config:
    """Mixin of all configurations: conversion to and from plain JSON values, and checks of types and ranges.

    Lists become tuples and whole numbers floats where the field says so; whatever else is not of the annotated type is
    an `InputError`, however the configuration is made.
    """

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            value = _build(kind, getattr(self, name), f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)  # frozen to everyone else
        self._check_ranges()

    def _check_ranges(self) -> None:
        """For subclasses: `_require` what the types do not say."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values (dict, list, str, numbers, None)."""
        return _plain(self)

    @classmethod
    def from_dict(cls: type[T], values: dict[str, Any]) -> T:
        """Rebuild a configuration from `to_dict`'s result.

        Raises:
            InputError: a field is unknown or missing, or a value is of the wrong type or out of range.
        """
        return _build(cls, values, cls.__name__)

    def replace(self: T, **changes: Any) -> T:
        """A copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            found = getattr(self, name)
            raise InputError(f"{type(self).__name__}.{name} must be {expected}, found {found!r}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def _build(kind: Any, value: Any, where: str) -> Any:
    """`value` as an instance of the annotated type `kind`; `where` is its path, for errors."""
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):  # type: ignore[arg-type]
            return value
        if not isinstance(value, dict):
            raise InputError(f"{where} must be an object, found {value!r}")
        fields = {f.name: f for f in dataclasses.fields(kind)}
        unknown = sorted(set(value) - set(fields))
        if unknown:
            raise InputError(f"{where} has no field {unknown[0]!r}; its fields are {', '.join(fields)}")
        missing = sorted(
            n
            for n, f in fields.items()
            if n not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        )
        if missing:
            raise InputError(f"{where}.{missing[0]} is missing")
        hints = typing.get_type_hints(kind)
        return kind(**{n: _build(hints[n], v, f"{where}.{n}") for n, v in value.items()})  # type: ignore[operator]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _build(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} must be a list, found {value!r}")
        if arguments[-1] is Ellipsis:
            return tuple(_build(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) != len(arguments):
            raise InputError(f"{where} must have {len(arguments)} items, found {len(value)}")
        return tuple(_build(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value)))
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{where} must be one of {', '.join(map(str, arguments))}, found {value!r}")
        return value
    accepted = {float: numbers.Real, int: numbers.Integral}.get(kind, kind)  # NumPy's too
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where} must be {kind.__name__}, found {value!r}")
    return kind(value)
