"""The metrics: what a scrape says after some requests. The workers here have no model."""

import asyncio
import sys

import pytest

from tfrcnn.export.serving import metrics
from tfrcnn.export.serving.app import Service, make_app
from tfrcnn.export.serving.pool import Pool
from tfrcnn.export.serving.protocol import COUNTED, DESCRIBED, Limits

from .scripted_worker import TestClient, program

parser = pytest.importorskip("prometheus_client.parser")
DESCRIPTION = {"categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]}
# A worker that describes its model, and answers every request with two cats and a dog.
WORKER = program(
    f"send(0, {DESCRIBED}, {DESCRIPTION!r})",
    f"""
    send(0, {COUNTED}, {{"images": 2, "detections": {{"3": 2, "90": 1}}}})
    send(number, 200, {{"predictions": []}})
    """,
)


def scrape(client):
    """Return {(name, labels): value} of `GET /metrics`."""
    text = client.get("/metrics").text
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}


@pytest.fixture
def client():
    service = Service(Pool([sys.executable, "-c", WORKER], 2, Limits()), "detector", "1")
    with TestClient(make_app(service)) as client:
        for _ in range(500):
            if all(worker.ready for worker in service.pool.workers) and len(service.pool.workers) == 2:
                break
            client.portal.call(asyncio.sleep, 0.02)
        yield client


def test_requests_are_counted_by_route_and_status_over_all_workers(client):
    for _ in range(3):
        assert client.post("/v1/models/detector:predict", json={}).status_code == 200
    for path in ("/v1/models/other", "/v1/models/a%0Ab", "/no/such/page/1", "/no/such/page/2"):
        assert client.get(path).status_code == 404
    samples = scrape(client)

    def count(method, route, status):
        return samples[("tfrcnn_requests_total", (("method", method), ("route", route), ("status", status)))]

    assert count("POST", "/v1/models/{model:model}:predict", "200") == 3
    assert count("GET", "/v1/models/{model:model}", "404") == 2
    assert count("any", "none", "404") == 2  # no label for each path that a client invents
    assert samples[("tfrcnn_request_seconds_count", (("route", "/v1/models/{model:model}:predict"),))] == 3
    assert samples[("tfrcnn_images_total", ())] == 6
    assert samples[("tfrcnn_detections_total", (("category_id", "3"), ("name", "cat")))] == 6
    assert samples[("tfrcnn_detections_total", (("category_id", "90"), ("name", "dog")))] == 3
    assert samples[("tfrcnn_queue_depth", ())] == 0
    assert samples[("tfrcnn_workers", (("state", "ready"),))] == 2
    assert samples[("tfrcnn_workers", (("state", "starting"),))] == 0
    assert samples[("tfrcnn_worker_ends_total", ())] == 0


def test_the_page_knows_the_classes_of_the_model(client):
    model = client.get("/model").json()
    assert (model["ready"], model["classes"]) == (True, DESCRIPTION["categories"])


def test_without_prometheus_client_the_server_runs_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(metrics, "prometheus_client", None)
    answer = TestClient(make_app(Service(Pool(["false"], 1, Limits()), "detector", "1"))).get("/metrics")
    assert (answer.status_code, answer.json()) == (
        501,
        {"error": "metrics need prometheus-client: pip install prometheus-client"},
    )
