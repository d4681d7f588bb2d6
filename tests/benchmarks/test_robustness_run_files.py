"""The fuzzer of the files that a later command reads back, with few files."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


def test_a_damaged_file_of_an_earlier_command_is_read_or_refused_in_one_line(
    program: Callable[[str], ModuleType],
) -> None:
    pytest.importorskip("pyarrow")
    counts, escapes = program("run_files").fuzz(360, 1)
    assert escapes == []
    assert sum(count for result, count in counts.items() if result.endswith("refused")) > 60
    assert sum(count for result, count in counts.items() if result.endswith("accepted")) > 30


def test_an_escape_would_be_counted(program: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    files = program("run_files")
    monkeypatch.setattr(files, "read_region", lambda path: 1 / 0)
    counts, escapes = files.fuzz(8, 1)
    assert counts["escaped"] == 1
    assert escapes[0].startswith("region.json: ZeroDivisionError")
