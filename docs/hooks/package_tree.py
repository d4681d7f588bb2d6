"""Lays the package out as users install it, so that the API reference finds `tfrcnn.export`.

In the repository `tfrcnn.export` is the folder `export/`, next to `tfrcnn/` and not in it. The tool that reads the
docstrings looks for packages in `build/api` (`mkdocs.yml`), where this hook puts a copy with `export/` inside.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


@event_priority(100)
def on_config(config: Any) -> None:
    """Copy the package before the plugins start: they skip search paths that do not exist."""
    root = Path(config.config_file_path).parent
    copy_package(root, root / "build" / "api")


def copy_package(root: Path, folder: Path) -> Path:
    """Copy `tfrcnn/` and `export/` as one package.

    Args:
        root: the repository.
        folder: the new parent of the package; replaced if it exists.

    Returns:
        The folder of the copied package.
    """
    package = folder / "tfrcnn"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "tfrcnn", package, ignore=IGNORED)
    shutil.copytree(root / "export", package / "export", ignore=IGNORED)
    return package
