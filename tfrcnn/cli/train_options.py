"""The options of `tfrcnn train`: each with its type and its help. `tfrcnn.cli.train` lists them in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfrcnn.cli.options import (
    DATA_HELP,
    DEFAULT_EMA,
    DEFAULT_MODEL,
    IMAGES_HELP,
    OPTIMIZERS,
    PRESETS,
    StrategyName,
)
from tfrcnn.cli.options import ImageSize as ImageSize
from tfrcnn.cli.options import Metric as MetricName
from tfrcnn.cli.options import Scheme as SchemeName
from tfrcnn.cli.options import Settings as Settings
from tfrcnn.cli.options import parse_settings as parse_settings
from tfrcnn.config_training import MAX_SEED

Out = Annotated[
    Path, typer.Option(metavar="RUN", help="The run folder, new or empty unless --resume; or its address in a bucket.")
]
Train = Annotated[
    str | None, typer.Option(metavar="DATA", help=f"Data to learn from: {DATA_HELP}. Needed unless --resume.")
]
Val = Annotated[
    str | None,
    typer.Option(
        metavar="DATA|FRACTION",
        help="Data to choose the best epoch by; classes are matched by name. Or a part of --train to split off for "
        "it, for example 0.2: by image, with the rare classes on both sides, recorded in RUN/split.json. Default: "
        "none; the newest weights are kept.",
    ),
]
Images = Annotated[str | None, typer.Option(metavar="DIR", help=IMAGES_HELP)]
ValImages = Annotated[str | None, typer.Option(metavar="DIR", help="Folder of the --val images. Default: as --images.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET",
        help=f"{', '.join(PRESETS)}, or a preset of your own, FILE.json. Default: {DEFAULT_MODEL}.",
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        metavar="RUN|NAME",
        help="Start from the detector in this folder (of tfrcnn train or import-weights), instead of --model and "
        "--backbone-weights. All is kept except the outputs for categories that it does not know by name. Or a "
        "published name, for example coco-resnet50, which is downloaded once; import-weights --list shows all.",
    ),
]
BackboneWeights = Annotated[
    str | None,
    typer.Option(
        metavar="imagenet|none|FILE|NAME",
        help="Weights that the backbone starts from: imagenet (Keras downloads them once), none (random, nothing "
        "frozen), or a file. The file is made by keras.applications.NAME(include_top=False).save_weights (for "
        "vgg16 also with include_top=True: the box head then starts from its fc1 and fc2), or is torchvision's "
        "classifier for the presets fasterrcnn_... A NAME of import-weights --list, for example imagenet-resnet50, "
        "is downloaded once. Default: imagenet; none for tiny_fpn.",
    ),
]
Anchors = Annotated[
    Literal["auto"] | None,
    typer.Option(
        help="auto: fit sizes and ratios of the anchors to the boxes of --train, as many as the model has. The run "
        "prints how many objects they can reach, before and after. Default: the model's.",
    ),
]
Scheme = Annotated[
    SchemeName | None,
    typer.Option(
        help="How RPN and Fast R-CNN are trained (section 3.2 of the paper). joint: both at once. alternating: the "
        "four steps. rpn-only: proposals alone. fast-rcnn-only: on the proposals of --proposals. unshared: two "
        "networks, the first two of the four steps. Default: joint.",
    ),
]
Proposals = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="For --scheme fast-rcnn-only: the detector in this folder proposes, in training and afterwards, and "
        "is not changed. Its network replaces --model.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Times through the data for the RPN and for Fast R-CNN, both at once in joint training; each of the "
        "four steps takes half of them. With --resume: the new number of a run that is extended or cut short. "
        "Default: the preset's.",
    ),
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Images per step. Default: the preset's.")]
LearningRate = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="For 16 images per step; the run takes X * batch size / 16. Default: the preset's.",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"{', '.join(OPTIMIZERS)}, or tfa:CLASS for a class of tensorflow-addons, for example tfa:LAMB. --set "
        "training.optimizer_options={...} sets its arguments. Without --learning-rate, another than sgd takes a part "
        "of the preset's rate. Default: the preset's.",
    ),
]
AccumulationSteps = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Steps whose gradients are averaged for one update, for batches that the memory cannot take: the update "
        "is that of N * batch size images. Default: 1.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Stop after N epochs without a better validation score. May change with --resume. Default: never.",
    ),
]
Freeze = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Stages of the backbone, from its input, that are not trained. Default: the preset's."
    ),
]
Swa = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Evaluate and keep the mean of the weights over the run's last part, which begins at this fraction of "
        "it, for example 0.75 (stochastic weight averaging). Default: no such mean.",
    ),
]
MixedPrecision = Annotated[
    bool | None,
    typer.Option(
        "--mixed-precision",
        help="Compute the network in 16 bits (mixed_float16 on a GPU, else mixed_bfloat16), boxes in 32.",
    ),
]
Ema = Annotated[
    bool | None,
    typer.Option(
        help=f"Evaluate and keep moving averages of the weights (decay {DEFAULT_EMA}). Default: the preset's."
    ),
]
Metric = Annotated[
    MetricName | None,
    typer.Option(help="Metric after every epoch; its first number chooses the best. Default: coco."),
]
MaxDetections = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Detections that the detector keeps per image, for images of more than 100 objects. Short for --set "
        "detector.detections.max_detections=N.",
    ),
]
ScoreThreshold = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Score in [0, 1) that the detector's detections exceed. Short for --set "
        "detector.detections.score_threshold=X.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=MAX_SEED, help="Seed of order, augmentation and sampling. Default: 0."),
]
Cache = Annotated[bool, typer.Option("--cache", help="Keep the decoded training images in memory.")]
Feeders = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT,...",
        help="Machines that run tfrcnn feed: they read, decode and augment the training images. The run's numbers are "
        "the same. Default: this machine does.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue the run in RUN from its last complete epoch, as if it had never stopped. It remembers its "
        "options: --out is enough. --train, --val and --images say where data are that have moved.",
    ),
]
Loggers = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Where the numbers of history.csv go too, comma-separated: tensorboard, wandb, mlflow; csv for none. "
        "A resumed run keeps its own. Default: tensorboard if it is installed.",
    ),
]
LRFinder = Annotated[
    bool,
    typer.Option(
        "--lr-finder",
        help="Train nothing: raise the learning rate over 100 updates, draw the loss in RUN-lr-finder/, and suggest "
        "a rate (Smith, arXiv 1506.01186).",
    ),
]
Strategy = Annotated[
    StrategyName,
    typer.Option(
        help="Devices: mirrored (all GPUs of this machine), multi-worker (several machines, which TF_CONFIG or Slurm "
        "lists), none (one). auto takes those that there are. --batch-size is of all devices together."
    ),
]
