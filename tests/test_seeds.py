"""Seeds of random streams: by name, stable, apart, and whole numbers wherever a user passes one."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import tfrcnn
from tfrcnn import Category, Dataset, InputError, TrainingConfig, TrainingModel
from tfrcnn.data.anchor_fit import fit_anchors
from tfrcnn.data.digits import make_digit_scenes
from tfrcnn.evaluation.bootstrap import compare_detections
from tfrcnn.models import build_blank_detector
from tfrcnn.seeds import check_seed, stream_seed


def test_the_seed_of_a_stream_is_the_same_on_every_machine():
    assert stream_seed(0, "rpn_samples") == 122750990
    assert stream_seed(2**30 - 1, "roi_samples") == 542838695


def test_streams_and_seeds_are_apart_and_fit_int32():
    seeds = {
        stream_seed(seed, name) for seed in range(1000) for name in ("rpn_samples", "roi_samples", "horizontal_flip")
    }
    assert len(seeds) == 3000
    assert min(seeds) >= 0
    assert max(seeds) < 2**31


DATASET = Dataset("cells", (Category(1, "cell"),), ())
DETECTOR = tfrcnn.preset("tiny_fpn", DATASET.categories).detector
# Each function with a seed that has a default: a call with a seed, and nothing else wrong before it is looked at.
CALLS = {
    "tfrcnn.config_training.TrainingConfig": lambda seed: TrainingConfig(seed=seed),
    "tfrcnn.data.anchor_fit.fit_anchors": lambda seed: fit_anchors(DATASET, DETECTOR, (4,), seed),
    "tfrcnn.data.digits.make_digit_scenes": lambda seed: make_digit_scenes("never-made", seed=seed),
    "tfrcnn.data.doctor.diagnose": lambda seed: tfrcnn.diagnose("not-there", seed=seed),
    "tfrcnn.data.split.split_dataset": lambda seed: tfrcnn.split_dataset(DATASET, 0.5, seed=seed),
    "tfrcnn.evaluation.bootstrap.compare_detections": lambda seed: compare_detections(DATASET, [], [], seed=seed),
    "tfrcnn.report.data.data_report": lambda seed: tfrcnn.data_report("not-there", "page.html", seed=seed),
    "tfrcnn.report.evaluation.evaluation_report": lambda seed: tfrcnn.evaluation_report(
        DATASET, [], "page.html", seed=seed
    ),
    "tfrcnn.training.joint.TrainingModel": lambda seed: TrainingModel(build_blank_detector(DETECTOR), seed=seed),
}
# The library calls these with a seed that it has checked.
INNER = {"tfrcnn.data.doctor.examine", "tfrcnn.report.evaluation.check_report"}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("seed", ["x", "3", 1.5, True, -1, None, [0]], ids=repr)
def test_a_seed_that_is_no_whole_number_is_refused_in_one_line(
    name: str, seed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"seed.*found {re.escape(repr(seed))}$") as error:
        CALLS[name](seed)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_seed_of_numpy_is_a_whole_number() -> None:
    check_seed(np.int64(3))
    assert stream_seed(np.int64(3), "val_split") == stream_seed(3, "val_split")


def test_each_function_that_takes_a_seed_is_in_the_list() -> None:
    names = set()
    for module in pkgutil.walk_packages(tfrcnn.__path__, "tfrcnn."):
        if not module.name.startswith(("tfrcnn.cli", "tfrcnn.batch", "tfrcnn.export")):
            members = vars(importlib.import_module(module.name)).items()
            for name, value in members:
                if getattr(value, "__module__", "") != module.name:
                    continue
                function = value.__init__ if inspect.isclass(value) else value
                seed = inspect.signature(function).parameters.get("seed") if inspect.isfunction(function) else None
                if not name.startswith("_") and seed is not None and seed.default is not inspect.Parameter.empty:
                    names.add(f"{module.name}.{name}")
    assert names - INNER == set(CALLS)
