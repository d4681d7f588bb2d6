"""The definition of an export format.

A new format takes two steps: a folder whose `__init__.py` defines a `Target`, and a line in `TARGETS`
(`export/__init__.py`). Export, verification, benchmark and the command line read everything from there.
"""

from __future__ import annotations

import abc
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from ..models import FasterRCNN
    from .options import ExportOptions


class Runtime(Protocol):
    """An exported file, loaded.

    Attributes:
        description: The file's description, see `contract.describe`.
        path: The file, absolute.
    """

    description: dict[str, Any]
    path: Path

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect.

        Args:
            images: [B, H, W, 3] RGB 0..255, see `artefact.check_images`.

        Returns:
            The outputs by `artefact.OUTPUTS`, in that order.

        Raises:
            InputError: Another shape or type.
        """


class Target(abc.ABC):
    """An export format.

    `recognises`, `write` and `load` make a format complete; the other methods add diagnostics. Import libraries inside
    the methods: listing the formats must not import TensorFlow.

    Attributes:
        name: The format, as in `ExportOptions` and `--format`.
        summary: The software that runs it, for `tfrcnn export --help`.
        suffix: Ending of the file's name; empty for a folder.
        precisions: Precisions it offers.
        runtimes: Names of the runtimes; the first is the default.
        needs_tensorflow: Whether the runtimes need TensorFlow.
        server_files: Names and texts of the files that its servers want next to the versions of a model.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    runtimes: ClassVar[tuple[str, ...]]
    needs_tensorflow: ClassVar[bool] = False
    server_files: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @abc.abstractmethod
    def recognises(self, path: Path) -> bool:
        """Return whether an existing file or folder has this format."""

    @abc.abstractmethod
    def write(self, detector: FasterRCNN, path: Path, options: ExportOptions) -> None:
        """Write a detector to a path that does not exist yet; the outputs are `contract.to_contract`'s."""

    @abc.abstractmethod
    def load(self, path: Path, threads: int | None = None, runtime: str | None = None) -> Runtime:
        """Load an exported file.

        Args:
            path: The file or folder.
            threads: Number of threads; None is the runtime's default.
            runtime: One of `runtimes`; None is the first that is installed.

        Raises:
            InputError: The file is missing, damaged, or not exported by tfrcnn.
        """

    def installed_runtimes(self) -> tuple[str, ...]:
        """Return the installed ones among `runtimes`."""
        return self.runtimes

    def operators(self, path: Path) -> list[dict[str, Any]]:
        """List the operators of an exported file for the report, see `check.operators`."""
        return []

    def stage_outputs(self, detector: FasterRCNN, options: ExportOptions, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Compute what each stage returns when it is exported, to find the one that makes a verification fail.

        Args:
            detector: The detector, prepared with the options of the export.
            options: The options; only the precision and the representative images count.
            picture: [H, W, 3] uint8.

        Returns:
            Outputs as of `run_stages`; empty if the format cannot compute them.
        """
        return {}

    def profile(self, path: Path, runtime: str, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
        """Measure each stage of a detection.

        Args:
            path: The file or folder.
            runtime: One of `runtimes`.
            threads: Number of threads.
            picture: [H, W, 3] uint8.
            rounds: Number of detections.

        Returns:
            Median milliseconds by `stages.STAGES`; empty if the runtime does not measure them.
        """
        return {}

    def check(self, path: Path, precision: str, has_representative: bool) -> None:
        """Check the options that depend on the format.

        Raises:
            InputError: An unknown precision, int8 without representative images, or a path that exists.
        """
        if precision not in self.precisions:
            expected = ", ".join(self.precisions)
            raise InputError(f"precision of {self.name} must be one of {expected}, found {precision!r}")
        if precision == "int8" and not has_representative:
            raise InputError("int8 needs representative images to measure ranges on (--representative DATA)")
        if path.exists():
            raise InputError(f"{path} exists: choose another name, or remove it")
