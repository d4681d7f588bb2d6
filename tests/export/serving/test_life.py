"""The life of the server and its workers: signals, deaths and loads. The workers of these tests have no model."""

import gzip
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tfrcnn.export.serving import server

SERVING = Path(server.__file__).parent
FAKE = Path(__file__).with_name("fake_worker.py")
MODEL = "/v1/models/detector"
# seconds to load, grace, limits, patience
START = """
import sys
from tfrcnn.export.serving import server
from tfrcnn.export.serving.pool import Pool
from tfrcnn.export.serving.protocol import Limits
pool = Pool([sys.executable, *sys.argv[1:3]], 1, Limits(**eval(sys.argv[4])))
server.PATIENCE = float(sys.argv[5])
sys.exit(server.run(pool, "detector", "3", "127.0.0.1", 0, float(sys.argv[3])))
"""


class Running:
    """A server that runs."""

    def __init__(self, load=0.0, grace=5.0, before=(), patience=10.0, **limits):
        words = [*before, sys.executable, "-c", START, FAKE, load, grace, limits, patience]
        self.process = subprocess.Popen([str(word) for word in words], stderr=subprocess.PIPE, text=True)
        self.base = f"http://{self.process.stderr.readline().split()[-1]}"

    def post(self, body, path=f"{MODEL}:predict"):
        return requests.post(self.base + path, json=body, timeout=30)

    def ready(self):
        return requests.get(f"{self.base}/health/ready", timeout=10).status_code == 200

    def wait_until(self, condition):
        for _ in range(600):
            if condition():
                return
            time.sleep(0.05)
        raise TimeoutError

    def worker(self):
        return child_of(self.process.pid)


def child_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.fixture(scope="module")
def shared():
    one = Running(waiting=2, body=1000, seconds=1.0)
    one.wait_until(one.ready)
    yield one
    one.process.kill()
    one.process.communicate()


@pytest.fixture
def start():
    servers = []

    def make(wait=True, **options):
        servers.append(Running(**options))
        if wait:
            servers[-1].wait_until(servers[-1].ready)
        return servers[-1]

    yield make
    for one in servers:
        one.process.kill()
        one.process.communicate()


def runs(pid):
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_requests_in_flight_finish_after_sigterm_and_nothing_is_left(start):
    one = start()
    worker = one.worker()
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(one.post, {"sleep": 1, "say": i}) for i in range(4)]
        time.sleep(0.4)
        one.process.send_signal(signal.SIGTERM)
        assert [answer.result().json() for answer in answers] == [{"predictions": [i]} for i in range(4)]
    assert one.process.wait(5) == 0
    assert not runs(worker)
    with pytest.raises(requests.ConnectionError):
        one.ready()


@pytest.mark.slow
def test_the_server_exits_within_its_grace_and_says_so_to_those_who_wait(start):
    one = start(grace=1.0)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(one.post, {"sleep": 60})
        time.sleep(0.3)
        one.process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 503
    assert one.process.wait(4) == 0


@pytest.mark.slow
def test_sigterm_while_the_model_is_loaded_ends_the_server(start):
    one = start(wait=False, load=60)
    assert requests.get(f"{one.base}/health/live", timeout=10).ok
    one.wait_until(lambda: Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text())
    worker = one.worker()
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(10) == 0
    assert not runs(worker)


@pytest.mark.slow
def test_sigterm_ends_the_server_as_process_1_of_a_container(start):
    """Linux drops signals to process 1 that it does not handle."""
    unshare = ["unshare", "--pid", "--fork"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no namespaces of processes")
    one = start(before=unshare)
    first = one.worker()
    worker = child_of(first)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(one.post, {"sleep": 0.5, "say": 1})
        time.sleep(0.2)
        os.kill(first, signal.SIGTERM)
        assert answer.result().ok
    assert one.process.wait(5) == 0
    assert not runs(first)
    assert not runs(worker)


def test_workers_end_with_a_server_that_is_killed(start):
    one = start()
    worker = one.worker()
    one.process.kill()
    one.wait_until(lambda: not runs(worker))


def test_a_killed_worker_is_replaced_and_its_requests_get_503_at_once(start):
    one = start(load=0.5)
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(one.post, {"sleep": 20}) for _ in range(2)]
        time.sleep(0.3)
        started = time.monotonic()
        os.kill(one.worker(), signal.SIGKILL)
        assert [answer.result().status_code for answer in answers] == [503, 503]
    assert time.monotonic() - started < 2
    assert not one.ready()
    assert requests.get(f"{one.base}/health/live", timeout=10).ok
    status = requests.get(one.base + MODEL, timeout=10).json()["model_version_status"][0]
    assert status["state"] == "LOADING"
    refused = one.post({"say": 1})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    one.wait_until(one.ready)
    assert one.post({"say": 2}).json() == {"predictions": [2]}


@pytest.mark.slow
def test_a_request_that_kills_its_worker_does_not_end_the_server(start):
    one = start()
    for _ in range(2):
        assert one.post({"die": True}).status_code == 503
        one.wait_until(one.ready)
    assert one.post({"say": 2}).ok


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_replaced(start):
    one = start(seconds=0.5)
    worker = one.worker()
    assert one.post({"sleep": 60}).status_code == 504
    one.wait_until(lambda: not runs(worker))
    one.wait_until(one.ready)


def test_requests_beyond_the_queue_are_refused_at_once(shared):
    with ThreadPoolExecutor(2) as threads:
        held = [threads.submit(shared.post, {"sleep": 0.8}) for _ in range(2)]
        time.sleep(0.4)
        started = time.monotonic()
        refused = shared.post({})
        assert (refused.status_code, refused.json()) == (503, {"error": "2 requests are waiting already"})
        assert time.monotonic() - started < 0.5
        assert [answer.result().status_code for answer in held] == [200, 200]


def test_large_and_slow_bodies_are_refused(shared):
    for data in (b"x" * 5000, iter([b"x" * 600, b"x" * 600])):  # with a length, and in chunks
        answer = requests.post(f"{shared.base}{MODEL}:predict", data=data, timeout=10)
        assert (answer.status_code, list(answer.json())) == (413, ["error"])

    def slow():
        yield b"{"
        time.sleep(1.3)
        yield b"}"

    assert requests.post(f"{shared.base}{MODEL}:predict", data=slow(), timeout=10).status_code == 408
    assert shared.post({"say": 1}).ok


def exchange(server, *parts, pause=0.0):
    """Send the parts of a request with a pause after each, and return what the server answers until it closes."""
    host, port = server.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:  # closed by the server
                return b""
            time.sleep(pause)
        answer = b""
        while received := connection.recv(4096):
            answer += received
        return answer


def test_a_large_body_is_refused_before_it_is_sent(shared):
    """curl waits for this leave before it sends more than a megabyte."""
    head = f"POST {MODEL}:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n".encode()
    assert exchange(shared, head + b"Content-Length: 5000\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert exchange(shared, head + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    assert exchange(shared, head + b"Content-Length: 2\r\n\r\n", b"{}", pause=0.1).startswith(b"HTTP/1.1 100 Continue")


def test_head_is_answered_as_get_without_a_body(shared):
    for path in ("/health", "/", MODEL, "/metrics", "/openapi.json"):
        answers = [requests.request(method, shared.base + path, timeout=10) for method in ("GET", "HEAD")]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[1].content == b""
        assert answers[1].headers["Content-Type"] == answers[0].headers["Content-Type"]
    assert requests.head(f"{shared.base}{MODEL}:predict", timeout=10).status_code == 405


def test_a_compressed_body_is_refused_by_name(shared):
    body = gzip.compress(b"{}")
    answer = requests.post(f"{shared.base}{MODEL}:predict", data=body, headers={"Content-Encoding": "gzip"}, timeout=10)
    assert (answer.status_code, "without Content-Encoding, found 'gzip'" in answer.text) == (415, True)


@pytest.mark.slow
def test_connections_that_send_their_headers_slowly_are_closed(start):
    one = start(patience=1.0)
    started = time.monotonic()
    assert exchange(one) == b""
    assert exchange(one, *[b"G", b"E", b"T"] * 20, pause=0.1) == b""
    assert exchange(one, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET ", b"/", pause=0.5).count(b"HTTP/1.1") == 1
    assert time.monotonic() - started < 30
    with ThreadPoolExecutor(1) as threads:  # a request that takes longer is no slow client
        assert threads.submit(one.post, {"sleep": 2, "say": 1}).result().ok


def test_models_and_versions_that_are_not_served_are_404(shared):
    for path in ("/v1/models/detector", "/v1/models/detector/versions/3"):
        (status,) = requests.get(shared.base + path, timeout=10).json()["model_version_status"]
        assert (status["version"], status["state"]) == ("3", "AVAILABLE")
        metadata = requests.get(f"{shared.base}{path}/metadata", timeout=10).json()
        assert metadata["model_spec"] == {"name": "detector", "signature_name": "", "version": "3"}
        assert shared.post({"say": 1}, f"{path}:predict").ok
    for path in ("/v1/models/other", "/v1/models/detector/versions/4", "/v1/models/detector/versions/x"):
        for answer in (
            requests.get(shared.base + path, timeout=10),
            requests.get(f"{shared.base}{path}/metadata", timeout=10),
            shared.post({}, f"{path}:predict"),
        ):
            assert (answer.status_code, list(answer.json())) == (404, ["error"]), answer.url
    wrong_method = requests.get(f"{shared.base}{MODEL}:predict", timeout=10)
    assert (wrong_method.status_code, wrong_method.headers["Allow"]) == (405, "POST")


@pytest.mark.slow
def test_a_taken_port_ends_the_server_before_it_loads_a_model(shared, tmp_path):
    (tmp_path / "saved_model.pb").touch()
    command = [sys.executable, "-P", SERVING / "server.py", tmp_path, "--port", shared.base.rpartition(":")[2]]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "address already in use" in result.stderr.lower()


@pytest.mark.slow
def test_nothing_is_lost_when_sigterm_comes_amid_many_clients(start):
    """Each request is answered, or its connection was refused."""
    one = start()
    lost, answered = [], []

    def client():
        with requests.Session() as session:
            while True:
                try:
                    answer = session.post(f"{one.base}{MODEL}:predict", json={"say": 1, "sleep": 0.01}, timeout=20)
                    answered.append(answer.json() == {"predictions": [1]})
                except requests.ConnectionError as error:
                    if "refused" not in str(error):
                        lost.append(error)
                    return

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    one.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert one.process.wait(10) == 0
    assert lost == []
    assert len(answered) > 50
    assert all(answered)
