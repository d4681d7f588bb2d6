"""The pool of workers: what it does if none can be started, or none can load the model."""

import asyncio
import sys

from tfrcnn.export.serving.pool import Pool, Worker
from tfrcnn.export.serving.protocol import ANSWER, Limits

# a worker that says that it cannot load the model, and ends
FAILING = f"""
import json, struct, sys
body = json.dumps({{"error": "no memory"}}).encode()
sys.stdout.buffer.write(struct.pack({ANSWER.format!r}, 0, 500, len(body)) + body)
"""


async def spawns(pool, monkeypatch, seconds):
    """Count the starts of a pool's worker in some seconds."""
    count, spawn = 0, pool._spawn

    async def counted():
        nonlocal count
        count += 1
        return await spawn()

    monkeypatch.setattr(pool, "_spawn", counted)
    pool.start()
    await asyncio.sleep(seconds)
    assert not pool.keepers[0].done()
    await pool.stop()
    return count


def test_the_pool_waits_longer_after_each_load_that_fails(monkeypatch, capsys):
    pool = Pool([sys.executable, "-c", FAILING], 1, Limits())
    pool.signatures = {}  # the model was loaded before
    assert asyncio.run(spawns(pool, monkeypatch, 2.5)) in (2, 3)
    assert "error: no memory" in capsys.readouterr().err


def test_the_pool_goes_on_if_a_worker_cannot_be_started(monkeypatch, capsys):
    assert asyncio.run(spawns(Pool(["/no/such/program"], 1, Limits()), monkeypatch, 1.5)) in (2, 3)
    assert "error: no worker can be started: " in capsys.readouterr().err


def test_a_keeper_that_is_cancelled_when_its_worker_ends_is_cancelled():
    """`asyncio.wait_for` of Python 3.11 loses such a cancellation, and the server would wait for ever."""

    class Process:
        stdin, returncode = None, 0

        def __init__(self):
            self.ended = asyncio.Event()

        async def wait(self):
            await self.ended.wait()

    async def play(turns):
        process = Process()
        ending = asyncio.create_task(Worker(process).end())
        await asyncio.sleep(0)
        process.ended.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        runs = ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        assert ending.cancelled() == runs

    for turns in range(4):
        asyncio.run(play(turns))
