"""Writes the configuration reference from the dataclasses: every field with its type, default and meaning.

The meaning of a field is its entry under `Attributes:` in the docstring of its class.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from griffe import Docstring, DocstringSectionKind
from tables import row

from tfrcnn import config as configs
from tfrcnn.models.presets import Preset, preset, preset_names

PAGE, API_PAGE = "configuration.md", "api/configuration.md"
CLASSES = "<!-- generated: classes -->"
FIELDS = "<!-- generated: fields -->"
PRESETS = "<!-- generated: presets -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the markers of the reference, and of the API page of the classes."""
    if page.file.src_uri == API_PAGE:
        return markdown.replace(CLASSES, "\n\n".join(f"::: tfrcnn.{kind.__name__}" for kind in classes()))
    if page.file.src_uri != PAGE:
        return markdown
    fields = "\n\n".join(describe(kind) for kind in classes())
    presets = "\n\n".join(describe_preset(preset(name)) for name in preset_names())
    return markdown.replace(FIELDS, fields).replace(PRESETS, presets)


def classes() -> list[type]:
    """Every configuration class, each before the classes of its fields."""
    return list(dict.fromkeys([*_with_parts(configs.DetectorConfig), *_with_parts(configs.TrainingConfig)]))


def _with_parts(kind: type) -> Iterator[type]:
    yield kind
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        for part in (hints[field.name], *typing.get_args(hints[field.name])):
            if isinstance(part, type) and dataclasses.is_dataclass(part):
                yield from _with_parts(part)


def describe(kind: type) -> str:
    """One class as a section: its summary, then a table of its fields."""
    summary, meanings = parse(kind)
    lines = [f"### {kind.__name__}", "", summary, "", "| field | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        lines.append(row(f"`{field.name}`", f"`{field.type}`", _default(field), meanings.get(field.name, "")))
    return "\n".join(lines)


def parse(kind: type) -> tuple[str, dict[str, str]]:
    """Read a class's docstring.

    Returns:
        The text before `Attributes:`.
        The meaning of each field, by name.
    """
    meanings: dict[str, str] = {}
    text = []
    for section in Docstring(kind.__doc__ or "").parse("google", warnings=False):
        if section.kind is DocstringSectionKind.attributes:
            meanings |= {item.name: " ".join(item.description.split()) for item in section.value}
        elif section.kind is DocstringSectionKind.text:
            text.append(section.value)
    return "\n\n".join(text), meanings


def describe_preset(chosen: Preset) -> str:
    """One preset as a section: the fields in which it differs from the defaults."""
    lines = [f"### {chosen.detector.preset}", "", f"{chosen.summary[0].upper()}{chosen.summary[1:]}.", ""]
    lines += ["| field | value |", "|---|---|"]
    default = configs.DetectorConfig(backbone=configs.BackboneConfig(""))
    rows = [(f"detector.{name}", value) for name, value in _changes(chosen.detector, default) if name != "preset"]
    rows += [(f"training.{name}", value) for name, value in _changes(chosen.training, configs.TrainingConfig())]
    return "\n".join([*lines, *(row(f"`{name}`", f"`{value!r}`") for name, value in rows)])


def _changes(value: Any, default: Any) -> Iterator[tuple[str, Any]]:
    """The fields, at any depth, in which a configuration differs from another of its class."""
    for field in dataclasses.fields(value):
        new, old = getattr(value, field.name), getattr(default, field.name)
        if dataclasses.is_dataclass(new) and dataclasses.is_dataclass(old):
            yield from ((f"{field.name}.{name}", changed) for name, changed in _changes(new, old))
        elif new != old:
            yield field.name, new


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(field.default):
        name = type(field.default).__name__
        return f"[{name}](#{name.lower()}){_arguments(field.default)}"
    return f"`{field.default!r}`"


def _arguments(value: Any) -> str:
    """Show the fields that a nested default sets."""
    changed = [
        f"`{field.name}={getattr(value, field.name)!r}`"
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default and not dataclasses.is_dataclass(getattr(value, field.name))
    ]
    return f" with {', '.join(changed)}" if changed else ""
