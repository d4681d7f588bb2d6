"""Reads the metrics and labels that PromQL queries name, and those that the server exports."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tfrcnn.export.serving.app import Service
from tfrcnn.export.serving.metrics import Metrics
from tfrcnn.export.serving.pool import Pool
from tfrcnn.export.serving.protocol import Limits


@cache
def exported() -> dict[str, set[str]]:
    """The labels of each metric of the server, as a scrape returns them after a request."""
    parser = pytest.importorskip("prometheus_client.parser")
    service = Service(Pool(["false"], 1, Limits()), "detector", "1")
    service.pool.counts.detections["1", "cat"] = 1
    service.refused = ("2",)
    metrics = Metrics(service)
    metrics.requests.labels("POST", "/v1/models/{model:model}:predict", 200).inc()
    metrics.seconds.labels("/v1/models/{model:model}:predict").observe(0.1)
    families = parser.text_string_to_metric_families(metrics.answer().body.decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """Return each metric of a query with the labels that the query matches or groups it by.

    Raises:
        ValueError: The query is no PromQL.
    """
    promql = pytest.importorskip("promql_parser")
    return list(_selectors(promql.parse(query), set()))


def _selectors(node: Any, labels: set[str]) -> Iterator[tuple[str, set[str]]]:
    kind = type(node).__name__
    if kind == "VectorSelector":
        yield node.name, {matcher.name for matcher in node.matchers.matchers} | labels
    elif kind == "MatrixSelector":
        yield from _selectors(node.vector_selector, labels)
    elif kind == "AggregateExpr":
        yield from _selectors(node.expr, labels | {*(node.modifier.labels if node.modifier else ())})
    elif kind == "BinaryExpr":
        yield from _selectors(node.lhs, labels)
        yield from _selectors(node.rhs, labels)
    elif kind == "ParenExpr":
        yield from _selectors(node.expr, labels)
    elif kind == "Call":
        for argument in node.args:
            yield from _selectors(argument, labels)
    else:
        assert kind == "NumberLiteral", kind
