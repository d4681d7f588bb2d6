"""Results that take too long for a notebook: each is stored next to the command that computes it.

from stored import stored

stored("selective_search")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "measured"


def stored(name: str) -> Any:
    """Read notebooks/measured/NAME.json.

    Example:
        stored("details")["rows"]
    """
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
