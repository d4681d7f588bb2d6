"""Takes up new versions of a folder while requests go on, as TensorFlow Serving does.

The workers of the new version start next to the old ones, so two copies of the model are in memory for a while. When
all of them are ready, requests go to them. The old workers end after their last answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if __package__:
    from .pool import Pool
    from .versions import newest_model, version_of
else:  # run as a file
    from pool import Pool  # type: ignore[no-redef]
    from versions import newest_model, version_of  # type: ignore[no-redef]

if TYPE_CHECKING:
    from .app import Service

PAUSE = 1.0  # seconds between two looks at the folder, as TensorFlow Serving
CHECK = 0.1  # seconds between two looks at a pool


class Follower:
    """Keeps a service at the newest version of a folder.

    Attributes:
        folder: The folder of versions.
        command: Returns the command of a worker for a model.
        refused: The version that could not be loaded, and when its model was written. It is not loaded again until
            its model changes, for example because a copy of it ends, or another version was the newest.
    """

    def __init__(self, folder: Path, command: Callable[[Path], list[str]]) -> None:
        self.folder, self.command, self.refused = folder, command, ("", 0)

    async def run(self, service: Service) -> None:
        """Follow the folder for ever."""
        while True:
            await asyncio.sleep(PAUSE)
            model = await self._newest()
            if model is None:  # a network folder that is away for a moment
                continue
            version, state = version_of(model), _written(model)
            if version != self.refused[0]:
                self.refused = ("", 0)
            if version != service.version and (version, state) != self.refused:
                await self._take_up(service, model, version)

    async def _newest(self) -> Path | None:
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(newest_model, self.folder)
        return None

    async def _take_up(self, service: Service, model: Path, version: str) -> None:
        written = _written(model)
        unused = Pool(self.command(model), service.pool.count, service.pool.limits)
        try:
            unused.start()
            while not unused.complete:
                if unused.failure or unused.counts.ends:
                    self.refused = version, written
                    _say(f"error: version {version} cannot be loaded; version {service.version} goes on")
                    return
                await asyncio.sleep(CHECK)
                if await self._newest() not in (model, None):  # rolled back, or a newer one is there
                    return
            unused = service.replace(unused, version)
            _say(f"version {version} is served")
            while unused.busy:
                await asyncio.sleep(CHECK)
        finally:
            service.retired = None
            await unused.stop()


def _written(model: Path) -> int:
    """Return when a model was written, in nanoseconds; 0 if that cannot be read."""
    with contextlib.suppress(OSError):
        return max(path.stat().st_mtime_ns for path in (model, *model.rglob("*")))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
