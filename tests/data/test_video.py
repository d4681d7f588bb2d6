"""Frames of videos: their number, times and direction, and what cannot be read."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

from tfrcnn.data import video  # noqa: E402
from tfrcnn.data.media import Camera  # noqa: E402
from tfrcnn.data.video import VideoWriter, read_frames  # noqa: E402
from tfrcnn.errors import InputError  # noqa: E402

COUNT = 6


def marked(height: int = 48, width: int = 80) -> np.ndarray:
    """A black frame with a red corner at the top left."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:20, :20] = 255, 0, 0
    return pixels


def write(path: Path, **size: int) -> Path:
    with VideoWriter(path) as writer:
        for i in range(COUNT):
            writer.write(marked(**size), i / 10)
    return path


def red_corner(pixels: np.ndarray) -> str:
    corners = {"top left": pixels[5, 5], "top right": pixels[5, -5], "bottom left": pixels[-5, 5]}
    return next(name for name, pixel in corners.items() if pixel[0] > 200)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (49, 81)])
def test_frames_are_read_as_they_were_written(tmp_path: Path, height: int, width: int) -> None:
    frames = list(read_frames(write(tmp_path / "a.mp4", height=height, width=width)))
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert [frame.seconds for frame in frames] == pytest.approx([i / 10 for i in range(COUNT)])
    assert frames[0].pixels.shape == (height + height % 2, width + width % 2, 3)
    assert red_corner(frames[-1].pixels) == "top left"


def test_frames_of_a_phone_are_turned_upright(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(marked(), format="rgb24")))
        container.mux(stream.encode(None))
    (frame,) = read_frames(tmp_path / "a.mp4")
    assert frame.pixels.shape == (80, 48, 3)
    assert red_corner(frame.pixels) == "bottom left"  # counter-clockwise


def test_times_that_stand_still_or_are_missing_still_give_every_frame(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        for seconds in (None, None, 0.0, 0.0, 0.5):
            writer.write(marked(), seconds)
        writer.write(marked(96, 160), 0.6)  # of another size
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 6


@pytest.mark.parametrize("name", ["a%03d.mp4", "concat:a.mp4", "-i.mp4", "caf\udce9.mp4"])
def test_a_video_of_any_name_is_read(tmp_path: Path, name: str) -> None:
    assert len(list(read_frames(write(tmp_path / name)))) == COUNT


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 5000, "half"])
def test_a_damaged_video_is_one_line_that_names_it(tmp_path: Path, content: Any) -> None:
    path = write(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:600] if content == "half" else content)
    with pytest.raises(InputError, match=r"a\.mp4: expected a video .* found an error at its start: .") as error:
        list(read_frames(path))
    assert "\n" not in str(error.value)


def test_a_title_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    content = path.read_bytes()
    assert b"VideoHandler" in content
    path.write_bytes(content.replace(b"VideoHandler", b"Video\xffandler"))
    assert len(list(read_frames(path))) == COUNT


def test_a_file_with_sound_only_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="expected a video, found a file without one"):
        list(read_frames(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("platform", "message"),
    [
        ("linux", "camera 97: (expected a camera at /dev/video97, found none|cameras cannot be read by number)"),
        ("win32", "camera 97: cameras cannot be read by number with the system win32: record a video"),
    ],
)
def test_a_camera_that_cannot_be_read_is_refused_with_another_way(
    platform: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(InputError, match=message):
        list(read_frames(Camera(97)))


def test_frames_of_a_device_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's generator of test pictures stands in for a camera; both are devices."""
    monkeypatch.setitem(video._DEVICES, sys.platform, ("lavfi", "testsrc=duration=0.2:rate=10:size=64x48"))
    assert [frame.pixels.shape for frame in read_frames(Camera(0))] == [(48, 64, 3)] * 2


def test_without_pyav_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install av"):
        list(read_frames(Path("a.mp4")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_one_error_that_names_the_video_and_nothing_else_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """PyAV prints the errors of a file that follow the first one."""
    path = tmp_path / "a.mp4"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(path)
    assert caught.value.filename == str(path)
    assert capfd.readouterr() == ("", "")
