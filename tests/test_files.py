"""Files are replaced whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from tfrcnn.data.remote import address_of
from tfrcnn.errors import InputError
from tfrcnn.files import atomic, atomic_folder, cache_folder, is_free, read_json, read_object, reserve, write_json


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail_halfway():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_process_left_is_overwritten_and_goes(tmp_path):
    (tmp_path / ".a.tmp.json").write_text("half of a much longer file")
    write_json(tmp_path / "a.json", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / ".a.tmp").mkdir()
    (tmp_path / ".a.tmp" / "left by a kill").touch()
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "b").touch()
        assert not (tmp_path / "a").exists()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b"]
    with pytest.raises(InputError, match="a exists"), atomic_folder(tmp_path / "a"):
        pass
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "c") as folder:
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b"]


def test_the_temporary_file_keeps_both_endings(tmp_path):
    # Keras chooses the format of a weights file by its suffix
    with atomic(tmp_path / "model.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.touch()


def test_text_that_is_not_json_is_an_error_with_line_and_column(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n  b}')
    with pytest.raises(InputError, match=r"a.json: not JSON: .*line 2 column 3"):
        read_json(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_each_encoding_that_windows_writes(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_bytes('{"name": "세포"}'.encode(encoding))
    assert read_object(path) == {"name": "세포"}
    path.write_bytes('{"name": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"a.json: not JSON: 'utf-8' codec can't decode byte 0xe9"):
        read_object(path)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e400", "-1e400", "1" + 400 * "0", "1" + 5000 * "0"])
def test_a_number_that_nothing_can_compute_with_is_an_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": [{text}]}}')
    with pytest.raises(InputError, match=r"a.json: not JSON: expected finite numbers up to 1.8e308, found -?[1NI]"):
        read_json(path)


def test_a_folder_a_deep_nesting_and_another_type_are_errors_that_name_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"a.json: not JSON that can be read: it is nested too deeply"):
        read_json(path)
    path.write_text("[1]")
    with pytest.raises(InputError, match=r"a.json: expected a JSON object, found list"):
        read_object(path)
    with pytest.raises(InputError, match="expected a JSON file, found a folder"):
        read_json(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_is_an_error_that_names_the_file_and_the_old_file_stays(tmp_path, monkeypatch, number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "a.json"
    write_json(path, "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write_json(path, "new")
    assert caught.value.filename == str(path)
    assert read_json(path) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_copy_to_a_full_disk_names_the_copy_and_not_its_source(tmp_path):
    full, missing = (errno.ENOSPC, "No space left"), (errno.ENOENT, "No such file")
    for error, name in (((*full, "b.png", None), "a/c.png"), ((*missing, "b.png"), "b.png")):

        def fail(folder, error=error):
            copy = (str(folder / "c.png"),) if len(error) == 4 else ()
            raise OSError(*error, *copy)

        with pytest.raises(OSError, match="No s") as caught, atomic_folder(tmp_path / "a") as folder:
            fail(folder)
        assert str(caught.value.filename).endswith(name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_an_error_that_names_the_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="Not a directory") as caught, atomic_folder(tmp_path / "a/b"):
        pass
    assert caught.value.filename == str(tmp_path / "a/b")


def test_json_keeps_a_name_that_is_no_unicode(tmp_path):
    write_json(tmp_path / "a.json", {"세포": "\udcff\x1b"})
    assert read_json(tmp_path / "a.json") == {"세포": "\udcff\x1b"}
    (tmp_path / "a.json").read_bytes().decode("utf-8")


def test_room_is_made_for_a_file_and_the_file_is_empty_then(tmp_path):
    reserve(tmp_path / "a", 100_000)
    assert (tmp_path / "a").stat().st_size == 0


@pytest.mark.parametrize("address", ["s3://bucket/run", "gs://bucket/run/a.json", "hdfs://host:9000/run"])
def test_an_address_to_write_to_is_refused_with_what_to_do(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (lambda path: write_json(path, 1), lambda path: atomic_folder(path).__enter__(), is_free):
        with pytest.raises(
            InputError, match=f"{address}: expected a path on this machine .* copy it, for example with"
        ):
            write(Path(address))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a:/b.json", "a b:/c.json", "b/s3:/c.json"])
def test_a_name_with_a_colon_is_a_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json(name, 1)
    assert read_json(name) == 1


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="expected a file to write, found a device or a pipe"):
        write_json(tmp_path / "pipe", {})
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "a.json").write_text("before")
    (tmp_path / "link.json").symlink_to("a.json")
    write_json(tmp_path / "link.json", {})
    assert (tmp_path / "link.json").is_symlink()
    assert read_json(tmp_path / "a.json") == {}


def test_a_home_that_no_shell_has_replaced_does_not_become_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (lambda: write_json("~/a.json", {}), lambda: is_free(Path("~/run"))):
        with pytest.raises(InputError, match=r"~/.*: expected a path, found a ~ that the shell has left; write \$HOME"):
            write()
    assert list(tmp_path.iterdir()) == []


def test_the_cache_may_be_below_the_home_that_no_shell_has_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFRCNN_CACHE", "~/downloads")
    assert cache_folder("data") == tmp_path / "home/downloads/data"
    monkeypatch.delenv("TFRCNN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / "home/.cache/tfrcnn"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home, as in some containers
    with pytest.raises(InputError, match=r"^~/\.cache/tfrcnn: expected .* found no home folder: set TFRCNN_CACHE"):
        cache_folder()
    assert address_of(tmp_path / "data.json") is None  # data on this machine need no cache
