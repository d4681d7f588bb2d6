"""Faster R-CNN for TensorFlow and Keras, made to be deployed.

    import tfrcnn

    run = tfrcnn.Recipe("cells/VOC@train", "cells/VOC@val").run("runs/cells")
    tfrcnn.Predictor(run.detector).detect("picture.jpg").plot().save("drawn.png")

The same, step by step:

    data = tfrcnn.load_dataset("cells/VOC@train")
    preset = tfrcnn.preset("mobilenet_v2_fpn", data.categories)
    detector = tfrcnn.build_detector(preset.detector, backbone_weights="imagenet")
    validation = tfrcnn.load_dataset("cells/VOC@val", categories=data.categories)
    run = tfrcnn.train(detector, data, validation, "runs/cells", preset.training)

Importing tfrcnn is cheap: the first name that needs TensorFlow imports it. If Keras is imported already, the models
are imported at once, which registers them, so that

    import keras, tfrcnn

    keras.models.load_model("detector.keras")

needs no custom_objects. If tfrcnn is imported before Keras, `import tfrcnn.models` does the same.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrcnn.config import BackboneConfig as BackboneConfig
    from tfrcnn.config import Category as Category
    from tfrcnn.config import DetectorConfig as DetectorConfig
    from tfrcnn.config import FPNConfig as FPNConfig
    from tfrcnn.config import HeadConfig as HeadConfig
    from tfrcnn.config import ImageConfig as ImageConfig
    from tfrcnn.config_cascade import CascadeConfig as CascadeConfig
    from tfrcnn.config_detections import DetectionConfig as DetectionConfig
    from tfrcnn.config_losses import BoxLossConfig as BoxLossConfig
    from tfrcnn.config_losses import ClassLossConfig as ClassLossConfig
    from tfrcnn.config_rpn import AnchorConfig as AnchorConfig
    from tfrcnn.config_rpn import MatchConfig as MatchConfig
    from tfrcnn.config_rpn import ProposalConfig as ProposalConfig
    from tfrcnn.config_rpn import RPNConfig as RPNConfig
    from tfrcnn.config_training import TrainingConfig as TrainingConfig
    from tfrcnn.data.augment.custom import from_albumentations as from_albumentations
    from tfrcnn.data.convert import Conversion as Conversion
    from tfrcnn.data.convert import convert_dataset as convert_dataset
    from tfrcnn.data.doctor import diagnose as diagnose
    from tfrcnn.data.example import Dataset as Dataset
    from tfrcnn.data.example import Example as Example
    from tfrcnn.data.faults import Report as Report
    from tfrcnn.data.pipeline import inference_data as inference_data
    from tfrcnn.data.pipeline import training_data as training_data
    from tfrcnn.data.read import load_dataset as load_dataset
    from tfrcnn.data.read import read_dataset as read_dataset
    from tfrcnn.data.split import split_dataset as split_dataset
    from tfrcnn.detections import Detection as Detection
    from tfrcnn.detections import ImageDetections as ImageDetections
    from tfrcnn.detections import ImageProposals as ImageProposals
    from tfrcnn.errors import InputError as InputError
    from tfrcnn.evaluation.evaluate import evaluate as evaluate
    from tfrcnn.evaluation.proposals import ProposalEvaluation as ProposalEvaluation
    from tfrcnn.evaluation.proposals import evaluate_proposals as evaluate_proposals
    from tfrcnn.evaluation.result import Evaluation as Evaluation
    from tfrcnn.explanation import Explanation as Explanation
    from tfrcnn.explanation import explain as explain
    from tfrcnn.models.backbones import register_backbone as register_backbone
    from tfrcnn.models.backbones.spec import BackboneSpec as BackboneSpec
    from tfrcnn.models.build import build_detector as build_detector
    from tfrcnn.models.build import load_detector as load_detector
    from tfrcnn.models.build import save_detector as save_detector
    from tfrcnn.models.faster_rcnn import FasterRCNN as FasterRCNN
    from tfrcnn.models.preset_table import Preset as Preset
    from tfrcnn.models.presets import preset as preset
    from tfrcnn.models.presets import preset_names as preset_names
    from tfrcnn.models.transfer import unshare as unshare
    from tfrcnn.models.transfer import with_categories as with_categories
    from tfrcnn.predictor import Predictor as Predictor
    from tfrcnn.predictor import load as load
    from tfrcnn.report.data import data_report as data_report
    from tfrcnn.report.evaluation import evaluation_report as evaluation_report
    from tfrcnn.run_description import write_thresholds as write_thresholds
    from tfrcnn.training.joint import TrainingModel as TrainingModel
    from tfrcnn.training.lr_finder import LearningRateSweep as LearningRateSweep
    from tfrcnn.training.lr_finder import find_learning_rate as find_learning_rate
    from tfrcnn.training.recipe import Recipe as Recipe
    from tfrcnn.training.run import Run as Run
    from tfrcnn.training.run import train as train
    from tfrcnn.training.run_optimizer import make_optimizer as make_optimizer
    from tfrcnn.training.schemes import freeze as freeze
    from tfrcnn.training.strategy import make_strategy as make_strategy
    from tfrcnn.views.plan import Views as Views
    from tfrcnn.views.predictor import ViewPredictor as ViewPredictor
    from tfrcnn.views.region import Region as Region
    from tfrcnn.views.region import read_region as read_region
    from tfrcnn.weights.importing import import_weights as import_weights

__version__ = "0.2.0"  # setup.py reads it here

# The module of each public name; type checkers read the imports above.
_HOMES = {
    "tfrcnn.config": (
        "BackboneConfig",
        "Category",
        "DetectorConfig",
        "FPNConfig",
        "HeadConfig",
        "ImageConfig",
    ),
    "tfrcnn.config_cascade": ("CascadeConfig",),
    "tfrcnn.config_detections": ("DetectionConfig",),
    "tfrcnn.config_losses": ("BoxLossConfig", "ClassLossConfig"),
    "tfrcnn.config_rpn": ("AnchorConfig", "MatchConfig", "ProposalConfig", "RPNConfig"),
    "tfrcnn.config_training": ("TrainingConfig",),
    "tfrcnn.data.augment.custom": ("from_albumentations",),
    "tfrcnn.data.convert": ("Conversion", "convert_dataset"),
    "tfrcnn.data.doctor": ("diagnose",),
    "tfrcnn.data.example": ("Dataset", "Example"),
    "tfrcnn.data.faults": ("Report",),
    "tfrcnn.data.pipeline": ("inference_data", "training_data"),
    "tfrcnn.data.read": ("load_dataset", "read_dataset"),
    "tfrcnn.data.split": ("split_dataset",),
    "tfrcnn.detections": ("Detection", "ImageDetections", "ImageProposals"),
    "tfrcnn.errors": ("InputError",),
    "tfrcnn.evaluation.evaluate": ("evaluate",),
    "tfrcnn.evaluation.proposals": ("ProposalEvaluation", "evaluate_proposals"),
    "tfrcnn.evaluation.result": ("Evaluation",),
    "tfrcnn.explanation": ("Explanation", "explain"),
    "tfrcnn.models.backbones": ("register_backbone",),
    "tfrcnn.models.backbones.spec": ("BackboneSpec",),
    "tfrcnn.models.build": ("build_detector", "load_detector", "save_detector"),
    "tfrcnn.models.faster_rcnn": ("FasterRCNN",),
    "tfrcnn.models.preset_table": ("Preset",),
    "tfrcnn.models.presets": ("preset", "preset_names"),
    "tfrcnn.models.transfer": ("unshare", "with_categories"),
    "tfrcnn.predictor": ("Predictor", "load"),
    "tfrcnn.report.data": ("data_report",),
    "tfrcnn.report.evaluation": ("evaluation_report",),
    "tfrcnn.run_description": ("write_thresholds",),
    "tfrcnn.training.joint": ("TrainingModel",),
    "tfrcnn.training.lr_finder": ("LearningRateSweep", "find_learning_rate"),
    "tfrcnn.training.run_optimizer": ("make_optimizer",),
    "tfrcnn.training.recipe": ("Recipe",),
    "tfrcnn.training.run": ("Run", "train"),
    "tfrcnn.training.schemes": ("freeze",),
    "tfrcnn.training.strategy": ("make_strategy",),
    "tfrcnn.views.plan": ("Views",),
    "tfrcnn.views.predictor": ("ViewPredictor",),
    "tfrcnn.views.region": ("Region", "read_region"),
    "tfrcnn.weights.importing": ("import_weights",),
}
_ON_KERAS = ("tfrcnn.models", "tfrcnn.report.data", "tfrcnn.training", "tfrcnn.weights")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOME_OF[name].startswith(_ON_KERAS):
        importlib.import_module("tfrcnn.backend")  # checks it, before Keras loads another one
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})


if "keras" in sys.modules:  # register the models, for keras.models.load_model
    importlib.import_module("tfrcnn.backend")
    importlib.import_module("tfrcnn.models.faster_rcnn")
    importlib.import_module("tfrcnn.training.joint")
