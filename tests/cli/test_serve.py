"""`tfrcnn serve`: what it serves, what it refuses, and its options. The server itself is tested in export/serving."""

import importlib.util
import inspect
import json
import socket

import pytest

from tfrcnn.cli import serve as command
from tfrcnn.cli.serve import read_token
from tfrcnn.errors import InputError
from tfrcnn.export.serving import server
from tfrcnn.export.serving.protocol import Limits


@pytest.fixture
def saved_model(tmp_path):
    """A folder of versions that look like SavedModels; the server does not load them."""
    for version in ("9", "10"):
        (tmp_path / "cells" / version).mkdir(parents=True)
        (tmp_path / "cells" / version / "saved_model.pb").touch()
    (tmp_path / "cells" / "11").mkdir()  # being copied
    return tmp_path / "cells"


def test_a_run_folder_is_served(tfrcnn, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    calls = []
    monkeypatch.setattr(server, "run", lambda *arguments: calls.append(arguments) or 0)
    assert tfrcnn("serve", "--model", tmp_path / "run").code == 0
    assert calls[0][0].command[-2] == str(tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no/such.onnx"], "no/such.onnx: expected a run folder"),
        (["--model", "x.onnx", "--port", "70000"], "--port"),
        (["--model", "x.onnx", "--workers", "0"], "--workers"),
        (["--model", "x.onnx", "--name", "a/b"], "--name: expected a name without / and :, found 'a/b'"),
        (["--model", "x.onnx", "--max-seconds", "inf"], "--max-seconds: expected a number, found inf"),
        ([], "--model"),
    ],
)
def test_a_wrong_option_is_one_line(tfrcnn, arguments, message):
    result = tfrcnn("serve", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_the_token_may_end_with_a_line_break_as_secrets_in_files_do(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "abc.d\n")
    assert read_token() == "abc.d"
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret key")
    with pytest.raises(InputError, match=r"^LABEL_STUDIO_API_KEY: expected a token in ASCII") as refused:
        read_token()
    assert "secret" not in str(refused.value)


def test_a_port_that_is_taken_is_one_line(tfrcnn, saved_model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = tfrcnn("serve", "--model", saved_model, "--port", port)
    assert result.code == 2
    assert result.err.startswith(f"error: cannot listen at 127.0.0.1:{port}: Address already in use: choose another")


def test_an_address_that_is_none_is_one_line(tfrcnn, saved_model):
    result = tfrcnn("serve", "--model", saved_model, "--host", "no.such.host.invalid")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "cannot listen at no.such.host.invalid:8501" in result.err


def test_a_missing_package_is_named_with_the_command_that_installs_it(tfrcnn, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    result = tfrcnn("serve", "--model", "x.onnx")
    assert (result.code, result.err) == (2, "error: the server needs uvicorn: pip install uvicorn\n")


def test_the_newest_version_is_served_with_the_options(tfrcnn, saved_model, monkeypatch):
    calls = []
    monkeypatch.setattr(server, "run", lambda *arguments: calls.append(arguments) or 0)
    options = ["--port", "0", "--workers", "3", "--threads", "2", "--max-images", "5", "--score-threshold", "0.7"]
    assert tfrcnn("serve", "--model", saved_model, *options).code == 0
    pool, name, version, host, port, grace, choices, follower = calls[0]
    assert follower is None
    assert (name, version, host, port, grace) == ("detector", "10", "127.0.0.1", 0, 8.0)
    assert (pool.count, pool.limits.images, choices.score_threshold) == (3, 5, 0.7)
    path, limits, threads = pool.command[-3:]
    assert (path, threads) == (str(saved_model / "10"), "2")
    assert Limits(**json.loads(limits)) == pool.limits


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
def test_versions_of_files_are_served_and_followed(tfrcnn, tmp_path, monkeypatch, name):
    for version, content in (("1", b"1234TFL3"), ("2", b"1234TFL3"), ("rolled-back-3", b"")):
        (tmp_path / version).mkdir()
        (tmp_path / version / name).write_bytes(content)
    calls = []
    monkeypatch.setattr(server, "run", lambda *arguments: calls.append(arguments) or 0)
    assert tfrcnn("serve", "--model", tmp_path, "--follow", "--threads", "3").code == 0
    pool, _, version, *_, follower = calls[0]
    assert (version, follower.folder) == ("2", tmp_path.resolve())
    assert pool.command == follower.command(tmp_path.resolve() / "2" / name)


def test_a_newest_version_that_is_no_detector_is_left_to_the_server_to_follow(tfrcnn, tmp_path, monkeypatch):
    for version, content in (("1", b"1234TFL3"), ("2", b"1234TFL3"), ("3", b"")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.tflite").write_bytes(content)
    calls = []
    monkeypatch.setattr(server, "run", lambda *arguments: calls.append(arguments) or 0)
    assert tfrcnn("serve", "--model", tmp_path, "--follow").code == 0
    assert calls[0][2] == "2"
    result = tfrcnn("serve", "--model", tmp_path)
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "3/model.tflite: expected a run folder" in result.err


def test_only_a_folder_of_versions_can_be_followed(tfrcnn, saved_model):
    result = tfrcnn("serve", "--model", saved_model / "9", "--follow")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "--follow: expected a folder of versions on this machine as --model, found" in result.err


def test_a_model_that_cannot_be_loaded_is_an_error(tfrcnn, saved_model, monkeypatch):
    monkeypatch.setattr(server, "run", lambda *arguments: 1)
    assert tfrcnn("serve", "--model", saved_model).code == 2


def test_the_limits_of_the_command_are_the_servers():
    parameters = inspect.signature(command.serve).parameters
    for field in Limits.__dataclass_fields__:
        assert parameters[f"max_{field}"].default == getattr(Limits, field)
