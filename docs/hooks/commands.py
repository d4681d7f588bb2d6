"""Writes the command line reference from the commands themselves: every command with its options."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import typer
from tables import row

from tfrcnn.cli.main import app

PAGE = "command-line.md"
COMMANDS = "<!-- generated: commands -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the page's marker."""
    if page.file.src_uri != PAGE:
        return markdown
    return markdown.replace(COMMANDS, "\n\n".join(describe(name, command) for name, command in commands().items()))


def commands() -> dict[str, Any]:
    """The commands by name, in the order of `tfrcnn --help`."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def describe(name: str, command: Any) -> str:
    """One command as a section: its help text, then a table of its arguments and options."""
    context = command.context_class(command, info_name=f"tfrcnn {name}")
    lines = [f"## tfrcnn {name}", "", paragraphs(command.help), "", row("option", "meaning"), "|---|---|"]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            option = re.sub(r" <(?!.*\|).*>$", "", record[0])  # the Python type of an argument
            option = option.replace("|", " | ")  # so that a narrow column can break it
            lines.append(row(f"`{option}`", _escape(record[1])))
    return "\n".join(lines)


def paragraphs(text: str) -> str:
    r"""Turn a help text into Markdown.

    Click marks a paragraph whose lines must not be wrapped by a line `\b`; it becomes a block of code. Its first line,
    if it ends in a colon, stays text.
    """
    blocks = []
    for paragraph in textwrap.dedent(text).split("\n\n"):
        if "\b" not in paragraph:
            blocks.append(_escape(" ".join(paragraph.split())))
            continue
        lines = [line for line in paragraph.splitlines() if line.strip() not in ("", "\b")]
        if lines and lines[0].endswith(":") and not lines[0].startswith(" "):
            blocks.append(lines.pop(0))
        body = textwrap.dedent("\n".join(lines))
        blocks.append(f"```sh\n{body}\n```")
    return "\n\n".join(blocks)


def _escape(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")
