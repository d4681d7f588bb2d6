"""The terminal and the disk: nothing that a name holds reaches the terminal, no fault of a disk shows a traceback."""

import errno
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tfrcnn.cli import main as cli
from tfrcnn.cli.console import console, file_fault
from tfrcnn.cli.main import main
from tfrcnn.config import Category
from tfrcnn.models import build_detector, load_detector, preset, save_detector

NAMES = ["세포", "\x1b[2J\x1b[31mred", "two\nlines"]


@pytest.fixture
def data(tmp_path, coco):
    """Return a data set with names that a terminal would obey or cannot show."""
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]
    return coco(tmp_path / "그림", categories=categories)


# prints, and needs no TensorFlow
HELP = "import sys; from tfrcnn.cli.main import main; sys.exit(main([]))"


@pytest.mark.slow
def test_names_do_not_reach_the_terminal_raw(tfrcnn, data):
    code, out, err = tfrcnn("doctor", "--data", data)
    assert code == 0, err
    assert "세포" in out
    assert r"\x1b[2J\x1b[31mred" in out
    assert "\x1b" not in out + err


@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_names_that_a_locale_cannot_encode_are_printed_as_escapes(locale):
    code = "from tfrcnn.cli.console import console\nwith console(): print('\\uc138 \\udcff')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={**os.environ, **locale, "LANG": "C"}
    )
    assert done.stdout.endswith(b"\\udcff\n")


def test_a_file_name_that_the_locale_or_unicode_does_not_have_is_one_line():
    for encoding, advice in (("ascii", "LC_ALL=C.UTF-8"), ("utf-8", "rename it")):
        with pytest.raises(UnicodeEncodeError) as caught:
            "세\udcff".encode(encoding)
        assert advice in file_fault(caught.value)


def test_a_missing_file_whose_name_is_not_utf8_is_one_line(tfrcnn, tmp_path):
    code, _, err = tfrcnn("doctor", "--data", tmp_path / os.fsdecode(b"\xff\x1b.json"))
    assert code == 2
    assert r"\udcff\x1b.json" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_behind_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", HELP], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: <stdout>: No space left on device (free some space or choose another place)"
    ]


def test_a_reader_that_goes_ends_the_command_without_a_word():
    with subprocess.Popen(
        [sys.executable, "-c", HELP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_closed_streams_are_quiet_and_no_file_takes_their_number(tmp_path):
    code = """if True:
        import sys
        from tfrcnn.cli.console import console
        with console():
            print(1)
            assert open(sys.argv[1], "w").fileno() > 2"""
    command = '"$0" -c "$1" "$2" <&- >&- 2>&-'
    words = [sys.executable, code, str(tmp_path / "report.json")]
    assert subprocess.run(["sh", "-c", command, *words], check=False).returncode == 0


def test_a_path_below_a_file_is_one_line(tfrcnn, data):
    code, out, err = tfrcnn("doctor", "--data", data, "--json", data / "report.json")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {data}: ")
    assert "a file is where a folder is expected" in err
    assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC])
def test_a_disk_that_fails_while_a_report_is_written_is_one_line_and_the_old_report_stays(
    tfrcnn, data, tmp_path, monkeypatch, number
):
    report = tmp_path / "report.json"
    report.write_text('"old"', encoding="utf-8")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = tfrcnn("doctor", "--data", data, "--json", report)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {report}: {os.strerror(number)} (")
    assert report.read_text(encoding="utf-8") == '"old"'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "그림"]


def test_faults_of_disks_are_known_in_the_words_of_hdf5_and_tensorflow():
    hdf5 = OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")
    assert file_fault(hdf5).startswith("No space left on device (free some space")
    tensorflow = RuntimeError("/out/variables.data; No space left on device [Op:SaveV2]")
    assert file_fault(tensorflow).startswith("/out/variables.data: No space left on device")
    assert file_fault(KeyError("x")) is None
    bug = KeyError("x")
    bug.__context__ = hdf5
    assert file_fault(bug).startswith("No space left")  # libraries hide the cause there
    bug.__suppress_context__ = True  # `raise ... from None`
    assert file_fault(bug) is None
    assert file_fault(FileNotFoundError(errno.ENOENT, "No such file or directory", "a")).startswith("a: No such file")
    temporary = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert file_fault(temporary).endswith("found in ['/tmp'] (set TMPDIR to a folder that can be written)")


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch):
    def fail(*arguments, **options):
        raise KeyError("a bug")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(KeyError, match="a bug"):
        main(["doctor"])


def test_streams_are_the_callers_again_after_a_command(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with console():
        print("\x1b[1mbold\tnext\r\n", end="")
    assert sys.stdout is stream
    assert stream.getvalue() == "\\x1b[1mbold\tnext\r\n"


@pytest.mark.slow
def test_weights_on_a_full_disk_are_an_error_and_the_detector_that_was_there_stays(tmp_path):
    detector = build_detector(preset("tiny_fpn", (Category(1, "a"),)).detector)
    save_detector(detector, tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as a full disk: HDF5 would end the process
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save_detector(detector, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value.filename).endswith(".weights.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    loaded = load_detector(tmp_path)
    for mine, other in zip(detector.get_weights(), loaded.get_weights()):
        np.testing.assert_array_equal(mine, other)
    assert h5py.is_hdf5(next(tmp_path.glob("*.h5")))
