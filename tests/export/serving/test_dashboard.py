"""The Grafana dashboard: its queries are PromQL of metrics that the server exports, and Grafana reads its JSON."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.export.serving import server

from .dashboard_queries import exported, selectors

BOARD = json.loads((Path(server.__file__).parent / "kubernetes/server/full/dashboard.json").read_text())
# Labels that Prometheus adds when it scrapes; the ServiceMonitor brings `track`.
SCRAPED = {"job", "instance", "namespace", "pod", "service", "track"}
GRAFANA = {"$__rate_interval": "5m", "$job": "detector"}


def queries() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("panel", "query"), queries())
def test_a_query_names_metrics_and_labels_that_exist(panel: str, query: str) -> None:
    for name, value in GRAFANA.items():
        query = query.replace(name, value)
    assert "$" not in query
    named = selectors(query)
    assert named
    for metric, labels in named:
        assert metric in exported(), panel
        assert labels <= exported()[metric] | SCRAPED, panel


def test_every_metric_of_the_server_has_a_panel() -> None:
    text = json.dumps(BOARD)
    families = {re.sub("_(total|bucket|sum|count|created)$", "", name) for name in exported()}
    assert not [family for family in families if family not in text]


def test_the_legend_shows_labels_that_the_query_keeps() -> None:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            grouped = {label for group in re.findall(r"by \((.*?)\)", target["expr"]) for label in group.split(", ")}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped, panel["title"]


def test_panels_have_ids_and_places_for_themselves() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert all(x < 24 for x, _ in cells), "Grafana has 24 columns"
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_data_source_is_a_choice_and_no_installation_is_named() -> None:
    """A dashboard that others import must not name a data source or an id of one Grafana."""
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert BOARD["id"] is None
    assert set(sources(BOARD)) == {"${datasource}"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) == {"datasource", "job", "__rate_interval"}


@pytest.mark.slow
def test_grafana_reads_every_field() -> None:
    """Its classes for Python, which are made from its schema, read the dashboard and write it without a loss."""
    dashboard = pytest.importorskip("grafana_foundation_sdk.models.dashboard").Dashboard
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder").JSONEncoder
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    assert list(lost(BOARD, json.loads(encoder().encode(dashboard.from_json(BOARD))))) == []


def lost(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Yield where a part of some JSON is missing or another one in other JSON; empty parts may be missing."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after or value not in (None, "", [], {}):
                yield from lost(value, after.get(key), f"{place}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{place}/{i}")
    elif before != after:
        yield place


def sources(value: Any) -> list[str]:
    """The data sources that a part of the dashboard names."""
    if isinstance(value, list):
        return [source for part in value for source in sources(part)]
    if not isinstance(value, dict):
        return []
    here = [value["datasource"]["uid"]] if isinstance(value.get("datasource"), dict) else []
    return here + [source for part in value.values() for source in sources(part)]
