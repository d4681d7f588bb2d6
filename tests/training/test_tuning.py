"""The program of docs/tuning.md that tunes with Optuna, on two tiny trials."""

import re
from pathlib import Path

import pytest

from .test_recipe import write_coco

PAGE = (Path(__file__).parents[2] / "docs/tuning.md").read_text(encoding="utf-8")


def program():
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "import optuna" in block]
    changes = {
        '"training.epochs": 6': '"training.epochs": 1, "training.batch_size": 2',
        "n_trials=20": "n_trials=2",
        'Recipe("cells/train.json", "cells/val.json"': 'Recipe("cells/train.json", "cells/val.json", model="tiny_fpn", '
        "image_size=64",
    }
    for text, tiny in changes.items():
        assert block.count(text) == 1
        block = block.replace(text, tiny)
    return block


def test_the_program_is_python():
    compile(program(), "tuning.md", "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the package warns
def test_two_trials_are_run_and_kept(tmp_path, monkeypatch):
    optuna = pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        write_coco(tmp_path / "cells", name)
    names = {}
    exec(program(), names)
    study = optuna.load_study(study_name="cells", storage="sqlite:///tune.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert set(study.best_params) == {"learning_rate", "weight_decay"}
    assert {path.name for path in (tmp_path / "runs/tune").iterdir()} == {"0", "1"}
