"""Takes up new versions of a folder while requests go on, as TensorFlow Serving does.

The workers of the new version start next to the old ones, so two copies of the model are in memory for a while. When
all of them are ready, requests go to them. The old workers end after their last answer.

A version that cannot be loaded is left out: the newest version that loads is served, also when the server starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .pool import Pool
from .versions import models_in, version_of

if TYPE_CHECKING:
    from .app import Service

PAUSE = 1.0  # seconds between two looks at the folder, as TensorFlow Serving
CHECK = 0.1  # seconds between two looks at a pool


class Follower:
    """Keeps a service at the newest version of a folder that loads.

    Attributes:
        folder: The folder of versions.
        command: Returns the command of a worker for a model.
        refused: Versions that could not be loaded, and when their models were written. One of them is loaded again
            when its model changes, for example because a copy of it ends, or when it was away from the folder, or
            after a later version was served.
        fail: Is called when the server starts and no version can be loaded; the server ends then.
    """

    def __init__(self, folder: Path, command: Callable[[Path], list[str]]) -> None:
        self.folder, self.command = folder, command
        self.refused: dict[str, int] = {}
        self.fail: Callable[[], None] = lambda: None

    async def run(self, service: Service) -> None:
        """Follow the folder for ever."""
        first = await asyncio.to_thread(self._written, service.version)
        while True:
            await asyncio.sleep(PAUSE)
            if service.pool.is_unloadable:
                self.refused.setdefault(service.version, first)
            else:
                self.refused.pop(service.version, None)
            model = await self._newest()
            service.refused = tuple(self.refused)
            if model is None:
                if service.pool.is_unloadable and service.pool.failure:
                    _say(f"error: {self.folder}: no version can be loaded")
                    self.fail()
            elif version_of(model) != service.version:
                if service.pool.is_unloadable:
                    await self._go_back(service, version_of(model))
                await self._take_up(service, model, version_of(model))
                service.refused = tuple(self.refused)

    async def _newest(self) -> Path | None:
        """Return the model of the newest version that is not refused; None if there is none."""
        with contextlib.suppress(OSError):  # a network folder that is away for a moment
            return await asyncio.to_thread(self._find)
        return None

    def _find(self) -> Path | None:
        models = {version_of(model): model for model in models_in(self.folder)}
        if models:
            self.refused = {
                version: written
                for version, written in self.refused.items()
                if version in models and _written(models[version]) in (written, 0)
            }
        return next((model for version, model in models.items() if version not in self.refused), None)

    async def _go_back(self, service: Service, version: str) -> None:
        """End the workers of a version that cannot be loaded."""
        _say(f"error: version {list(self.refused)[-1]} cannot be loaded; going back to version {version}")
        service.pool.failure = service.pool.failure or "its worker ended"
        await service.pool.stop()

    async def _take_up(self, service: Service, model: Path, version: str) -> None:
        written = _written(model)
        unused = Pool(self.command(model), service.pool.count, service.pool.limits)
        try:
            unused.start()
            while not unused.complete:
                if unused.failure or unused.counts.ends:
                    self.refused[version] = written
                    if not service.pool.is_unloadable:
                        _say(f"error: version {version} cannot be loaded; version {service.version} goes on")
                    return
                await asyncio.sleep(CHECK)
                if await self._newest() not in (model, None):  # rolled back, or a newer one is there
                    return
            unused = service.replace(unused, version)
            self.refused = {other: time for other, time in self.refused.items() if int(other) > int(version)}
            service.refused = tuple(self.refused)  # with the version: what follows takes as long as a request
            _say(f"version {version} is served")
            while unused.busy:
                await asyncio.sleep(CHECK)
        finally:
            await unused.stop()
            service.retired = None

    def _written(self, version: str) -> int:
        """Return when the model of a version was written; 0 if that cannot be read."""
        with contextlib.suppress(OSError):
            return next((_written(model) for model in models_in(self.folder) if version_of(model) == version), 0)
        return 0


def _written(model: Path) -> int:
    """Return when a model was written, in nanoseconds; 0 if that cannot be read."""
    with contextlib.suppress(OSError):
        return max(path.stat().st_mtime_ns for path in (model, *model.rglob("*")))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
