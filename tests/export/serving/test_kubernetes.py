"""The Kubernetes manifests: they follow the schemas, and their ports, paths, probes and metrics are the server's."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tfrcnn.cli.main import app
from tfrcnn.export.serving import server

from .dashboard_queries import exported, selectors

SERVING = Path(server.__file__).parent
KUBERNETES = SERVING / "kubernetes"
ROOTS = sorted(path.parent.relative_to(KUBERNETES).as_posix() for path in KUBERNETES.rglob("kustomization.yaml"))
CONTAINERS = ("server/base", "tensorflow-serving/base")
EACH_ROOT = pytest.mark.parametrize("root", ROOTS)
# of resources that the cluster brings with KEDA, the Prometheus Operator and KServe
CUSTOM = {"ScaledObject", "ServiceMonitor", "InferenceService"}


def documents(root: str) -> list[dict[str, Any]]:
    """The manifests of a folder as they are written."""
    files = sorted((KUBERNETES / root).glob("*.yaml"))
    return [yaml.safe_load(file.read_text()) for file in files if file.name != "kustomization.yaml"]


@cache
def built(root: str) -> tuple[dict[str, Any], ...]:
    """The manifests that `kubectl apply -k` sends."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed, which builds kustomizations")
    command = ["kubectl", "kustomize", str(KUBERNETES / root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def one(manifests: Any, kind: str) -> dict[str, Any]:
    (manifest,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return manifest


def pod(root: str) -> dict[str, Any]:
    return one(documents(root), "Deployment")["spec"]["template"]["spec"]


def option(container: dict[str, Any], name: str) -> str:
    return next(word.partition("=")[2] for word in container["args"] if word.startswith(f"--{name}="))


def routes() -> set[str]:
    service = server.Service(server.Pool(["false"], 1, server.Limits()), "detector", "1")
    return {route.path.replace("{model:model}", "detector") for route in server.make_app(service).routes}


@pytest.mark.slow
@EACH_ROOT
def test_manifests_follow_the_schemas_of_kubernetes(root: str) -> None:
    check_schemas(documents(root))


@pytest.mark.slow
@EACH_ROOT
def test_what_kubectl_builds_follows_the_schemas_of_kubernetes(root: str) -> None:
    check_schemas(built(root))


def check_schemas(manifests: Iterable[dict[str, Any]]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for manifest in manifests:
        if manifest["kind"] not in CUSTOM:
            validator.validate(manifest, "1.34", strict=True)


@EACH_ROOT
def test_each_kustomization_names_its_files(root: str) -> None:
    content = yaml.safe_load((KUBERNETES / root / "kustomization.yaml").read_text())
    files = [file for entry in content.get("configMapGenerator", []) for file in entry["files"]]
    names = {name for name in (*content["resources"], *files) if not name.startswith("..")}
    assert {path.name for path in (KUBERNETES / root).iterdir()} == {*names, "kustomization.yaml"}


@pytest.mark.parametrize("root", CONTAINERS)
def test_ports_have_one_number_in_every_manifest(root: str) -> None:
    (container,) = pod(root)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for port in one(documents(root), "Service")["spec"]["ports"]:
        assert (port["targetPort"], port["port"]) == (port["name"], ports[port["name"]])
    assert ports["http"] == int(option(container, "port" if root == "server/base" else "rest_api_port"))
    for name, probe in container.items():
        if name.endswith("Probe"):
            assert next(value for key, value in probe.items() if key in ("httpGet", "tcpSocket"))["port"] in ports
    (endpoint,) = one(documents(root.replace("base", "full")), "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] in ports


def test_the_options_of_the_server_exist() -> None:
    (container,) = pod("server/base")["containers"]
    command, *options = container["args"]
    group: Any = typer.main.get_command(app)
    known = {name for parameter in group.commands[command].params for name in parameter.opts}
    assert {word.partition("=")[0] for word in options} <= known


def test_probes_and_metrics_are_routes_of_the_server() -> None:
    (container,) = pod("server/base")["containers"]
    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    assert set(paths.values()) <= routes()
    assert paths == {
        **dict.fromkeys(("startupProbe", "readinessProbe"), "/health/ready"),
        "livenessProbe": "/health/live",
    }
    (endpoint,) = one(documents("server/full"), "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["path"] in routes()


def test_tensorflow_serving_is_asked_where_it_answers() -> None:
    """Its metadata has the server's path, and its metrics are where monitoring.config puts them."""
    (container,) = pod("tensorflow-serving/base")["containers"]
    for name in ("startupProbe", "readinessProbe"):
        assert container[name]["httpGet"]["path"] in routes()
    (endpoint,) = one(documents("tensorflow-serving/full"), "ServiceMonitor")["spec"]["endpoints"]
    monitoring = (KUBERNETES / "tensorflow-serving/base/monitoring.config").read_text()
    assert f'path: "{endpoint["path"]}"' in monitoring


def test_a_pod_is_given_more_time_than_its_requests_have() -> None:
    for root in CONTAINERS:
        (container,) = pod(root)["containers"]
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
        milliseconds = root != "server/base"
        grace = float(option(container, "rest_api_timeout_in_ms" if milliseconds else "grace"))
        assert pod(root)["terminationGracePeriodSeconds"] >= pause + grace / (1000 if milliseconds else 1) + 5


def test_scaling_and_monitoring_name_what_is_deployed_and_metrics_that_exist() -> None:
    for place in ("server", "tensorflow-serving"):
        names = {manifest["kind"]: manifest for manifest in documents(f"{place}/base")}
        scaled = one(documents(f"{place}/full"), "ScaledObject")["spec"]
        assert scaled["scaleTargetRef"]["name"] == names["Deployment"]["metadata"]["name"]
        monitor = one(documents(f"{place}/full"), "ServiceMonitor")["spec"]
        assert monitor["selector"]["matchLabels"].items() <= names["Service"]["metadata"]["labels"].items()
        service = names["Service"]
        labels = names["Deployment"]["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        (trigger,) = scaled["triggers"]
        ((metric, used),) = selectors(trigger["metadata"]["query"])
        assert f'service="{service["metadata"]["name"]}"' in trigger["metadata"]["query"]
        if place == "server":
            assert metric in exported()
        assert used == {"namespace", "service"}  # not the queues of another namespace
        assert trigger["metadata"]["ignoreNullValues"] == "false"  # a namespace that is not set is seen


@pytest.mark.slow
def test_the_canary_is_a_deployment_for_itself_behind_the_same_service() -> None:
    (canary,) = built("server/canary")
    stable = one(built("server/base"), "Deployment")
    assert canary["metadata"]["name"] != stable["metadata"]["name"]
    selects = [deployment["spec"]["selector"]["matchLabels"] for deployment in (stable, canary)]
    assert selects == [{"app": "detector", "track": track} for track in ("stable", "canary")]
    for deployment, labels in zip((stable, canary), selects):
        assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    versions = [d["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] for d in (stable, canary)]
    assert versions == ["1", "2"]


@pytest.mark.slow
def test_the_canary_of_tensorflow_serving_has_both_versions_and_its_labels() -> None:
    maps = [one(built(f"tensorflow-serving/{root}"), "ConfigMap") for root in ("base", "canary")]
    assert maps[0]["data"]["monitoring.config"] == maps[1]["data"]["monitoring.config"]
    text = maps[1]["data"]["models.config"]
    assert set(re.findall(r"versions: (\d+)", text)) == set(re.findall(r"value: (\d+)", text)) == {"1", "2"}
    deployment = one(built("tensorflow-serving/canary"), "Deployment")["spec"]["template"]["spec"]
    assert maps[1]["metadata"]["name"] in {volume.get("configMap", {}).get("name") for volume in deployment["volumes"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved-model", "onnx"])
def test_kserve_mounts_a_version_where_its_server_looks(name: str) -> None:
    (service,) = built(f"kserve/{name}")
    (canary,) = built(f"kserve/{name}-canary")
    inside = "/mnt/models" if name == "saved-model" else f"/mnt/models/{service['metadata']['name']}"
    for predictor, version in ((service["spec"]["predictor"], 1), (canary["spec"]["predictor"], 2)):
        assert "storageUris" not in predictor  # KServe drops the path of a claim
        (volume,) = predictor["volumes"]
        (mount,) = predictor["model"]["volumeMounts"]
        assert mount["name"] == volume["name"]
        assert mount["subPath"] == f"{service['metadata']['name']}/{version}"
        assert mount["mountPath"] == f"{inside}/{version}"
    assert "canaryTrafficPercent" not in service["spec"]["predictor"]
    assert canary["spec"]["predictor"]["canaryTrafficPercent"] == 10


def test_the_version_of_tensorflow_serving_is_one_everywhere() -> None:
    (container,) = pod("tensorflow-serving/base")["containers"]
    tag = container["image"].partition(":")[2]
    assert f"TF_SERVING_VERSION:-{tag}" in (SERVING / "docker-compose.yml").read_text()
    (service,) = documents("kserve/saved-model")
    assert service["spec"]["predictor"]["model"]["runtimeVersion"] == tag


@pytest.mark.parametrize("name", ["models.config", "monitoring.config"])
def test_compose_and_kubernetes_configure_tensorflow_serving_the_same(name: str) -> None:
    assert (KUBERNETES / "tensorflow-serving/base" / name).read_text() == (SERVING / "config" / name).read_text()
