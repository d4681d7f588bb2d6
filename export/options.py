"""The options of an export."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..deprecation import warn_deprecated
from ..errors import InputError
from ..files import check_local
from . import TARGETS
from .target import Target

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export. None keeps the detector's own value.

    Args:
        format: A name in `tfrcnn.export.TARGETS`: "saved_model", "tflite" or "onnx".
        precision: One of the format's `precisions`; "float32" in all of them.
        image_size: (height, width) of the network's input in pixels; makes it static.
        max_detections: The most detections per image.
        score_threshold: Scores of all classes exceed it, in [0, 1). `DetectionConfig.class_score_thresholds` of the
            detector has thresholds of single classes.
        representative: Images [H, W, 3], RGB 0..255, on which int8 measures the ranges of activations. A hundred are
            plenty. By default, a file of any precision is compared on the first of them.

    Example:
        export(detector, "cells.tflite", ExportOptions("tflite", "float16", image_size=(320, 320)))
    """

    format: str
    precision: str = "float32"
    image_size: tuple[int, int] | None = None
    max_detections: int | None = None
    score_threshold: float | None = None
    representative: Iterable[np.ndarray] | None = None

    @property
    def form(self) -> str:
        """Deprecated name of `format`."""
        warn_deprecated("ExportOptions.form", "ExportOptions.format")
        return self.format

    @property
    def target(self) -> Target:
        """The format's `Target`.

        Raises:
            InputError: There is no such format.
        """
        if self.format not in TARGETS:
            raise InputError(f"format must be one of {', '.join(TARGETS)}, found {self.format!r}")
        return TARGETS[self.format]

    def with_representative(self, images: Iterable[np.ndarray]) -> ExportOptions:
        """Return the same options with other representative images."""
        return replace(self, representative=images)

    def check(self, path: Path, has_representative: bool | None = None) -> None:
        """Check everything that can be checked before any work.

        Args:
            path: The file or folder to write.
            has_representative: True if representative images will be there; None looks at `representative`.

        Raises:
            InputError: An unknown format or precision, a wrong suffix, int8 without representative images, or a path
                that exists.
        """
        check_local(path)
        if has_representative is None:
            has_representative = self.representative is not None
        target = self.target
        if target.suffix and path.suffix != target.suffix:
            raise InputError(f"{path}: expected a name that ends in {target.suffix} for {target.name}")
        target.check(path, self.precision, has_representative)


_init = ExportOptions.__init__


@functools.wraps(_init)
def _init_with_form(self: ExportOptions, *args: Any, **fields: Any) -> None:
    if "form" in fields:
        warn_deprecated("ExportOptions(form=...)", "ExportOptions(format=...)")
        fields["format"] = fields.pop("form")
    _init(self, *args, **fields)


ExportOptions.__init__ = _init_with_form  # type: ignore[method-assign]  # takes the deprecated keyword, until 0.3.0
