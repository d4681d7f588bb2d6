"""`tfrcnn import-weights`: make a detector from another library's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import IMPORT_SOURCES
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError


def import_weights(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="A .pth, .safetensors, .npz or .pkl file, or a published name, for example coco-resnet50, which is "
            "downloaded once.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder to write the detector to, new or empty.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LIBRARY",
            help=f"Library of a file: {' or '.join(IMPORT_SOURCES)}. Default: {IMPORT_SOURCES[0]}.",
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="PRESET", help="Network of a file, see --list.")] = None,
    categories: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='COCO json with the "categories" of the checkpoint, in the order of its classes without background. '
            "Default: COCO's.",
        ),
    ] = None,
    norm_epsilon: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Epsilon of the backbone's batch norms. Default: the library's; 0 for torchvision's published "
            "fasterrcnn_resnet50_fpn and for detectors that were fine-tuned from it.",
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="List the published names and the networks of files, and exit.")
    ] = False,
) -> None:
    """Make a run folder from the checkpoint of torchvision's or Detectron2's Faster R-CNN.

    Neither library has to be installed, and nothing in the file is executed. Nothing is written unless every weight is
    accounted for. Use the folder like one of tfrcnn train: evaluate, predict, or train --init from it. Downloads are
    kept in the folder TFRCNN_CACHE, by default ~/.cache/tfrcnn. Without a network, the error says which file to copy
    where.

    \b
    Examples:
      tfrcnn import-weights --list
      tfrcnn import-weights coco-resnet50 --out runs/coco
      tfrcnn import-weights --from torchvision --preset fasterrcnn_resnet50_fpn \\
                            fasterrcnn_resnet50_fpn_coco-258fb6c6.pth --out runs/coco
      tfrcnn train --init runs/coco --train cells/VOC@train --val cells/VOC@val --out runs/cells
    """
    if show:
        load_tensorflow()
        print(_listing())
        return
    is_file = checkpoint is None or bool(checkpoint.suffix)  # a published name has its preset
    needed = {"CHECKPOINT": checkpoint, "--out": out, **({"--preset": preset} if is_file else {})}
    missing = [name for name, value in needed.items() if value is None]
    if missing or checkpoint is None or out is None:
        raise InputError(f"{' and '.join(missing)} needed; tfrcnn import-weights --list shows what can be imported")
    load_tensorflow()
    from tfrcnn.models import save_detector
    from tfrcnn.results import check_new_folder
    from tfrcnn.weights.importing import import_weights, read_categories
    from tfrcnn.weights.published import PUBLISHED

    check_new_folder(out)
    names = read_categories(categories) if categories else ()
    detector = import_weights(checkpoint, preset, source, names, norm_epsilon)  # type: ignore[arg-type]  # checks the name
    entry = PUBLISHED.get(str(checkpoint))
    source = entry.source if entry else source or IMPORT_SOURCES[0]
    save_detector(detector, out, {"imported": {"from": source, "file": checkpoint.name}, "metric": "coco"})
    print(
        f"{out} holds {source}'s {detector.config.preset}: {detector.count_params():,} weights, "
        f"{detector.config.num_classes} categories."
    )


def _listing() -> str:
    from tfrcnn.weights.importing import SOURCES
    from tfrcnn.weights.published import PUBLISHED

    width = max(map(len, PUBLISHED)) + 2
    lines = [f"{'published name':{width}}{'preset':40}score, size"]
    lines += [f"{name:{width}}{entry.preset:40}{entry.summary}" for name, entry in PUBLISHED.items()]
    lines += ["", "Names coco-... are for train --init and import-weights, imagenet-... for train --backbone-weights."]
    lines += ["", f"{'library':14}{'preset':40}published checkpoint"]
    for name, source in SOURCES.items():
        lines += [f"{name:14}{preset:40}{checkpoint}" for preset, checkpoint in source.presets.items()]
    return "\n".join(lines)
