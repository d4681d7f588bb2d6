"""Prometheus metrics of the server, over all its worker processes.

All requests pass through the process of the server, and workers send it the counts of their answers. So the numbers
are there in one place, and the end of a worker does not lose any.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

try:
    import prometheus_client
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ImportError:  # the server runs without it
    prometheus_client = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from .app import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Metrics:
    """Counts requests, and reads the state of a service when Prometheus asks.

    Attributes:
        registry: Holds this service's metrics only; None if prometheus-client is not installed.
    """

    def __init__(self, service: Service) -> None:
        self.service, self.registry = service, None
        if prometheus_client is None:
            return
        self.registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "tfrcnn_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = prometheus_client.Histogram(
            "tfrcnn_request_seconds",
            "Time from a request's arrival to its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self) -> Iterable[Any]:
        """Yield what the pool of workers knows."""
        pool = self.service.pool
        detections = CounterMetricFamily("tfrcnn_detections", "Detections in answers.", labels=["category_id", "name"])
        for category, count in list(pool.counts.detections.items()):  # requests add to it meanwhile
            detections.add_metric(category, count)
        yield detections
        yield CounterMetricFamily("tfrcnn_images", "Images that were answered.", value=pool.counts.images)
        model = GaugeMetricFamily(
            "tfrcnn_model_info", "The model that is served; always 1.", labels=["name", "version"]
        )
        model.add_metric([self.service.name, self.service.version], 1)
        yield model
        refused = GaugeMetricFamily(
            "tfrcnn_refused_versions", "Newer versions that cannot be loaded; always 1.", labels=["version"]
        )
        for version in self.service.refused:
            refused.add_metric([version], 1)
        yield refused
        yield GaugeMetricFamily("tfrcnn_queue_depth", "Requests that wait for an answer.", value=self.service.waiting)
        workers = GaugeMetricFamily("tfrcnn_workers", "Worker processes.", labels=["state"])
        ready = sum(worker.ready for worker in pool.workers)
        workers.add_metric(["ready"], ready)
        workers.add_metric(["starting"], pool.count - ready)
        yield workers
        yield CounterMetricFamily("tfrcnn_worker_ends", "Workers that ended and were replaced.", value=pool.counts.ends)

    def answer(self) -> Response:
        """Answer `GET /metrics`."""
        if self.registry is None:
            raise HTTPException(501, "metrics need prometheus-client: pip install prometheus-client")
        content = prometheus_client.generate_latest(self.registry)
        return Response(content, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})


class Measured:
    """Middleware that counts and times the requests of an app."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.metrics.registry is None:
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            # The route's pattern: a label of the path itself would grow with every client's mistake.
            route = getattr(scope.get("route"), "path", "none")
            is_known = scope.get("route") and scope["method"] in METHODS  # a client can send any word
            method = scope["method"] if is_known else "any"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)
