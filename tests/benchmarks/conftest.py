"""Fixture that imports the programs of benchmarks/paper from their folder, as they run."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "paper"


@pytest.fixture
def program(monkeypatch):
    """Return a function that imports a program by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in {path.stem for path in FOLDER.glob("*.py")} & set(sys.modules):
        del sys.modules[name]
