"""Recipes: what is filled in, what is refused, what is built, and what a resumed run must repeat."""

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tfrcnn
from tfrcnn.compat import path_of
from tfrcnn.config import Category, TrainingConfig
from tfrcnn.data import checks, coco
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, preset, save_detector
from tfrcnn.training import recipe as recipe_module
from tfrcnn.training.folder import FORMAT, SETUP
from tfrcnn.training.recipe import Recipe
from tfrcnn.training.resolve import DEFAULT_EMA, DEFAULT_MODEL

DATA = {"train": "data/train.json", "val": "data/VOC@val"}
CATEGORIES = (Category(1, "cell"), Category(2, "cat"))


def resolved(**fields: Any) -> Recipe:
    return Recipe(**{**DATA, **fields}).resolved()


def write_coco(folder: Path, name: str, count: int = 4, **changes: Any) -> str:
    """`count` pictures with a box of each of two classes, and their json; `changes` replaces top-level entries."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(1, count + 1):
        file_name = f"{name}_{i}.png"
        Image.fromarray(np.full((64, 96, 3), 40 * i, np.uint8)).save(folder / file_name)
        images.append({"id": i, "file_name": file_name, "width": 96, "height": 64})
        for category in (1, 2):
            box = {"bbox": [20 * category, 8, 24, 30], "area": 720, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": category, **box})
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / f"{name}.json")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    return {name: write_coco(tmp_path / "data", name) for name in ("train", "val")}


def begun(folder: Path, recipe: Recipe) -> Path:
    """A run folder that was started with this recipe."""
    assert recipe.detector is not None
    assert recipe.training is not None
    setup = {
        "format": FORMAT,
        "train": {"source": recipe.train, "images": 4, "annotations": "a"},
        "validation": {"source": recipe.val, "images": 4, "annotations": "b"},
        "metric": recipe.metric,
        "training": recipe.training.to_dict(),
        "detector": recipe.detector.replace(categories=CATEGORIES).to_dict(),
        "options": recipe._options(),
    }
    folder.mkdir()
    (folder / SETUP).write_text(json.dumps(setup), encoding="utf-8")
    return folder


class TestDefaults:
    def test_what_is_not_given_is_the_preset_s(self) -> None:
        recipe, defaults = resolved(changes={"training.epochs": 3}), preset(DEFAULT_MODEL)
        assert (recipe.model, recipe.backbone_weights, recipe.metric) == (DEFAULT_MODEL, "imagenet", "coco")
        assert recipe.training == defaults.training.replace(epochs=3)
        assert recipe.detector == defaults.detector
        assert recipe.resolved() == recipe

    @pytest.mark.parametrize(
        ("model", "weights"), [("tiny_fpn", "none"), ("resnet50_fpn", "imagenet"), ("vgg16", "imagenet")]
    )
    def test_backbones_with_imagenet_weights_start_from_them(self, model: str, weights: str) -> None:
        assert resolved(model=model).backbone_weights == weights

    def test_weights_have_to_be_named_if_there_are_none_to_download(self) -> None:
        with pytest.raises(InputError, match="no weights to download for fasterrcnn_resnet50_fpn: set backbone_weig"):
            resolved(model="fasterrcnn_resnet50_fpn")

    def test_paths_are_absolute_and_validation_images_are_where_the_others_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        recipe = resolved(images="../images")
        assert recipe.train == str(tmp_path / "data/train.json")
        assert recipe.val == str(tmp_path / "data/VOC@val")
        assert recipe.images == recipe.val_images == str(tmp_path.parent / "images")
        joined = resolved(val="07@val+12@val", images="a")
        assert (joined.images, joined.val_images) == (str(tmp_path / "a"), None)
        other = resolved(images="a", val_images="b")
        assert (other.images, other.val_images) == (str(tmp_path / "a"), str(tmp_path / "b"))

    def test_each_of_several_data_sets_is_absolute_and_so_is_a_preset_s_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("mine.json").write_text('{"preset": "vgg16", "training": {"scheme": "alternating", "epochs": 32}}')
        recipe = resolved(train="07@train+12@train", model="mine.json")
        assert recipe.train == f"{tmp_path}/07@train+{tmp_path}/12@train"
        assert recipe.model == str(tmp_path / "mine.json")
        assert recipe.training is not None
        assert (recipe.training.scheme, recipe.training.epochs) == ("alternating", 32)

    @pytest.mark.parametrize(
        ("model", "changes", "ema"),
        [
            ("mobilenet_v2_fpn", {}, preset("mobilenet_v2_fpn").training.ema),
            ("mobilenet_v2_fpn", {"training.ema": True}, preset("mobilenet_v2_fpn").training.ema),
            ("mobilenet_v2_fpn", {"training.ema": None}, None),
            ("resnet50_fpn", {}, None),
            ("resnet50_fpn", {"training.ema": True}, DEFAULT_EMA),
        ],
    )
    def test_averaging_is_the_preset_s_unless_turned_on_or_off(
        self, model: str, changes: dict[str, Any], ema: float | None
    ) -> None:
        training = resolved(model=model, changes=changes).training
        assert training is not None
        assert training.ema == ema

    def test_mixed_precision_is_what_suits_the_machine(self) -> None:
        import tensorflow as tf

        expected = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
        mixed, plain = resolved(changes={"training.precision": "mixed"}).training, resolved().training
        assert mixed is not None
        assert plain is not None
        assert (mixed.precision, plain.precision) == (expected, "float32")


class TestChanges:
    def test_any_field_is_changed_by_its_path(self) -> None:
        changes = {
            "training.horizontal_flip": False,
            "training.milestones": [0.5, 0.8],
            "detector.rpn.match.foreground_iou": 0.6,
            "detector.image": {"min_size": 1000, "max_size": 2000},
        }
        recipe, defaults = resolved(changes=changes), preset(DEFAULT_MODEL)
        rpn = defaults.detector.rpn
        assert recipe.training == defaults.training.replace(horizontal_flip=False, milestones=(0.5, 0.8))
        assert recipe.detector == defaults.detector.replace(
            rpn=rpn.replace(match=rpn.match.replace(foreground_iou=0.6)),
            image=defaults.detector.image.replace(min_size=1000, max_size=2000),
        )

    def test_a_wrong_change_next_to_changes_that_are_right_only_together_is_the_only_fault(self) -> None:
        cascade = {"detector.head.class_agnostic": True, "detector.head.cascade": {}}
        cascade["detector.head.cascade.ious"] = (0.6,)
        cascade["detector.head.cascade.box_weights"] = ((20.0, 20.0, 10.0, 10.0),)
        cascade["detector.head.cascade.loss_weights"] = (0.5,)
        with pytest.raises(InputError) as caught:
            resolved(changes={**cascade, "training.epochs": 0})
        assert str(caught.value) == "TrainingConfig.epochs must be at least 1, found 0"
        agnostic = {"detector.head.class_agnostic": True, "detector.head.cascade": {}}
        with pytest.raises(InputError) as caught:
            resolved(changes={**agnostic, "training.epochs": 0, "training.momentum": 1.0})
        assert re.findall(r"(\w+\.\w+) must be", str(caught.value)) == [
            "TrainingConfig.epochs",
            "TrainingConfig.momentum",
        ]

    def test_fields_that_are_right_only_together_may_be_changed_together(self) -> None:
        changes = {"detector.image.min_size": 1000, "detector.image.max_size": 2000}
        config = resolved(changes=changes).detector
        assert config is not None
        assert (config.image.min_size, config.image.max_size) == (1000, 2000)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"epochs": 3},
                r"unknown field 'epochs': expected detector.FIELD or training.FIELD. detector: backbone, .*",
            ),
            ({"training.epoch": 3}, "TrainingConfig has no field 'epoch'; its fields are scheme, epochs, batch_size, "),
            (
                {"detector.rpn.mach": 3},
                "DetectorConfig.rpn has no field 'mach'; its fields are channels, convs, match, ",
            ),
            ({"training.epochs": "many"}, "TrainingConfig.epochs must be int, found 'many'"),
            ({"training": 3}, "unknown field 'training': expected detector.FIELD or training.FIELD"),
            ({"detector.categories": []}, None),
            (
                {"detector.shared_features": False},
                "detector.shared_features cannot be changed: training.scheme decides",
            ),
            ({"detector.preset": "a"}, "detector.preset cannot be changed: it is the preset's name"),
            (
                {"detector.rpn.box_loss.name": "l3"},
                "BoxLossConfig.name must be one of smooth_l1, giou, diou, ciou, found 'l3'",
            ),
            (
                {"detector.head.class_loss.name": "l3"},
                "ClassLossConfig.name must be one of cross_entropy, focal, sigmoid_focal, found 'l3'",
            ),
        ],
        ids=str,
    )
    def test_a_wrong_change_is_one_line_that_lists_the_fields(
        self, changes: dict[str, Any], message: str | None
    ) -> None:
        if message is None:
            assert resolved(changes=changes) == resolved()
            return
        with pytest.raises(InputError, match=message) as error:
            resolved(changes=changes)
        assert len(str(error.value).splitlines()) == 1

    def test_all_faults_of_the_settings_are_reported_together(self) -> None:
        changes = {"training.epochs": 0, "training.ema": 2, "training.scheme": "joint"}
        with pytest.raises(InputError) as error:
            resolved(changes=changes, image_size=7, backbone_weights="no/such.h5")
        lines = str(error.value).splitlines()
        assert lines[0] == "4 faults:"
        for text in ("image size must be", "epochs must be", "ema must be", "found none at "):
            assert any(text in line for line in lines), text


def test_the_scheme_decides_whether_features_are_shared() -> None:
    detector = preset("tiny_fpn").detector.replace(shared_features=False)
    recipe = resolved(detector=detector, backbone_weights="none")
    assert recipe.detector is not None
    assert recipe.detector.shared_features
    assert recipe.model is None  # the network is not a preset's


class TestRandomWeights:
    def test_nothing_is_frozen(self) -> None:
        pretrained = resolved(model="resnet50_fpn").training
        assert pretrained is not None
        assert (pretrained.frozen_stages, pretrained.freeze_batch_norm) == (2, True)
        expected = pretrained.replace(frozen_stages=0, freeze_batch_norm=False)
        assert resolved(model="resnet50_fpn", backbone_weights="none").training == expected
        # also if the training comes from the preset by way of Python
        training = preset("resnet50_fpn").training.replace(epochs=3)
        recipe = resolved(model="resnet50_fpn", backbone_weights="none", training=training)
        assert recipe.training == expected.replace(epochs=3)

    @pytest.mark.parametrize(("name", "value"), [("frozen_stages", 1), ("freeze_batch_norm", True)])
    def test_freezing_them_is_refused(self, name: str, value: Any) -> None:
        with pytest.raises(InputError, match=rf"training\.{name} must be .* with random weights"):
            resolved(model="resnet50_fpn", backbone_weights="none", changes={f"training.{name}": value})

    def test_what_is_built_and_trained_from_python_has_a_first_stage_and_norms_that_learn(
        self, data: dict[str, str]
    ) -> None:
        recipe = Recipe(**data, model="mobilenet_v2_fpn", backbone_weights="none", image_size=64)
        detector = recipe.build(log=lambda _: None)
        training = recipe.resolved().training
        assert training is not None
        tfrcnn.freeze(detector, training)
        names = {path_of(variable).split("/")[-2] for variable in detector.backbone.trainable_variables}
        assert {"Conv1", "bn_Conv1"} <= names


class TestFaultsOfRecipes:
    def test_the_recipe_of_a_run_takes_another_model(self, tmp_path: Path) -> None:
        before = resolved(model="tiny_fpn", image_size=64, changes={"training.epochs": 3})
        recipe = Recipe.of_run(begun(tmp_path / "run", before)).replace(model="resnet50_fpn").resolved()
        assert recipe.detector == preset("resnet50_fpn").detector
        assert recipe.training == before.training
        with pytest.raises(InputError, match=r"other settings: options\.model was 'tiny_fpn', is 'resnet50_fpn'"):
            recipe.run(tmp_path / "run", resume=True, log=lambda _: None)

    def test_wrong_settings_do_not_hide_the_validation_images(self, tmp_path: Path) -> None:
        data = {name: write_coco(tmp_path / "images", name) for name in ("train", "val")}
        for path in data.values():
            Path(path).rename(tmp_path / Path(path).name)
        data = {name: str(tmp_path / f"{name}.json") for name in data}
        recipe = Recipe(**data, images=str(tmp_path / "images"), model="nothing")
        (tmp_path / "images").rename(tmp_path / "pictures")
        with pytest.raises(InputError) as error:
            recipe.replace(images=str(tmp_path / "pictures")).check(log=lambda _: None)
        assert "nothing" in str(error.value)
        assert "refused" not in str(error.value)

    def test_data_with_nothing_to_learn_from_are_refused_before_training(
        self, data: dict[str, str], tmp_path: Path
    ) -> None:
        content = json.loads(Path(data["train"]).read_text())
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1
        Path(data["train"]).write_text(json.dumps(content))
        recipe = Recipe(**data, model="tiny_fpn", image_size=64)
        with pytest.raises(InputError, match="expected a box to learn from, found 0 difficult boxes and 8 crowds"):
            recipe.run(tmp_path / "run", log=lambda _: None)
        assert not (tmp_path / "run").exists()

    def test_missing_images_are_the_only_fault_of_data_without_images(
        self, data: dict[str, str], tmp_path: Path
    ) -> None:
        for path in Path(data["train"]).parent.rglob("*.png"):
            path.unlink()
        logged: list[str] = []
        with pytest.raises(InputError) as error:
            Recipe(data["train"], model="tiny_fpn", image_size=64).run(tmp_path / "run", log=logged.append)
        assert str(error.value) == f"refused: {data['train']}; the report above says why. Nothing was written"
        assert "missing-image" in "\n".join(logged)


class TestWhatARunStartsFrom:
    @pytest.fixture
    def imported(self, tmp_path: Path) -> str:
        """A run folder to start from."""
        save_detector(build_detector(preset("tiny_fpn", CATEGORIES).detector), tmp_path / "imported")
        return str(tmp_path / "imported")

    def test_a_run_that_starts_from_another_has_its_network_and_its_preset_s_training(self, imported: str) -> None:
        recipe = resolved(init=imported, image_size=96)
        assert (recipe.model, recipe.backbone_weights, recipe.init) == (None, None, imported)
        assert recipe.detector == preset("tiny_fpn", CATEGORIES, 96).detector
        assert recipe.training == preset("tiny_fpn").training

    @pytest.mark.parametrize(
        "fields",
        [{"init": "mine"}, {"proposals": "mine", "changes": {"training.scheme": "fast-rcnn-only"}}],
        ids=["init", "proposals"],
    )
    def test_a_run_of_a_preset_s_file_hands_its_training_on(
        self, fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        training = preset("tiny_fpn").training.replace(epochs=3, weight_decay=0.25)
        detector = build_detector(preset("tiny_fpn", CATEGORIES).detector.replace(preset="mine"))
        save_detector(detector, "mine", {"training": training.to_dict()})
        scheme = fields.get("changes", {}).get("training.scheme", "joint")
        assert resolved(**fields).training == training.replace(scheme=scheme)
        save_detector(detector, "mine")
        assert resolved(init="mine").training == TrainingConfig()

    def test_network_and_weights_are_named_once(self, imported: str, tmp_path: Path) -> None:
        message = "init brings its own network and weights: leave model and backbone_weights out"
        with pytest.raises(InputError, match=message):
            resolved(init=imported, model="vgg16", backbone_weights="imagenet")
        with pytest.raises(InputError, match=r"no detector in .*nowhere"):
            resolved(init=str(tmp_path / "nowhere"))

    def test_a_detector_that_learns_from_proposals_has_the_network_that_gives_them(
        self, imported: str, tmp_path: Path
    ) -> None:
        fields: dict[str, Any] = {"proposals": imported, "changes": {"training.scheme": "fast-rcnn-only"}}
        recipe = resolved(**fields)
        assert (recipe.model, recipe.backbone_weights, recipe.proposals) == (None, "none", imported)
        assert recipe.detector == preset("tiny_fpn", CATEGORIES).detector
        assert recipe.training == preset("tiny_fpn").training.replace(scheme="fast-rcnn-only")
        with pytest.raises(InputError, match="proposals brings the network: leave model and init out"):
            resolved(**fields, model="vgg16", init=imported)
        with pytest.raises(InputError, match=r"no detector in .*nowhere"):
            resolved(**{**fields, "proposals": str(tmp_path / "nowhere")})
        with pytest.raises(InputError, match="proposals is for the scheme fast-rcnn-only, found the scheme joint"):
            resolved(proposals=imported)

    def test_a_preset_s_file_that_learns_from_proposals_needs_them(self, tmp_path: Path) -> None:
        (tmp_path / "mine.json").write_text('{"preset": "vgg16", "training": {"scheme": "fast-rcnn-only"}}')
        with pytest.raises(InputError, match="proposals is needed"):
            resolved(model=str(tmp_path / "mine.json"), backbone_weights="none")

    @pytest.mark.slow
    def test_a_change_that_the_weights_do_not_fit_is_refused(self, imported: str, data: dict[str, str]) -> None:
        recipe = Recipe(**data, init=imported, changes={"detector.fpn.channels": 8})
        with pytest.raises(InputError, match=r"the weights of .* do not fit the changed detector"):
            recipe.build(log=lambda _: None)
        recipe = Recipe(**data, init=imported, changes={"detector.rpn.match.foreground_iou": 0.6})
        assert recipe.build(log=lambda _: None).config.rpn.match.foreground_iou == 0.6

    def test_what_became_of_the_box_heads_layers_is_said(
        self, data: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(
            "tfrcnn.training.start.build_detector", lambda *_: SimpleNamespace(weights_note="fc6 and fc7 start")
        )
        Recipe(**data, model="vgg16").build()
        assert capsys.readouterr().out == "fc6 and fc7 start\n"

    @pytest.mark.slow
    def test_the_seed_decides_the_weights_that_training_starts_from(self, data: dict[str, str]) -> None:
        def kernel(seed: int) -> np.ndarray:
            recipe = Recipe(**data, model="tiny_fpn", changes={"training.seed": seed})
            return recipe.build().trainable_variables[0].numpy()

        np.testing.assert_array_equal(kernel(1), kernel(1))
        assert np.abs(kernel(1) - kernel(2)).max() > 0.01


class TestChecks:
    def test_faults_of_settings_data_and_folder_are_reported_together(
        self, data: dict[str, str], tmp_path: Path
    ) -> None:
        (tmp_path / "data/val_2.png").unlink()
        (tmp_path / "run").mkdir()
        (tmp_path / "run/notes.txt").write_text("mine")
        logged: list[str] = []
        recipe = Recipe(**data, model="tiny_fpn", changes={"training.epochs": 0})
        with pytest.raises(InputError) as error:
            recipe.run(tmp_path / "run", log=logged.append)
        for text in ("not an empty folder", "epochs must be at least 1", "refused: .*val.json"):
            assert re.search(text, str(error.value)), text
        (report,) = logged  # of the data set with a fault alone
        assert "missing-image" in report

    def test_a_recipe_that_is_right_passes_and_its_data_are_reported_on(self, data: dict[str, str]) -> None:
        logged: list[str] = []
        Recipe(**data, model="tiny_fpn").check(logged.append)
        assert len(re.findall("recall ceiling", logged[-1])) == 2
        assert "val.json" in logged[-1]

    @pytest.mark.slow
    def test_more_frozen_stages_than_there_are_is_found_before_training(
        self, data: dict[str, str], tmp_path: Path
    ) -> None:
        detector = build_detector(preset("tiny_fpn", CATEGORIES).detector)
        save_detector(detector, tmp_path / "init")
        recipe = Recipe(**data, init=str(tmp_path / "init"), changes={"training.frozen_stages": 9})
        with pytest.raises(InputError, match="frozen_stages must be at most 3 for tiny, found 9"):
            recipe.check(lambda _: None)

    def test_a_users_augmentation_reaches_the_training(
        self, data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def same(image: Any, boxes: Any, labels: Any, seed: Any) -> tuple[Any, Any, Any]:
            return image, boxes, labels

        calls: list[inspect.BoundArguments] = []
        bind = inspect.signature(tfrcnn.train).bind
        monkeypatch.setattr(recipe_module, "train", lambda *args, **options: calls.append(bind(*args, **options)))
        Recipe(**data, model="tiny_fpn").run(tmp_path / "run", log=lambda _: None, augment=same)
        assert calls[0].arguments["augment"] is same

    def test_data_are_parsed_once_and_each_header_is_read_once(
        self, data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed, headers = [], []
        parse, header = coco.parse_coco, checks.read_header
        monkeypatch.setattr(coco, "parse_coco", lambda path, *a: parsed.append(path.stem) or parse(path, *a))
        monkeypatch.setattr(checks, "read_header", lambda path: headers.append(path.name) or header(path))
        monkeypatch.setattr(recipe_module, "train", lambda *_, **__: None)
        Recipe(**data, model="tiny_fpn").run(tmp_path / "run", log=lambda _: None)
        assert parsed == ["train", "val"]
        assert sorted(headers) == sorted(path.name for path in (tmp_path / "data").glob("*.png"))


class TestResuming:
    def test_a_run_s_recipe_is_what_it_was_started_with(self, tmp_path: Path) -> None:
        changes = {"training.epochs": 5, "training.precision": "mixed", "training.ema": True, "training.seed": 3}
        recipe = resolved(model="tiny_fpn", changes=changes, image_size=64, metric="voc")
        out = begun(tmp_path / "run", recipe)
        loaded = Recipe.of_run(out)
        assert loaded.detector is not None
        assert loaded.replace(detector=loaded.detector.replace(categories=())) == recipe
        loaded.resolved()._check_resumable(out)
        repeated = loaded.replace(model="tiny_fpn", changes=changes, image_size=64)
        repeated.resolved()._check_resumable(out)

    def test_a_run_keeps_the_precision_it_was_started_with(self, tmp_path: Path) -> None:
        recipe = resolved(changes={"training.precision": "mixed_float16"})
        out = begun(tmp_path / "run", recipe)
        again = Recipe.of_run(out).replace(changes={"training.precision": "mixed"}).resolved()
        assert again.training == recipe.training

    def test_every_setting_that_differs_is_named(self, tmp_path: Path) -> None:
        out = begun(tmp_path / "run", resolved())
        changes = {"training.batch_size": 3, "training.precision": "mixed", "detector.fpn": None}
        message = (
            r"with other settings: metric was 'coco', is 'voc', training\.batch_size was \d+, is 3, "
            r"training\.precision was 'float32', is 'mixed_.*', detector\.fpn was {'channels'.*}, is None"
        )
        with pytest.raises(InputError, match=message):
            Recipe.of_run(out).replace(changes=changes, metric="voc").run(out, resume=True)

    def test_the_same_is_checked_for_a_recipe_from_python(self, tmp_path: Path) -> None:
        out = begun(tmp_path / "run", resolved(model="tiny_fpn"))
        with pytest.raises(InputError, match=r"model was 'tiny_fpn', is 'mobilenet_v2_fpn'|training.* and [0-9]+ more"):
            Recipe(**DATA).run(out, resume=True)

    def test_training_json_with_an_unknown_field_is_refused(self, tmp_path: Path) -> None:
        out = begun(tmp_path / "run", resolved())
        setup = json.loads((out / SETUP).read_text(encoding="utf-8"))
        setup["training"]["speed"] = 1
        (out / SETUP).write_text(json.dumps(setup), encoding="utf-8")
        with pytest.raises(InputError, match="no field 'speed'"):
            Recipe.of_run(out)

    def test_a_run_of_release_0_1_is_refused_and_says_what_it_is_good_for(self, tmp_path: Path) -> None:
        (tmp_path / SETUP).write_text('{"training": {}, "metric": "coco", "options": {}}', encoding="utf-8")
        with pytest.raises(InputError, match=r"written by tfrcnn 0\.1, whose runs cannot be resumed.*init="):
            Recipe.of_run(tmp_path)

    def test_a_run_with_a_function_of_the_user_is_resumed_with_it(self, tmp_path: Path) -> None:
        def turn(*_: Any) -> Any: ...

        recipe = resolved(model="tiny_fpn")
        out = begun(tmp_path / "run", recipe)
        setup = json.loads((out / SETUP).read_text(encoding="utf-8"))
        setup["options"]["augment"] = turn.__qualname__
        (out / SETUP).write_text(json.dumps(setup), encoding="utf-8")
        again = Recipe.of_run(out).resolved()
        again._check_resumable(out, turn)
        with pytest.raises(InputError, match=r"options\.augment was '.*turn', is None"):
            again._check_resumable(out)

    def test_a_run_that_python_started_without_a_recipe_is_not_resumed_by_one(self, tmp_path: Path) -> None:
        out = begun(tmp_path / "run", resolved())
        setup = json.loads((out / SETUP).read_text(encoding="utf-8"))
        (out / SETUP).write_text(json.dumps({**setup, "options": {}}), encoding="utf-8")
        with pytest.raises(InputError, match=r"started by tfrcnn\.train: resume it from Python in the same way"):
            Recipe.of_run(out)
