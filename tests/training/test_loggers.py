"""The logs of a run: the numbers of history.csv by the same names, continued when a run is resumed."""

import importlib.util
import time

import pytest
import tensorflow as tf

from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.training.loggers import LOGGERS, check_loggers, open_logs

ROWS = [
    {"epoch": 1, "step": 3, "loss": 2.5, "val_AP": None},
    {"epoch": 2, "step": 6, "loss": 1.5, "val_AP": 0.25},
]
CONFIG = {"epochs": 2, "milestones": [0.5]}


def log_in_two_processes(out, name):
    out.mkdir()
    with open_logs(out, [name], CONFIG) as logs:
        logs.follow(ROWS[:1])
    with open_logs(out, None, CONFIG) as logs:  # as a resumed run does
        history = ROWS[:1]
        logs.follow(history)
        history.append(ROWS[1])
        logs.on_epoch_end(1)
    assert read_json(out / "loggers.json")["rows"] == ({} if name == "csv" else {name: 2})
    assert read_json(out / "loggers.json")["loggers"] == [name]


def test_an_unknown_logger_or_one_that_is_not_installed_is_one_line(monkeypatch):
    with pytest.raises(InputError, match="loggers must be among csv, tensorboard, wandb, mlflow, found 'neptune'"):
        check_loggers(["csv", "neptune"])
    with pytest.raises(InputError, match="loggers must be a list of names, found the text 'csv'"):
        check_loggers("csv")
    with pytest.raises(InputError, match="loggers must be a list of names, found the int 5"):
        check_loggers(5)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in LOGGERS[1:]:
        with pytest.raises(InputError, match=f"needs the package {name}: pip install .tfrcnn.{name}"):
            check_loggers([name])
    check_loggers(["csv"])


def test_tensorboard_has_the_numbers_of_the_history_and_continues_them(tmp_path):
    log_in_two_processes(tmp_path / "run", "tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"), {"tensors": 0})
    events.Reload()
    # files of the same second are read in the order of their numbers as text: 10 before 9
    rows = {name: sorted(events.Tensors(name), key=lambda row: row.step) for name in events.Tags()["tensors"]}
    steps = {name: [row.step for row in of_name] for name, of_name in rows.items()}
    assert steps == {"epoch": [3, 6], "loss": [3, 6], "val_AP": [6]}
    assert tf.make_ndarray(rows["loss"][1].tensor_proto) == 1.5


def test_no_log_but_history_csv_is_written_where_csv_alone_is_asked_for(tmp_path):
    log_in_two_processes(tmp_path / "run", "csv")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"loggers.json"}


class FakeLog:
    def __init__(self, fails=False):
        self.steps, self.ends, self.fails = [], [], fails
        self.lost = ()  # steps that its server does not take

    def write(self, scores, step):
        if step in self.lost:
            raise ConnectionError("https://me:secret@host: no answer\nof the server")
        self.steps.append(step)

    def close(self, failed):
        self.ends.append(failed)
        if self.fails:
            raise OSError("no network")


@pytest.fixture
def fakes(monkeypatch):
    """Logs in memory, by name."""
    logs = {name: FakeLog() for name in LOGGERS[1:]}
    monkeypatch.setattr("tfrcnn.training.loggers._open", lambda name, *_: logs[name])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return logs


def test_a_logger_that_is_added_when_a_run_is_resumed_has_all_its_epochs(tmp_path, fakes):
    with open_logs(tmp_path, ["tensorboard"], CONFIG) as logs:
        logs.follow(ROWS[:1])
    with open_logs(tmp_path, ["mlflow"], CONFIG) as logs:
        logs.follow(ROWS)
    with open_logs(tmp_path, ["tensorboard", "mlflow"], CONFIG) as logs:
        logs.follow(ROWS)
    assert fakes["tensorboard"].steps == fakes["mlflow"].steps == [3, 6]


def test_a_run_that_fails_is_logged_as_failed_everywhere(tmp_path, fakes, capsys):
    fakes["wandb"].fails = True
    with pytest.raises(KeyboardInterrupt), open_logs(tmp_path, LOGGERS, CONFIG):
        raise KeyboardInterrupt
    assert [log.ends for log in fakes.values()] == [[True]] * 3
    assert capsys.readouterr().err == "warning: the logger wandb failed: no network; its log is not closed\n"
    fakes["wandb"].fails = False
    with open_logs(tmp_path, LOGGERS, CONFIG):
        pass
    assert [log.ends for log in fakes.values()] == [[True, False]] * 3


def test_a_server_that_is_away_does_not_end_a_run_and_gets_each_row_once_when_it_is_back(tmp_path, fakes, capsys):
    rows = [*ROWS, {"epoch": 3, "step": 9, "loss": 1.0}]
    fakes["mlflow"].lost = (6,)
    with open_logs(tmp_path, ["tensorboard", "mlflow"], CONFIG) as logs:
        logs.follow(rows[:2])
        message = "https://host: no answer; training goes on, and the next epoch writes its numbers again"
        assert capsys.readouterr().err == f"warning: the logger mlflow failed: {message}\n".replace("me:secret@", "")
        assert read_json(tmp_path / "loggers.json")["rows"] == {"tensorboard": 2, "mlflow": 1}
        fakes["mlflow"].lost = ()
        logs.follow(rows)
    assert fakes["tensorboard"].steps == fakes["mlflow"].steps == [3, 6, 9]
    assert read_json(tmp_path / "loggers.json")["rows"] == {"tensorboard": 3, "mlflow": 3}


def test_the_end_of_a_run_writes_the_last_epoch_to_a_server_that_is_back(tmp_path, fakes, capsys):
    fakes["mlflow"].lost = (6,)
    with open_logs(tmp_path, ["tensorboard", "mlflow"], CONFIG) as logs:
        logs.follow(ROWS[:2])
        fakes["mlflow"].lost = ()
    assert fakes["tensorboard"].steps == fakes["mlflow"].steps == [3, 6]
    capsys.readouterr()
    fakes["mlflow"].lost = (9,)
    with open_logs(tmp_path, ["tensorboard", "mlflow"], CONFIG) as logs:
        logs.follow([*ROWS[:2], {"epoch": 3, "step": 9, "loss": 1.0}])
    assert capsys.readouterr().err.endswith("no answer; its log lacks the last epochs, which history.csv has\n")


@pytest.mark.parametrize(
    ("name", "variable", "value", "message"),
    [
        ("wandb", "WANDB_PROJECT", "a/b:c", "Invalid project name 'a/b:c'"),
        ("mlflow", "MLFLOW_TRACKING_URI", "foo://me:secret@host", "unsupported URI 'foo://host'"),
    ],
)
@pytest.mark.filterwarnings("default")  # the packages warn
def test_a_logger_that_cannot_start_is_one_line_and_the_run_is_resumed_with_it(
    tmp_path, monkeypatch, name, variable, value, message
):
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(variable, value)
    expected = f"the logger {name} cannot start: .*resume=True"
    with pytest.raises(InputError, match=expected) as refused, open_logs(tmp_path, [name], CONFIG):
        pass
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert read_json(tmp_path / "loggers.json")["loggers"] == [name]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the package warns
def test_mlflow_has_the_numbers_of_the_history_in_one_run(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    log_in_two_processes(tmp_path / "run", "mlflow")
    client = tracking.MlflowClient(f"sqlite:///{tmp_path}/run/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("tfrcnn").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2", "milestones": "[0.5]"}
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(3, 2.5), (6, 1.5)]
    assert set(run.data.metrics) == {"epoch", "loss", "val_AP"}
    with pytest.raises(KeyboardInterrupt), open_logs(tmp_path / "run", None, CONFIG):
        raise KeyboardInterrupt
    assert client.get_run(run.info.run_id).info.status == "FAILED"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the package warns
def test_wandb_writes_the_numbers_of_the_history_offline_under_one_identity(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log_in_two_processes(tmp_path / "run", "wandb")
    files = sorted((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    identity = read_json(tmp_path / "run/loggers.json")["identity"]
    assert {path.stem for path in files} == {f"run-{identity}"}
    texts = (b"loss", b"2.5", b"1.5", b"val_AP", b"0.25")
    for _ in range(600):  # the process that writes the file ends some time after the run
        content = b"".join(path.read_bytes() for path in files)
        missing = [text for text in texts if text not in content]
        if not missing:
            break
        time.sleep(0.1)
    assert missing == []


@pytest.mark.parametrize(
    "content", ["[]", '{"rows": 3}', '{"loggers": ["x"]}', '{"identity": 1}', '{"rows": {"csv": "a"}}']
)
def test_a_changed_record_of_the_loggers_is_one_line_with_the_file(tmp_path, content):
    (tmp_path / "loggers.json").write_text(content)
    message = r"loggers\.json: expected the record of a run's loggers"
    with pytest.raises(InputError, match=message), open_logs(tmp_path, None, CONFIG):
        pass
