"""The fuzzer of videos, with few files: a damaged video is read as far as it goes, or refused in one line."""

from collections.abc import Callable
from types import ModuleType

import pytest

pytest.importorskip("av")


def test_a_damaged_video_is_read_or_refused_in_one_line(program: Callable[[str], ModuleType]) -> None:
    videos = program("videos")
    counts = videos.run(count=60, seed=1)
    assert [counts[name] for name in videos.ESCAPES] == [0, 0]
    assert counts["refused"]
    assert counts["whole"] + counts["in part"]


def test_an_escape_would_be_counted(program: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    videos = program("videos")
    monkeypatch.setattr(videos, "read_frames", lambda path: 1 / 0)
    assert videos.run(count=1, seed=1)["other error"] == 1
