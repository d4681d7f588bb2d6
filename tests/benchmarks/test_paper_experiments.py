"""The paper's experiments: the options of each row by hand, and one table from start to end."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import tfrcnn
from tfrcnn.config import ProposalConfig
from tfrcnn.data.digits import make_digit_scenes
from tfrcnn.training.folder import prepare_folder

TINY = str(Path(__file__).resolve().parents[2] / "benchmarks" / "paper" / "configs" / "tiny.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    paths = make_digit_scenes(tmp_path_factory.mktemp("digits"), train=8, val=2, test=3)
    return [f"--{split}={path}" for split, path in paths.items()]


@pytest.fixture
def arguments(data, tmp_path):
    return [*data, "--model", TINY, "--image-size", "64", "--epochs", "1", "--out", str(tmp_path / "out")]


@pytest.fixture
def recorded(program, monkeypatch):
    """Replace training and measuring by records: the scheme and config per row, and the measurements."""
    experiment = program("experiment")
    trained, measured = {}, []

    def train(self, row, scheme="joint", **changes):
        assert row not in trained
        trained[row] = (scheme, self.config.replace(**changes))
        return self.out / row

    def measure(self, folder, **changes):
        measured.append((folder.name, changes.get("test_proposals", self.config.test_proposals)))
        return experiment.Scores(0.5, 0.6, None, 300, 0.9, 0.8)

    monkeypatch.setattr(experiment.Experiment, "train", train)
    monkeypatch.setattr(experiment.Experiment, "measure", measure)
    return trained, measured


def test_table_2_trains_three_networks_and_tests_one_with_other_proposals(program, recorded, arguments, capsys):
    program("table2").main(arguments)
    trained, measured = recorded
    assert {row: scheme for row, (scheme, _) in trained.items()} == {
        "joint": "joint",
        "alternating": "alternating",
        "unshared": "unshared",
    }
    default = ProposalConfig(1000, 300, min_size=4.0)
    random = default.replace(nms_iou=1.0, use_scores=False)
    assert measured[:3] == [("joint", default), ("alternating", default), ("unshared", default)]
    assert {row for row, _ in measured[3:]} == {"unshared"}
    assert [proposals for _, proposals in measured[3:]] == [
        default.replace(post_nms_top_n=100),
        default,
        default.replace(post_nms_top_n=1000),
        default.replace(pre_nms_top_n=6000, post_nms_top_n=6000, nms_iou=1.0),
        random.replace(pre_nms_top_n=100, post_nms_top_n=100),
        random.replace(pre_nms_top_n=300, post_nms_top_n=300),
        random.replace(pre_nms_top_n=1000, post_nms_top_n=1000),
        default.replace(use_deltas=False),
        default.replace(post_nms_top_n=1000, use_deltas=False),
    ]
    printed = capsys.readouterr().out
    assert "| alternating | 59.9 | 50.0 | 60.0 | - | 300 | 90.0 | 80.0 |" in printed
    assert "| unshared, 300, no cls | 51.4 |" in printed


def test_table_8_has_one_to_nine_anchors(program, recorded, arguments, capsys):
    program("table8").main([*arguments, "--scheme", "alternating"])
    assert {row: config.anchors.per_cell for row, (_, config) in recorded[0].items()} == {
        "16x1": 1,
        "32x1": 1,
        "16x3": 3,
        "32x3": 3,
        "16-32-64x1": 3,
        "16-32-64x3": 9,
    }
    assert {scheme for scheme, _ in recorded[0].values()} == {"alternating"}
    nine = recorded[0]["16-32-64x3"][1].anchors
    assert sorted(nine.ratios) == [0.5, 1.0, 2.0]
    printed = capsys.readouterr().out
    assert "| 1 scale (16), 1 ratio | 65.8 |" in printed
    assert "| 3 scales (16, 32, 64), 3 ratios | 69.9 |" in printed


def test_table_9_weighs_boxes_by_lambda_times_256_over_2400(program, recorded, arguments, capsys):
    program("table9").main(arguments)
    weights = {row: config.rpn.box_loss_weight for row, (_, config) in recorded[0].items()}
    expected = {"lambda-0.1": 0.010667, "lambda-1": 0.10667, "lambda-10": 1.0667, "lambda-100": 10.667}
    assert weights == pytest.approx(expected, rel=1e-4)
    assert "| 10 | 69.9 |" in capsys.readouterr().out


def test_table_10_takes_every_anchor_as_a_window(program, recorded, arguments):
    program("table10").main(arguments)
    assert {row: scheme for row, (scheme, _) in recorded[0].items()} == {
        "two-stage": "unshared",
        "one-stage": "fast-rcnn-only",
    }
    config = recorded[0]["one-stage"][1]
    # 64 pixels are 4 cells of 16
    assert config.train_proposals == config.test_proposals == ProposalConfig(144, 144, nms_iou=1.0, use_deltas=False)


def test_windows_are_those_of_the_largest_input(program, data):
    dataset = tfrcnn.load_dataset(data[0].partition("=")[2])
    sizes = {(example.height, example.width) for example in dataset.examples}
    config = tfrcnn.preset("vgg16").detector
    config = config.replace(head=config.head.replace(units=(8,)))  # it is built only for its stride: keep it small
    windows = program("table10").dense_windows(config, [dataset])
    scale = {size: min(600 / min(size), 1000 / max(size)) for size in sizes}
    cells = [-(-int(h * scale[h, w]) // 16) * -(-int(w * scale[h, w]) // 16) for h, w in sizes]
    assert windows.post_nms_top_n == 9 * max(cells)


def test_windows_are_as_dense_as_the_detectors_cells(program, data):
    dataset = tfrcnn.load_dataset(data[0].partition("=")[2])
    config = tfrcnn.preset(TINY, image_size=64).detector
    finer = config.replace(backbone=config.backbone.replace(taps=("stage2_out",)))  # stride 8
    assert program("table10").dense_windows(finer, [dataset]).post_nms_top_n == 9 * 8 * 8


def test_a_row_tells_its_weights_and_does_not_go_on_from_others(program, arguments, tmp_path, monkeypatch, capsys):
    def train(detector, train_data, val, folder, training, resume, options):
        setup = {
            "train": {"source": "a", "images": 1, "annotations": ""},
            "validation": None,
            "metric": "coco",
            "training": training.to_dict(),
            "detector": tfrcnn.preset("tiny_fpn").detector.to_dict(),
            "options": options,
        }
        prepare_folder(folder, setup, resume)

    monkeypatch.setattr(tfrcnn, "train", train)
    monkeypatch.setattr(tfrcnn, "build_detector", lambda *_: SimpleNamespace(weights_note="fc6 and fc7 start"))
    monkeypatch.chdir(tmp_path)
    for name in ("a.h5", "b.h5"):
        Path(name).touch()
    experiment = program("experiment")
    one, same, other = (
        experiment.Experiment(experiment.parse("", [*arguments, f"--backbone-weights={name}"]))
        for name in ("a.h5", str(tmp_path / "a.h5"), "b.h5")
    )
    one.train("row")
    assert "fc6 and fc7 start" in capsys.readouterr().out
    same.train("row")
    with pytest.raises(tfrcnn.InputError, match=r"options\.backbone_weights was '.*a\.h5', is '.*b\.h5'"):
        other.train("row")


def test_weights_are_asked_for_and_random_ones_not_frozen_as_by_tfrcnn_train(program, data, tmp_path):
    experiment = program("experiment")
    options = [*data, "--model", "zf", "--out", str(tmp_path)]
    with pytest.raises(tfrcnn.InputError, match="no weights to download for zf: set backbone_weights to a file"):
        experiment.Experiment(experiment.parse("", options))
    scratch = experiment.Experiment(experiment.parse("", [*options, "--backbone-weights", "none"])).training
    assert (scratch.frozen_stages, scratch.freeze_batch_norm) == (0, False)


def test_a_model_with_a_feature_pyramid_is_refused(program, data, tmp_path):
    with pytest.raises(tfrcnn.InputError, match="without a feature pyramid, found tiny_fpn"):
        program("table9").main([*data, "--model", "tiny_fpn", "--out", str(tmp_path)])


def test_the_columns_of_table_5_are_all_stages(program):
    from tfrcnn.export.stages import STAGES

    assert [stage for stages in program("table5").COLUMNS.values() for stage in stages] == list(STAGES)


@pytest.mark.slow
def test_table_5_measures_a_preset(program, capsys):
    program("table5").main(["--model", TINY, "--rounds", "1"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(f"| {TINY}, here"))
    _, *times, total = (int(cell) for cell in line.strip("| ").split(" | ")[1:])
    assert total > 0
    assert abs(sum(times) - total) <= len(times)


def test_the_total_of_table_5_is_of_the_papers_columns(program, monkeypatch, capsys):
    times = {"prepare": 100.0, "conv": 10.0, "proposal": 3.0, "region-wise": 4.0}
    monkeypatch.setattr(program("table5"), "measured", lambda *_: times)
    program("table5").main(["--model", "zf"])
    printed = capsys.readouterr().out
    assert "| zf, paper, K40 |  | 31 | 3 | 25 | 59 |" in printed
    assert "| zf, here | 100 | 10 | 3 | 4 | 17 |" in printed


@pytest.mark.slow
def test_all_windows_are_measured(program, arguments, tmp_path):
    options = program("experiment").parse("", arguments)
    experiment = program("experiment").Experiment(options)
    tfrcnn.save_detector(tfrcnn.build_detector(experiment.config), tmp_path / "run")
    windows = program("table10").dense_windows(experiment.config, [experiment.test])
    scores = experiment.measure(tmp_path / "run", test_proposals=windows)
    assert scores.proposals == 144
    assert 0 <= scores.recall70 <= scores.recall50 <= 1
    assert scores.voc07 is not None
    assert scores.ap50 is not None


@pytest.mark.slow
def test_a_row_is_trained_once_and_not_with_other_options(program, arguments, tmp_path, capsys):
    weights = []
    for _ in range(2):
        program("figure4").main(arguments)
        weights.append([(p.name, p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*.weights.h5")])
        assert capsys.readouterr().out.count("| a curve |") == 3
    assert weights[0] == weights[1]
    assert (tmp_path / "out" / "figure4.png").stat().st_size > 10_000
    with pytest.raises(tfrcnn.InputError, match=r"cannot resume .* with other settings: training\.seed was 0, is 1"):
        program("figure4").main([*arguments, "--seed", "1"])
