"""Following a folder of versions: no request is lost, whatever happens to the new version. No worker has a model."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.export.serving import follow
from tfrcnn.export.serving.app import Service, make_app
from tfrcnn.export.serving.follow import Follower
from tfrcnn.export.serving.pool import Pool
from tfrcnn.export.serving.protocol import COUNTED, Limits
from tfrcnn.export.versions import rollback

from .scripted_worker import TestClient, add, command_of, program

# A worker that answers with its model's version after 0.05 s, or ends at once, or says that it cannot load the model.
WORKER = program(
    """
    content = open(sys.argv[1]).read()
    if content == "ends":
        sys.exit(9)
    if content == "damaged":
        send(0, 500, {"error": "damaged"})
        sys.exit(1)
    """,
    f"""
    time.sleep(0.05)
    send(0, {COUNTED}, {{"images": 1, "detections": {{}}}})
    send(number, 200, content)
    """,
)
command = command_of(WORKER)


class Client:
    """Sends requests without a pause, four at a time, and keeps what was answered."""

    def __init__(self, service: Service) -> None:
        self.service, self.answers, self.statuses = service, [], set()

    async def run(self) -> None:
        while True:
            status, body = await self.service.pool.predict(b"{}", asyncio.get_running_loop().time() + 30)
            self.statuses.add(status)
            self.answers.append(json.loads(body))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(folder: Path, workers: int = 2) -> AsyncIterator[Client]:
    """Serve version 1 of a folder to clients that do not pause, and follow the folder."""
    add(folder, 1)
    service = Service(Pool(command(folder / "1/model.onnx"), workers, Limits()), "detector", "1")
    service.pool.start()
    client = Client(service)
    await client.until(lambda: service.pool.complete)
    tasks = [
        asyncio.create_task(work) for work in (Follower(folder, command).run(service), *(client.run() for _ in "1234"))
    ]
    try:
        yield client
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.pool.stop()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "PAUSE", 0.05)
    monkeypatch.setattr(follow, "CHECK", 0.02)


def test_a_new_version_and_a_rollback_are_taken_up_amid_requests_and_none_is_lost(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path) as client:
            service, first = client.service, client.service.pool
            await client.until(lambda: "1" in client.answers)
            add(tmp_path, 2)
            await client.until(lambda: "2" in client.answers and service.retired is None)
            assert service.version == "2"
            assert not first.workers  # they ended
            rollback(tmp_path)
            await client.until(lambda: service.version == "1" and service.retired is None)
            await client.until(lambda: client.answers[-1] == "1")
            assert client.statuses == {200}
            assert service.pool.counts.images >= len(client.answers) - 4  # of all versions

    asyncio.run(play())


@pytest.mark.parametrize("content", ["damaged", "ends"])
def test_a_version_that_cannot_be_loaded_is_reported_once_and_the_old_one_goes_on(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        async with serving(tmp_path, workers=1) as client:
            add(tmp_path, 2, content)
            printed: list[str] = []
            await client.until(
                lambda: printed.append(capsys.readouterr().err) or "cannot be loaded;" in "".join(printed)
            )
            assert "error: version 2 cannot be loaded; version 1 goes on" in "".join(printed)
            before = len(client.answers)
            await client.until(lambda: len(client.answers) > before + 8)
            assert "error" not in capsys.readouterr().err
            assert (client.service.version, {*client.answers}) == ("1", {"1"})
            add(tmp_path, 3)
            await client.until(lambda: "3" in client.answers)
            assert client.statuses == {200}

    asyncio.run(play())


def test_a_version_that_is_rolled_back_while_it_loads_is_not_served(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, workers=1) as client:
            service = client.service
            loading: list[Pool] = []
            start = Pool.start
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Pool, "start", lambda pool: (loading.append(pool), start(pool)))
                patch.setattr(Pool, "complete", False)  # it takes long
                add(tmp_path, 2)
                await client.until(lambda: loading)
                rollback(tmp_path)
                await client.until(lambda: loading[0].keepers and all(task.done() for task in loading[0].keepers))
            assert service.version == "1"
            assert client.statuses == {200}

    asyncio.run(play())


@pytest.mark.parametrize("content", ["damaged", "ends"])
def test_a_server_that_starts_goes_back_to_the_newest_version_that_loads(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (1, 2):
        add(tmp_path, version)
    for version in (9, 10):
        add(tmp_path, version, content)
    pool = Pool(command(tmp_path / "10/model.onnx"), 1, Limits())
    with TestClient(make_app(Service(pool, "detector", "10", follower=Follower(tmp_path, command)))) as client:
        until(client, "2")
        assert client.post("/v1/models/detector:predict", json={}).json() == "2"
        for path in ("/health", "/health/ready"):
            assert client.get(path).json() == {"status": "ready", "refused": ["10", "9"]}
        metrics = client.get("/metrics").text
        assert 'tfrcnn_refused_versions{version="10"} 1.0' in metrics
        assert 'tfrcnn_model_info{name="detector",version="2"} 1.0' in metrics
        printed = capsys.readouterr().err
        assert "error: version 10 cannot be loaded; going back to version 9\n" in printed
        assert "error: version 9 cannot be loaded; going back to version 2\nversion 2 is served\n" in printed
        (tmp_path / "10/model.onnx").write_text("10")  # the copy is complete
        until(client, "10")
        assert client.get("/health").json() == {"status": "ready"}
        assert "tfrcnn_refused_versions{" not in client.get("/metrics").text


def test_a_server_ends_if_no_version_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        for version in (1, 2):
            add(tmp_path, version, "damaged")
        follower, ended = Follower(tmp_path, command), asyncio.Event()
        follower.fail = ended.set
        service = Service(Pool(command(tmp_path / "2/model.onnx"), 1, Limits()), "detector", "2")
        service.pool.start()
        following = asyncio.create_task(follower.run(service))
        await asyncio.wait_for(ended.wait(), 60)
        following.cancel()
        await service.pool.stop()
        assert service.pool.failure == "damaged"
        assert capsys.readouterr().err.endswith(f"error: {tmp_path}: no version can be loaded\n")

    asyncio.run(play())


def test_a_good_version_below_a_damaged_one_is_taken_up(tmp_path: Path) -> None:
    async def play() -> None:
        async with serving(tmp_path, workers=1) as client:
            add(tmp_path, 3, "damaged")
            add(tmp_path, 2)
            await client.until(lambda: "2" in client.answers)
            assert client.service.refused == ("3",)
            rollback(tmp_path)
            await client.until(lambda: client.service.refused == ())
            assert (client.service.version, client.statuses) == ("2", {200})

    asyncio.run(play())


def until(client: Any, version: str) -> None:
    """Wait until a server serves a version."""
    for _ in range(3000):
        (status,) = client.get("/v1/models/detector").json()["model_version_status"]
        if (status["version"], status["state"]) == (version, "AVAILABLE"):
            return
        time.sleep(0.02)
    raise TimeoutError


def test_the_server_reports_the_version_that_it_took_up(tmp_path: Path) -> None:
    add(tmp_path, 1)
    pool = Pool(command(tmp_path / "1/model.onnx"), 1, Limits())
    with TestClient(make_app(Service(pool, "detector", "1", follower=Follower(tmp_path, command)))) as client:
        until(client, "1")
        assert client.post("/v1/models/detector:predict", json={}).json() == "1"
        add(tmp_path, 2)
        until(client, "2")
        assert client.post("/v1/models/detector:predict", json={}).json() == "2"
        assert client.post("/v1/models/detector/versions/2:predict", json={}).json() == "2"
        assert client.post("/v1/models/detector/versions/1:predict", json={}).status_code == 404
        assert 'tfrcnn_model_info{name="detector",version="2"} 1.0' in client.get("/metrics").text


def test_a_request_of_a_version_that_went_while_its_body_arrived_gets_404(tmp_path: Path) -> None:
    from fastapi import HTTPException

    service = Service(Pool(["false"], 1, Limits()), "detector", "1")

    class Request:
        async def stream(self) -> AsyncIterator[bytes]:
            service.replace(Pool(["false"], 1, Limits()), "2")
            yield b"{}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pool, "ready", True)
        with pytest.raises(HTTPException, match="Servable not found"):
            asyncio.run(service.predict(Request(), "detector", "1"))
