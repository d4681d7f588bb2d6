"""The program of docs/tuning.md that tunes with Optuna, on tiny trials."""

import re
from pathlib import Path

import pytest

from .test_recipe import write_coco

PAGE = (Path(__file__).parents[2] / "docs/tuning.md").read_text(encoding="utf-8")


def program(trials=1):
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "import optuna" in block]
    changes = {
        '"training.epochs": 6': '"training.epochs": 1, "training.batch_size": 2',
        "n_trials=20": f"n_trials={trials}",
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
@pytest.mark.parametrize("trials", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_trials_are_run_and_kept(trials, tmp_path, monkeypatch):
    optuna = pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        write_coco(tmp_path / "cells", name)
    names = {}
    exec(program(trials), names)
    study = optuna.load_study(study_name="cells", storage="sqlite:///tune.db")
    assert [trial.state.name for trial in study.trials] == trials * ["COMPLETE"]
    assert set(study.best_params) == {"learning_rate", "weight_decay"}
    assert {path.name for path in (tmp_path / "runs/tune").iterdir()} == {str(i) for i in range(trials)}
