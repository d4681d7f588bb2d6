"""The command line before any work: help, wrong options, and importing TensorFlow quietly."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tfrcnn import __version__
from tfrcnn.cli import main, options, startup
from tfrcnn.data.convert import WRITERS
from tfrcnn.errors import InputError
from tfrcnn.evaluation.evaluate import METRICS
from tfrcnn.models import preset_names
from tfrcnn.training.optimizer_names import KERAS
from tfrcnn.training.resolve import DEFAULT_EMA, DEFAULT_MODEL
from tfrcnn.training.schemes import SCHEMES
from tfrcnn.training.strategy import StrategyName
from tfrcnn.weights.importing import SOURCES

COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "export",
    "versions",
    "benchmark",
    "serve",
    "import-weights",
    "doctor",
    "data",
    "convert",
    "feed",
    "fetch",
    "demo",
)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**variables, **environment}, check=False)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["train", "--help"]], ids=" ".join)
def test_help_answers_without_importing_tensorflow(arguments: list[str]) -> None:
    code = f"""if True:
        import sys
        from tfrcnn.cli.main import main
        main({arguments})
        print({{"tensorflow", "keras", "numpy"}} & {{*sys.modules}})"""
    done = python(code)
    assert done.stdout.endswith("\nset()\n"), done.stderr


def test_help_answers_within_half_a_second() -> None:
    """Measure CPU time, which other work on the machine does not lengthen."""
    before = os.times()
    python("from tfrcnn.cli.main import main; main(['--help'])")
    after = os.times()
    assert after.children_user - before.children_user + after.children_system - before.children_system < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example_that_the_command_takes(command: str, tfrcnn: Callable) -> None:
    result = tfrcnn(command, "--help")
    assert (result.code, result.err) == (0, "")
    examples = re.findall(rf"^ +tfrcnn {command}(( .*\\\n)* .*)", result.out, re.M)
    assert examples
    known = set(re.findall(r"--[a-z-]+", result.out.split("Options:")[1]))
    for example, _ in examples:
        assert set(re.findall(r"--[a-z-]+", example)) <= known


def test_help_names_all_commands_presets_and_metrics(tfrcnn: Callable) -> None:
    listed = tfrcnn("--help").out.split("Commands:")[1]
    assert re.findall(r"^  ([\w-]+)", listed, re.M) == list(COMMANDS)
    assert preset_names() == options.PRESETS
    assert (options.DEFAULT_MODEL, options.DEFAULT_EMA) == (DEFAULT_MODEL, DEFAULT_EMA)
    assert set(get_args(options.Scheme)) == set(SCHEMES)
    assert set(get_args(options.Metric)) == set(METRICS)
    assert set(options.IMPORT_SOURCES) == set(SOURCES)
    assert tuple(KERAS) == options.OPTIMIZERS
    assert options.StrategyName == StrategyName
    assert set(get_args(options.TargetFormat)) == set(WRITERS)


def test_no_arguments_are_help_and_version_is_the_package_s(tfrcnn: Callable) -> None:
    assert tfrcnn() == tfrcnn("--help")
    assert tfrcnn("--version") == (0, f"tfrcnn {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "fly"),
        (["--fly"], "--fly"),
        (["train"], "--out"),
        (["train", "--out"], "--out"),
        (["train", "--out", "run", "--fly"], "--fly"),
        (["train", "--out", "run", "--epochs", "many"], "--epochs"),
        (["train", "--out", "run", "--metric", "best"], "'--metric'.*'coco'"),
        (["train", "--out", "run", "--seed", "-1"], "--seed"),
        (["train", "--out", "run", "--seed", str(2**30)], "--seed"),
        (["evaluate", "--model", "run"], "run: expected a run folder"),
        (["predict", "--model", "run", "--out", "x"], "IMAGE_OR_FOLDER"),
        (["predict", "a.jpg", "--model", "run", "--out", "x", "--score-threshold", "1.5"], "--score-threshold"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_option_is_one_line_and_exit_code_2(arguments: list[str], message: str, tfrcnn: Callable) -> None:
    result = tfrcnn(*arguments)
    assert (result.code, result.out) == (2, "")
    assert re.fullmatch(rf"error: .*{message}.*\n", result.err)


@pytest.mark.slow
def test_tensorflow_says_nothing() -> None:
    """It is quiet at import and when ops run. At log level 0 it prints something, so the test can fail."""
    code = """if True:
        from tfrcnn.cli.startup import load_tensorflow
        load_tensorflow()
        import gc, sys
        assert not {"matplotlib", "scipy", "sklearn"} & set(sys.modules)  # Keras imports them, which takes seconds
        assert gc.isenabled() and gc.get_freeze_count() > 100_000  # what the import made is not searched again
        import matplotlib.pyplot
        import scipy.sparse
        import tensorflow as tf
        import keras
        tf.transpose(tf.zeros([2, 3], tf.uint8))
        print(keras.backend.backend())"""
    done = python(code, KERAS_BACKEND="jax")
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensorflow\n", "")
    assert any(text in python(code, TF_CPP_MIN_LOG_LEVEL="0").stderr for text in startup.NOISE)


@pytest.mark.parametrize("end", ["pass", "os.abort()", "raise ImportError('no AVX')"])
def test_what_is_no_noise_is_shown_whatever_becomes_of_the_process(end: str) -> None:
    code = f"""if True:
        import os, sys
        from tfrcnn.cli.startup import filter_stderr
        filter_stderr()
        os.write(2, b"F0000 no AVX\\nI0000 {startup.NOISE[1]} You may\\n")
        print("from Python", file=sys.stderr)
        os.write(2, b"last words")
        {end}"""
    done = python(code)
    lines = done.stderr.splitlines()
    assert "from Python" in lines
    assert "F0000 no AVX" in lines
    assert any(line.startswith("last words") for line in lines)
    assert startup.NOISE[1] not in done.stderr
    assert ("Traceback" in done.stderr) == end.startswith("raise")
    assert (done.returncode == 0) == (end == "pass")


def test_what_is_no_noise_is_shown_at_once() -> None:
    """A user can read earlier messages if the import hangs."""
    code = """if True:
        import os, time
        from tfrcnn.cli.startup import filter_stderr
        filter_stderr()
        os.write(2, b"said\\n")
        time.sleep(100)"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "said\n"
        assert process.poll() is None
        process.kill()


def test_python_s_errors_stay_on_the_terminal() -> None:
    """A progress bar checks if sys.stderr is a terminal."""
    code = """if True:
        import os, sys
        from tfrcnn.cli.startup import filter_stderr
        before = os.fstat(2)
        filter_stderr()
        after, filtered = os.fstat(sys.stderr.fileno()), os.fstat(2)
        print(os.path.samestat(before, after), os.path.samestat(before, filtered))"""
    assert python(code).stdout == "True False\n"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("continue with --resume (Python: resume=True)", "continue with --resume"),
        ("or resume=True for the run in it", "or --resume for the run in it"),
    ],
)
def test_the_flag_that_continues_is_named_once(message: str, shown: str, monkeypatch, capsys) -> None:
    def fail(*_, **__):
        raise InputError(message)

    monkeypatch.setattr(main, "app", fail)
    assert main.main([]) == 2
    assert capsys.readouterr().err == f"error: {shown}\n"


@pytest.mark.parametrize("content", ['{"floatx": "float99"}', '{"epsilon": "x"}', "[]"])
def test_a_keras_json_that_keras_does_not_take_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text(content)
    (tmp_path / "a.json").write_text("{}")
    done = python(
        f"import sys; from tfrcnn.cli import main; sys.exit(main.main(['doctor', r'{tmp_path / 'a.json'}']))",
        KERAS_HOME=str(tmp_path),
    )
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*keras\.json: Keras does not take it: .*; correct or delete the file\n", done.stderr)


def test_a_damaged_installation_is_not_blamed_on_keras_json(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text("{}")
    (tmp_path / "keras.py").write_text("raise AttributeError('_ARRAY_API not found')")
    (tmp_path / "a.json").write_text("{}")
    done = python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from tfrcnn.cli import main; "
        f"sys.exit(main.main(['doctor', {str(tmp_path / 'a.json')!r}]))",
        KERAS_HOME=str(tmp_path),
    )
    assert "_ARRAY_API not found" in done.stderr
    assert "keras.json" not in done.stderr
