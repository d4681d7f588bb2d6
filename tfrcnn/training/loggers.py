"""Logs of a run for TensorBoard, Weights & Biases and MLflow: the numbers of `history.csv`, by the same names.

The x axis is "step", the updates of the weights. A resumed run continues its log: `loggers.json` in the run folder
keeps the names of the loggers, their identity, and how many rows each has.

A server that is away does not end a run: the rows that a log lacks are written at the end of the next epoch, or of the
run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import keras
import tensorflow as tf

from tfrcnn.errors import InputError, reason_of
from tfrcnn.files import read_json, write_json
from tfrcnn.printable import shorten

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")  # "csv" is history.csv, which every run has
RECORD = "loggers.json"
PROJECT = "tfrcnn"  # name of the project in Weights & Biases and of the experiment in MLflow

_LOGIN = re.compile(r"//[^/@\s]*@")  # in an address anywhere in a text
_MAX_REASON = 300  # characters of another library's message

Row = dict[str, Any]


class Log(Protocol):
    """Where a logger writes to."""

    def write(self, scores: dict[str, float], step: int) -> None:
        """Add numbers by name."""

    def close(self, failed: bool) -> None:
        """End the log, of a run that failed or not; a later process may continue it."""


class TensorBoardLog:
    """Event files in `tensorboard/` of the run folder."""

    def __init__(self, out: Path) -> None:
        self.writer = tf.summary.create_file_writer(str(out / "tensorboard"))

    def write(self, scores: dict[str, float], step: int) -> None:
        with self.writer.as_default():
            for name, value in scores.items():
                tf.summary.scalar(name, value, step=step)
        self.writer.flush()

    def close(self, failed: bool) -> None:
        self.writer.close()


class WandbLog:
    """A run of Weights & Biases in the mode of WANDB_MODE; its files are in `wandb/` of the run folder."""

    def __init__(self, out: Path, identity: str, config: dict[str, Any]) -> None:
        """
        Args:
            out: the run folder.
            identity: of the run, the same in every process.
            config: JSON values that describe the run.
        """
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=identity,
            name=out.name,
            dir=str(out),
            config=config,
            resume="allow",
            settings=wandb.Settings(console="off"),
        )

    def write(self, scores: dict[str, float], step: int) -> None:
        self.run.log(scores, step=step)

    def close(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class MLflowLog:
    """A run of MLflow at MLFLOW_TRACKING_URI, or in the file `mlflow.db` of the run folder."""

    def __init__(self, out: Path, identity: str, config: dict[str, Any]) -> None:
        """As `WandbLog`; runs are identified by a tag, since MLflow chooses their ids."""
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient

        self.metric = Metric
        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.absolute()}/mlflow.db")
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else self.client.create_experiment(name)
        runs = self.client.search_runs([experiment_id], f"tags.tfrcnn = '{identity}'")
        if runs:
            self.run_id = runs[0].info.run_id
            self.client.update_run(self.run_id, "RUNNING")
            return
        self.run_id = self.client.create_run(experiment_id, tags={"tfrcnn": identity}, run_name=out.name).info.run_id
        params = [Param(key, str(value)) for key, value in config.items()]
        self.client.log_batch(self.run_id, params=params, tags=[RunTag("folder", str(out))])

    def write(self, scores: dict[str, float], step: int) -> None:
        now = int(1000 * time.time())
        self.client.log_batch(self.run_id, [self.metric(name, value, now, step) for name, value in scores.items()])

    def close(self, failed: bool) -> None:
        self.client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


class HistoryLogs(keras.callbacks.Callback):
    """Writes each new row of a run's history to its logs; comes after `EndOfEpoch`."""

    def __init__(self, out: Path, record: dict[str, Any], logs: Mapping[str, Log]) -> None:
        """
        Args:
            out: the run folder.
            record: the content of `loggers.json`.
            logs: to write to, by name.
        """
        super().__init__()
        self.out, self.record, self.logs = out, record, logs
        self.history: list[Row] = []

    def follow(self, history: list[Row]) -> None:
        """Write the rows of a history that are not in the logs yet, and from now on each new one."""
        self.history = history
        self._write("training goes on, and the next epoch writes its numbers again")

    def finish(self) -> None:
        """Write the rows of the last epochs again, if a server was away then."""
        self._write("its log lacks the last epochs, which history.csv has")

    def _write(self, what_then: str) -> None:
        rows = self.record["rows"]
        for name, log in self.logs.items():
            first = rows.setdefault(name, 0)
            with _going_on(name, what_then):
                for count, row in enumerate(self.history[first:], first + 1):
                    scores = {key: float(value) for key, value in row.items() if value is not None and key != "step"}
                    log.write(scores, row["step"])
                    rows[name] = count
        write_json(self.out / RECORD, self.record)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.follow(self.history)


def check_loggers(names: Sequence[str] | None) -> None:
    """Check that loggers are known and their packages installed.

    Raises:
        InputError: one is not.
    """
    if isinstance(names, str) or not isinstance(names, Iterable | None):
        kind = "text" if isinstance(names, str) else type(names).__name__
        raise InputError(f"loggers must be a list of names, found the {kind} {names!r}")
    for name in names or ():
        if name not in LOGGERS:
            raise InputError(f"loggers must be among {', '.join(LOGGERS)}, found {name!r}")
        if name != "csv" and importlib.util.find_spec(name) is None:
            command = f"pip install 'tfrcnn[{name}]'"
            raise InputError(f"the logger {name} needs the package {name}: {command}, or leave the logger out")


@contextmanager
def open_logs(out: Path, names: Sequence[str] | None, config: dict[str, Any]) -> Iterator[HistoryLogs]:
    """Open the logs of a run, and close them when the run ends or fails.

    Args:
        out: the run folder.
        names: of the loggers. None takes those that the run has had, or TensorBoard alone if it is installed.
        config: JSON values that describe the run.

    Raises:
        InputError: as `check_loggers`; the record of the run's loggers is damaged; or a logger cannot start, for
            example without a login or a network.
    """
    record = _read_record(out / RECORD)
    if names is None:
        default = ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
        names = record.get("loggers", default)
    check_loggers(names)
    record = {"identity": uuid.uuid4().hex[:8], "rows": {}, **record, "loggers": sorted(set(names))}
    write_json(out / RECORD, record)  # so that a run whose logger cannot start is resumed with it
    with ExitStack() as stack:
        logs: dict[str, Log] = {}
        for name in record["loggers"]:
            if name != "csv":
                log = logs[name] = _open(name, out, record["identity"], config)
                stack.push(_closing(name, log))
        history = HistoryLogs(out, record, logs)
        yield history
        history.finish()


def _read_record(path: Path) -> dict[str, Any]:
    """Read which loggers a run has and how many rows each has; nothing if there is no file."""
    record = read_json(path) if path.is_file() else {}
    entries = {"identity": "", "rows": {}, "loggers": []} | (record if isinstance(record, dict) else {"rows": None})
    rows, names = entries["rows"], entries["loggers"]
    if not (
        isinstance(entries["identity"], str)
        and isinstance(rows, dict)
        and all(isinstance(count, int) and count >= 0 for count in rows.values())
        and isinstance(names, list)
        and all(name in LOGGERS for name in names)
    ):
        raise InputError(f"{path}: expected the record of a run's loggers, found something else: remove the file")
    return {name: record[name] for name in ("identity", "rows", "loggers") if name in record}


def _open(name: str, out: Path, identity: str, config: dict[str, Any]) -> Log:
    if name == "tensorboard":
        return TensorBoardLog(out)
    try:
        return WandbLog(out, identity, config) if name == "wandb" else MLflowLog(out, identity, config)
    except Exception as error:  # each package raises exceptions of its kind
        raise InputError(
            f"the logger {name} cannot start: {_reason(error)}; correct this and continue with resume=True, also with "
            "other loggers"
        ) from error


def _closing(name: str, log: Log) -> Callable[..., None]:
    """Return the exit of a context manager that closes a log."""

    def close(error: type[BaseException] | None, *_: Any) -> None:
        with _going_on(name, "its log is not closed"):
            log.close(error is not None)

    return close


@contextmanager
def _going_on(name: str, what_then: str) -> Iterator[None]:
    """Report what a logger raises, and go on: `history.csv` has all numbers."""
    try:
        yield
    except Exception as error:  # as in `_open`
        print(f"warning: the logger {name} failed: {_reason(error)}; {what_then}", file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    """Return the first line of an error, without the login in an address."""
    return shorten(_LOGIN.sub("//", reason_of(error)), _MAX_REASON).rstrip(".")
