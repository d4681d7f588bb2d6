"""The server's worker processes: started, fed, and replaced when they die."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .protocol import ANSWER, COUNTED, DESCRIBED, REQUEST, Limits, error_body

Answer = tuple[int, bytes]  # HTTP status and body

STUCK = 5.0  # seconds after a request's deadline in which its worker has to say so; then it is killed
MAX_PAUSE = 30.0  # seconds between two attempts to start a worker
STOPPED = (503, error_body("the server is stopping"))


def worker_command(path: Path, limits: Limits, threads: int | None = None) -> list[str]:
    """Return the command that runs a model in a worker process.

    Args:
        path: A SavedModel, or a file that tfrcnn exported.
        limits: Limits on requests.
        threads: Threads of an exported file's runtime; None is the runtime's default.
    """
    is_file = __package__ == "serving"  # of server.py as a program
    script = [str(Path(__file__).with_name("worker.py"))] if is_file else ["-P", "-m", f"{__package__}.worker"]
    options = [] if threads is None else [str(threads)]
    return [sys.executable, *script, str(path), json.dumps(dataclasses.asdict(limits)), *options]


@dataclasses.dataclass
class Counts:
    """Counts the work of a service's workers, over all versions that it served.

    Attributes:
        images: Images that were answered.
        ends: Workers that ended and were replaced.
        detections: Detections in the answers, by the category's id and its name in the version that detected.
    """

    images: int = 0
    ends: int = 0
    detections: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def add(self, answer: dict[str, Any], description: dict[str, Any]) -> None:
        """Count an answer.

        Args:
            answer: "images", and "detections" by category id.
            description: The description of the model that answered.
        """
        names = {str(category["id"]): category["name"] for category in description.get("categories", [])}
        self.images += answer["images"]
        for category, count in answer["detections"].items():
            self.detections[category, names.get(category, "")] += count


class Worker:
    """One process and the requests that it has not answered."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pending: dict[int, asyncio.Future[Answer]] = {}
        self.writing = asyncio.Lock()
        self.ready = False

    async def send(self, number: int, deadline: float, body: bytes) -> None:
        """Send a request. If the process is dead, `Pool` fails the request when it sees the end of its answers."""
        assert self.process.stdin is not None
        async with self.writing:
            self.process.stdin.write(REQUEST.pack(number, deadline, len(body)))
            self.process.stdin.write(body)
            with contextlib.suppress(ConnectionError):
                await self.process.stdin.drain()

    async def receive(self) -> tuple[int, int, bytes]:
        """Return number, status and body of the next answer."""
        assert self.process.stdout is not None
        number, status, length = ANSWER.unpack(await self.process.stdout.readexactly(ANSWER.size))
        return number, status, await self.process.stdout.readexactly(length)

    def resolve(self, answer: Answer) -> None:
        """Give all waiting requests one answer."""
        for future in self.pending.values():
            if not future.done():
                future.set_result(answer)

    async def end(self) -> None:
        """End the process: it exits when its stdin ends."""
        self.ready = False
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(2):  # `wait_for` of Python 3.11 loses a cancellation that comes with the end
                await self.process.wait()
        except TimeoutError:
            pass
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()


class Pool:
    """Worker processes that share the requests.

    Attributes:
        failure: Why the model cannot be loaded, if its first loading failed.
        fail: Is called when the first loading failed; the server ends then.
        signatures: The model's signatures, None until a worker has loaded it.
        description: The description that tfrcnn wrote into the model; empty if there is none.
        counts: The work of its workers.
    """

    def __init__(self, command: Sequence[str], count: int, limits: Limits) -> None:
        """Make a pool.

        Args:
            command: Starts a worker, see `worker_command`.
            count: Number of processes.
            limits: Limits on requests.
        """
        self.command, self.count, self.limits = command, count, limits
        self.fail: Callable[[], None] = lambda: None
        self.workers: list[Worker] = []
        self.numbers = itertools.count(1)
        self.signatures: dict[str, Any] | None = None
        self.description: dict[str, Any] = {}
        self.counts = Counts()
        self.failure: str | None = None
        self.keepers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether a request would be answered now."""
        return any(worker.ready for worker in self.workers)

    @property
    def complete(self) -> bool:
        """True if all workers are ready."""
        return sum(worker.ready for worker in self.workers) == self.count

    @property
    def is_unloadable(self) -> bool:
        """True if the first loading of the model failed."""
        return self.signatures is None and (self.failure is not None or self.counts.ends > 0)

    @property
    def busy(self) -> bool:
        """True if a request waits for an answer."""
        return any(worker.pending for worker in self.workers)

    def start(self) -> None:
        """Start the processes."""
        self.keepers = [asyncio.create_task(self._keep()) for _ in range(self.count)]

    async def stop(self) -> None:
        """End the processes; requests that are not answered get 503."""
        for keeper in self.keepers:
            keeper.cancel()
        await asyncio.gather(*self.keepers, return_exceptions=True)

    def refuse_rest(self) -> None:
        """Answer all requests that wait with 503."""
        for worker in self.workers:
            worker.resolve(STOPPED)

    async def predict(self, body: bytes, deadline: float) -> Answer:
        """Let a worker answer.

        Args:
            body: The request's JSON.
            deadline: When the answer is late, on the clock of `time.monotonic`.
        """
        if time.monotonic() > deadline:  # no fault of a worker
            return 504, error_body(f"no answer within {self.limits.seconds:g} seconds")
        workers = [worker for worker in self.workers if worker.ready]
        if not workers:
            return 503, error_body("the model is being loaded")
        worker, number = min(workers, key=lambda one: len(one.pending)), next(self.numbers)
        worker.pending[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(deadline + STUCK - time.monotonic()):
                await worker.send(number, deadline, body)
                return await worker.pending[number]
        except TimeoutError:
            worker.ready = False
            worker.process.kill()
            return 504, error_body(f"no answer within {self.limits.seconds:g} seconds")
        finally:
            del worker.pending[number]

    async def _keep(self) -> None:
        """Run one worker after another."""
        deaths = 0  # since a worker last had the model and answered
        while True:
            await asyncio.sleep(min(2 ** max(deaths - 1, 0) - 1, MAX_PAUSE))
            try:
                worker = await self._spawn()
            except OSError as error:  # for example no memory for another process
                deaths += 1
                print(f"error: no worker can be started: {error}", file=sys.stderr)
                continue
            self.workers.append(worker)
            try:
                while True:
                    await self._take(worker)
                    if worker.ready:
                        deaths = 0
            except asyncio.IncompleteReadError:
                deaths += 1
                self.counts.ends += 1
                status = await worker.process.wait()
                if self.failure is None:
                    print(f"a worker ended with status {status}; starting another", file=sys.stderr)
            finally:
                self.workers.remove(worker)
                worker.resolve((503, error_body("the worker of this request ended; it may be sent again")))
                await worker.end()

    async def _spawn(self) -> Worker:
        # hide TensorFlow's notes on operations whose cost it cannot estimate
        environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the server: it lets requests in flight finish
        )
        return Worker(process)

    async def _take(self, worker: Worker) -> None:
        """Take one answer of a worker."""
        number, status, body = await worker.receive()
        if number:
            future = worker.pending.get(number)
            if future is not None and not future.done():
                future.set_result((status, body))
        elif status == DESCRIBED:
            self.description = json.loads(body)
        elif status == COUNTED:
            self.counts.add(json.loads(body), self.description)
        elif status == 200:
            self.signatures = json.loads(body)
            worker.ready = True
        else:
            reason = json.loads(body)["error"]
            print(f"error: {reason}", file=sys.stderr)
            if self.signatures is None:
                self.failure = reason
                self.fail()
