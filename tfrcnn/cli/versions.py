"""`tfrcnn versions`: list the published versions of a model, and go back to the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.errors import InputError

DIGITS = 12  # of a checksum; enough to tell versions apart


def versions(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that tfrcnn export --publish wrote.")],
    rollback: Annotated[
        bool,
        typer.Option(
            "--rollback", help="Go back to the version before the newest one, which is renamed to rolled-back-NUMBER."
        ),
    ] = False,
) -> None:
    """List the published versions of a model, with the verdicts of their verification.

    Servers serve the highest number. With --rollback, they serve the one before it again: TensorFlow Serving and tfrcnn
    serve --follow within seconds, others when they start again. The newest version is kept, and no other version gets
    its number.

    \b
    Example:
      tfrcnn export --model runs/cells --format saved_model --publish models/cells
      tfrcnn versions models/cells
      tfrcnn versions models/cells --rollback
    """
    from tfrcnn.export.versions import list_versions
    from tfrcnn.export.versions import rollback as roll_back

    if rollback:
        version = roll_back(folder)
        print(f"Version {version.number} of {folder} is the newest again.")
    rows = list_versions(folder)
    if not rows:
        raise InputError(f"{folder}: expected a folder of versions (tfrcnn export --publish {folder}), found none")
    newest = max((row.number for row in rows if not row.rolled_back), default=None)
    table: list[tuple[str, ...]] = [
        ("version", "published (UTC)", "verdict", "format", "precision", "sha256", "MB", "")
    ]
    for row in rows:
        state = "rolled back" if row.rolled_back else "newest" if row.number == newest else ""
        date = row.published[:19].replace("T", " ")
        known = (value or "unknown" for value in (date, row.verdict, row.format, row.precision, row.sha256[:DIGITS]))
        table.append((str(row.number), *known, f"{row.size_bytes / 1e6:.1f}", state))
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
