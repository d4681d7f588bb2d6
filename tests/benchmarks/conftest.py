"""Fixture that imports the programs of benchmarks/ and its folders, as they run."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FOLDERS = (BENCHMARKS, BENCHMARKS / "paper", BENCHMARKS / "robustness")


@pytest.fixture
def program(monkeypatch):
    """Return a function that imports a program by its name."""
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(folder)
    yield importlib.import_module
    for name in {path.stem for folder in FOLDERS for path in folder.glob("*.py")} & set(sys.modules):
        del sys.modules[name]
