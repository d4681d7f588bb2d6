"""Downloads from a real server: whole, cut, resumed, wrong."""

import errno
import hashlib
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tfrcnn.data import download as module
from tfrcnn.data.download import RemoteFile, download
from tfrcnn.errors import InputError

CONTENT = bytes(range(256)) * 40  # 10240 bytes whose values show their position


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))


@pytest.fixture
def file(server):
    server.files["a.tar"] = CONTENT
    return RemoteFile(server.url("a.tar"), len(CONTENT), f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")


def test_a_file_arrives_whole_in_one_request(server, file, tmp_path):
    assert file.missing(tmp_path) == 10240
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    assert file.missing(tmp_path) == 0


def test_md5_is_checked_too(server, file, tmp_path):
    md5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    assert download(RemoteFile(file.url, file.size, md5), tmp_path).read_bytes() == CONTENT


def test_after_a_cut_connection_the_rest_is_asked_for(server, file, tmp_path):
    server.cuts = [1000, 2000]
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000-", "bytes=3000-"]


def test_the_next_call_goes_on_where_a_lost_one_ended(server, file, tmp_path):
    server.cuts = [1000, 0, 0, 0]
    with pytest.raises(InputError, match=r"connection was lost \(.*\) after 1,000 of 10,240 bytes; run the same"):
        download(file, tmp_path)
    assert file.missing(tmp_path) == 9240
    server.requests.clear()
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_a_server_without_ranges_begins_anew_and_the_file_is_right(server, file, tmp_path):
    server.ranges, server.cuts = False, [1000]
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000-"]


def test_a_server_without_ranges_that_is_cut_again_costs_nothing_that_is_there(server, file, tmp_path):
    server.ranges, server.cuts = False, [500, 500, 500]
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:1000])
    with pytest.raises(InputError, match=r"connection was lost \(.*\) after 1,000 of 10,240 bytes; run the same"):
        download(file, tmp_path)
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT[:1000]
    assert download(file, tmp_path).read_bytes() == CONTENT


def test_a_part_of_the_file_that_does_not_say_which_is_refused(server, file, tmp_path):
    server.says_range = False
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:1000])
    with pytest.raises(InputError, match=r"expected the bytes from 1,000 on, the server sends no Content-Range"):
        download(file, tmp_path)


def test_a_network_that_goes_away_while_bytes_arrive_is_asked_again(server, file, tmp_path, monkeypatch):
    read, calls = HTTPResponse.read, []

    def read_then_lose(response, size):
        calls.append(size)
        if len(calls) == 2:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return read(response, 1000)

    monkeypatch.setattr(HTTPResponse, "read", read_then_lose)
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000-"]


def test_a_part_that_cannot_be_written_is_one_line(server, file, tmp_path):
    (tmp_path / "a.tar.part").mkdir()
    with pytest.raises(InputError, match=r"a.tar.part: Is a directory$"):
        download(file, tmp_path)
    assert server.requests == [None]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing_to_go_on_from(server, file, tmp_path):
    server.files["a.tar"] = CONTENT[:-1] + b"x"
    with pytest.raises(
        InputError, match=r"a.tar.part: expected the sha256 [0-9a-f]{64}, found .* the file was removed"
    ):
        download(file, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_a_byte_is_written(server, file, tmp_path):
    server.files["a.tar"] = CONTENT + b"x"
    with pytest.raises(InputError, match=r"expected 10,240 bytes, the server has 10,241"):
        download(file, tmp_path)
    (tmp_path / "a.tar.part").write_bytes(CONTENT[:1000])
    with pytest.raises(InputError, match=r"expected 10,240 bytes, the server has 10,241"):
        download(file, tmp_path)
    assert (tmp_path / "a.tar.part").read_bytes() == CONTENT[:1000]


def test_a_part_longer_than_the_file_is_begun_anew(server, file, tmp_path):
    (tmp_path / "a.tar.part").write_bytes(b"x" * 10241)
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None]


def test_what_the_server_does_not_have_is_one_line(server, file, tmp_path):
    with pytest.raises(InputError, match=r"^http.*/b.tar: expected the file, the server answers 404 Not Found$"):
        download(RemoteFile(server.url("b.tar"), 1, "md5:"), tmp_path)


def test_without_a_connection_the_error_says_what_to_do(server, file, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"127.0.0.1 cannot be reached \(.*\). Without a network, copy http"):
        download(file, tmp_path)


def test_a_server_that_is_busy_for_a_while_is_asked_again(server, file, tmp_path, monkeypatch):
    server.cuts = [1000]
    receive, calls = module._receive, []

    def receive_once_in_between(*arguments):
        calls.append(1)
        server.failing = 503 if len(calls) == 2 else None
        return receive(*arguments)

    monkeypatch.setattr(module, "_receive", receive_once_in_between)
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000-", "bytes=1000-"]


def test_a_file_that_was_brought_is_checked_and_taken(server, file, tmp_path):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    assert download(file, tmp_path) == tmp_path / "a.tar"
    (tmp_path / "a.tar").write_bytes(CONTENT[1:] + b"x")
    with pytest.raises(InputError, match=r"expected the sha256 .*; remove it and run the same command again$"):
        download(file, tmp_path)
    assert (tmp_path / "a.tar").is_file()  # the file is the user's
    assert server.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line(server, file, tmp_path):
    (tmp_path / "a.tar.part").symlink_to("/dev/full")
    with pytest.raises(
        InputError, match=r"a.tar.part: the disk is full; free some space and run the same command again"
    ):
        download(file, tmp_path)


class TestAFileWhoseSizeIsNotPublished:
    @pytest.fixture
    def file(self, file):
        return RemoteFile(file.url, None, file.checksum[: len("sha256:") + 8])

    def test_arrives_whole_and_the_first_digits_of_its_checksum_are_checked(self, server, file, tmp_path):
        assert file.missing(tmp_path) == 0
        assert download(file, tmp_path).read_bytes() == CONTENT
        assert server.requests == [None]
        (tmp_path / "a.tar").unlink()
        server.files["a.tar"] = CONTENT[:-1] + b"x"
        with pytest.raises(InputError, match=r"expected the sha256 [0-9a-f]{8}, found [0-9a-f]{64}; the file was"):
            download(file, tmp_path)

    def test_is_continued_after_cuts_in_one_call_or_two(self, server, file, tmp_path):
        server.cuts = [1000, 2000, 0, 0, 0]
        with pytest.raises(InputError, match=r"connection was lost \(.*\) after 3,000 of 10,240 bytes; run the same"):
            download(file, tmp_path)
        assert download(file, tmp_path).read_bytes() == CONTENT
        assert server.requests[0] is None
        assert server.requests[-1] == "bytes=3000-"

    def test_is_taken_if_only_its_last_step_was_missing(self, server, file, tmp_path):
        (tmp_path / "a.tar.part").write_bytes(CONTENT)
        assert download(file, tmp_path).read_bytes() == CONTENT
        assert server.requests == ["bytes=10240-"]

    def test_is_checked_by_its_digits_alone_if_the_server_names_no_length(self, server, file, tmp_path):
        server.says_length, server.cuts = False, [5000]
        with pytest.raises(
            InputError, match=r"expected the sha256 .* the file was removed, run the same command again"
        ):
            download(file, tmp_path)
        assert download(file, tmp_path).read_bytes() == CONTENT

    def test_that_changes_on_the_server_meanwhile_is_refused(self, server, file, tmp_path, monkeypatch):
        server.cuts = [1000]
        receive = module._receive

        def receive_then_change(*arguments):
            result = receive(*arguments)
            server.files["a.tar"] = CONTENT + b"x"
            return result

        monkeypatch.setattr(module, "_receive", receive_then_change)
        with pytest.raises(InputError, match=r"expected 10,240 bytes, the server has 10,241"):
            download(file, tmp_path)
