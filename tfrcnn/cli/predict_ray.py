"""`tfrcnn predict --engine ray`: detect in blocks of pictures on the workers of Ray."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tfrcnn.cli.detecting import ViewOptions
from tfrcnn.errors import InputError
from tfrcnn.printable import count_of

if TYPE_CHECKING:
    from tfrcnn.batch.blocks import Blocks
    from tfrcnn.batch.engine import Work
    from tfrcnn.batch.parts import Parts
    from tfrcnn.predicting.selection import Selection

Engine = Literal["local", "ray"]
FORMATS = ("coco", "parquet")
BLOCK_SIZE = 256
MAX_ERRORS = 20  # that are printed


@dataclass(frozen=True)
class EngineOptions:
    """The engine that runs the detector, and the options that only `--engine ray` has; None if they are not set.

    Attributes:
        engine: of `--engine`.
        workers: of `--workers`.
        threads: of `--threads`.
        block_size: of `--block-size`.
        column: of `--column`.
        name_column: of `--name-column`.
    """

    engine: Engine = "local"
    workers: int | None = None
    threads: int | None = None
    block_size: int | None = None
    column: str | None = None
    name_column: str | None = None

    def check(self, pictures: bool | None, has_settings: bool, views: ViewOptions) -> None:
        """Refuse options that the engine does not have.

        Raises:
            InputError: there is one; or a package of the engine is not installed.
        """
        names = ("workers", "threads", "block_size", "column", "name_column")
        if self.engine == "local":
            for name in names:
                if getattr(self, name) is not None:
                    raise InputError(f"--{name.replace('_', '-')} needs --engine ray")
            return
        views_set = [name for name, value in vars(views).items() if value != getattr(ViewOptions(), name)]
        options = {"overlap": "tile-overlap"}
        refused = [
            *(["--pictures"] if pictures else []),
            *(["--set"] if has_settings else []),
            *(f"--{options.get(name, name)}" for name in views_set),
        ]
        if refused:
            raise InputError(f"{refused[0]} cannot be combined with --engine ray")
        from tfrcnn.batch.engine import check_engine

        check_engine()

    def read_formats(self, text: str) -> tuple[str, ...]:
        """Read --format.

        Raises:
            InputError: the engine does not write one.
        """
        from tfrcnn.result_formats import FORMATS as LOCAL_FORMATS

        formats = tuple(name.strip() for name in text.split(","))
        known, hint = (FORMATS, " with --engine ray") if self.engine == "ray" else (LOCAL_FORMATS, "")
        for name in formats:
            if name not in known:
                raise InputError(f"--format: expected some of {', '.join(known)}{hint}, found {name!r}")
        return formats


@dataclass
class RayJob:
    """A prediction on the workers of Ray.

    Attributes:
        out: folder of the results.
        resume: whether `out` may have some of them.
        formats: of `FORMATS`.
        batch: pictures of one size that are detected in together.
        options: of the engine.
        blocks: of pictures, after `find`.
    """

    out: Path
    resume: bool
    formats: tuple[str, ...]
    batch: int
    options: EngineOptions
    blocks: Blocks | None = None

    def find(self, sources: Sequence[str], recursive: bool) -> None:
        """Divide the pictures into blocks.

        Raises:
            InputError: no source holds a picture, or `out` is not new; or see `find_blocks`.
        """
        from tfrcnn.batch.blocks import find_blocks
        from tfrcnn.batch.parts import SETUP
        from tfrcnn.results import check_new_folder

        if not self.resume:
            check_new_folder(self.out, SETUP)
        size = self.options.block_size or BLOCK_SIZE
        self.blocks = find_blocks(sources, recursive, size, self.options.column, self.options.name_column)
        if not self.blocks.blocks:
            raise InputError(*map(str, self.blocks.errors or ["expected pictures on stdin, found no line"]))

    def run(self, predictor: Any, model: Path, selection: Selection) -> list[str]:
        """Detect, print what is done and where, and return the errors.

        Args:
            predictor: the detector.
            model: its path, from which the workers load it.
            selection: scores and classes to keep.
        """
        from tfrcnn.batch.detect import Detect
        from tfrcnn.batch.engine import Work
        from tfrcnn.batch.parts import DETECTIONS, PARTS, Parts
        from tfrcnn.locks import locked

        assert self.blocks is not None
        limits = enumerate(selection.thresholds(predictor.categories).tolist())
        scores = {label: limit for label, limit in limits if limit <= 1}  # infinite for a class that is left out
        detect = Detect(model, scores, tuple(scores), self.options.threads or 1, self.batch, "content", "path")
        categories = [category.to_dict() for category in predictor.categories]
        parts = Parts(self.out, categories)
        work = Work(detect, Parts(self.out.absolute(), categories))  # a worker has another working directory
        setup = {**selection.to_dict(predictor.categories), "detector": getattr(predictor, "digest", str(model))}
        count = len(self.blocks.blocks)
        with locked(self.out):
            parts.start(setup, self.blocks.blocks)
            errors = [*map(str, self.blocks.errors), *self._work(work, parts)]
            pictures, detections, failed = parts.count(count)
            missing = [number for number in range(count) if not parts.is_done(number)]
            if "coco" in self.formats and not missing:
                parts.write_coco(count)
        print(f"{count_of(pictures, 'picture')}, {count_of(detections, 'detection')}.")
        if self.blocks.left_out:
            print(f"Left out: {self.blocks.left_out}.")
        place = str(self.out / PARTS)
        if missing:
            print(f"\n{count - len(missing):,} of {count_of(count, 'block')} are done and kept in {place}.")
        else:
            print(
                f"\nAll detections are in {place}{f' and {self.out / DETECTIONS}' if 'coco' in self.formats else ''}."
            )
        errors += failed
        more = [f"{len(errors) - MAX_ERRORS:,} more: see the column error in {place}"] if errors[MAX_ERRORS:] else []
        return errors[:MAX_ERRORS] + more

    def _work(self, work: Work, parts: Parts) -> list[str]:
        """Do the blocks that are not done, and return the faults of those that still are not."""
        from tqdm import tqdm

        from tfrcnn.batch.engine import run_blocks, running_ray

        assert self.blocks is not None
        blocks = self.blocks.blocks
        tasks = [(number, block) for number, block in enumerate(blocks) if not parts.is_done(number)]
        if before := len(blocks) - len(tasks):
            print(f"{count_of(before, 'block')} done before.")
        if not tasks:
            return []
        for number, _ in tasks:
            parts.forget_starts(number)
        threads = self.options.threads or 1
        with running_ray(self.options.workers, threads) as workers:
            results = run_blocks(work, tasks, workers, threads)
            hidden = not sys.stderr.isatty()
            bar = tqdm(results, desc="detecting", unit="block", total=len(tasks), disable=hidden, leave=False)
            faults = {}
            for count, done in enumerate(bar, 1):
                faults[done.number] = done.fault
                bar.write(f"{parts.path(done.number)}: {done.fault or 'done'}, {count:,} of {len(tasks):,}")
                sys.stdout.flush()
        died = "no worker could do it"
        lost = [number for number, _ in tasks if not parts.is_done(number)]
        return [f"{parts.path(n)}: missing: {faults.get(n, died)}: continue with --resume" for n in lost]
