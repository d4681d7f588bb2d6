"""The recipes for Kubernetes and Slurm in packaging/cluster: their commands, and the files against the schemas.

The schemas are not installed with the tests. `pip install kubernetes-validate` brings the schemas of pods and jobs.
The folder TFRCNN_CRDS holds the others: jobset.x-k8s.io_jobsets.yaml from JobSet's repository, and
kubeflow.org_tfjobs.yaml from the training operator's. They are in config/components/crd/bases and manifests/base/crds.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
import typer
import yaml

from tfrcnn.cli.main import app
from tfrcnn.errors import InputError
from tfrcnn.training.run import load_run
from tfrcnn.training.strategy import make_strategy, slurm_cluster

from .test_run import make_dataset
from .test_workers import free_ports

CLUSTER = Path(__file__).parents[2] / "packaging/cluster"
CRDS = {"jobset": "jobset.x-k8s.io_jobsets.yaml", "tfjob": "kubeflow.org_tfjobs.yaml"}
MANIFESTS = {name: yaml.safe_load((CLUSTER / f"{name}.yaml").read_text(encoding="utf-8")) for name in CRDS}
PRINT = '#!/bin/bash\nprintf "%s\\n" "$@"\n'


def pod_of(manifest):
    """Return the pod template of a manifest."""
    spec = manifest["spec"]
    if manifest["kind"] == "TFJob":
        return spec["tfReplicaSpecs"]["Worker"]["template"]
    return spec["replicatedJobs"][0]["template"]["spec"]["template"]


def command_of(recipe, root):
    """Run a recipe with programs that print what they are called with, and return the arguments of tfrcnn.

    Args:
        recipe: "jobset", "tfjob" or "slurm".
        root: the folder of the recipe's paths.
    """
    programs = root / "bin"
    programs.mkdir()
    for name in ("srun", "tfrcnn"):
        (programs / name).write_text(PRINT)
        (programs / name).chmod(0o755)
    if recipe == "slurm":
        command = ["bash", str(CLUSTER / "slurm.sh")]
    else:
        container = pod_of(MANIFESTS[recipe])["spec"]["containers"][0]
        command = [*container["command"], *(text.replace("/runs", str(root / "runs")) for text in container["args"])]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    return words[words.index("train") :]


@pytest.mark.parametrize("is_resumed", [False, True], ids=["new", "resumed"])
@pytest.mark.parametrize("recipe", ["jobset", "tfjob", "slurm"])
def test_the_command_of_a_recipe_has_options_that_exist_and_resumes_a_run(recipe, is_resumed, tmp_path):
    run = tmp_path / "runs/cells"
    if is_resumed:
        run.mkdir(parents=True)
        (run / "training.json").touch()
    name, *arguments = command_of(recipe, tmp_path)
    commands = typer.main.get_command(app)
    values = commands.commands[name].make_context(name, arguments).params
    assert values["strategy"] == "multi-worker"
    assert values["resume"] == is_resumed
    assert values["train"].endswith("data/VOC@train")


def test_the_workers_of_the_jobset_know_each_other(monkeypatch):
    manifest = MANIFESTS["jobset"]
    (job,) = manifest["spec"]["replicatedJobs"]
    container = pod_of(manifest)["spec"]["containers"][0]
    variables = {variable["name"]: variable for variable in container["env"]}
    assert list(variables) == ["WORKER", "TF_CONFIG"]  # Kubernetes puts in the variables that come before
    count = job["template"]["spec"]["completions"]
    assert job["template"]["spec"]["parallelism"] == count
    port = container["ports"][0]["containerPort"]
    for index in range(count):
        config = json.loads(variables["TF_CONFIG"]["value"].replace("$(WORKER)", str(index)))
        assert config["task"] == {"type": "worker", "index": index}
        names = [f"{manifest['metadata']['name']}-{job['name']}-0-{i}" for i in range(count)]  # JobSet's names of pods
        assert config["cluster"]["worker"] == [f"{name}.{manifest['metadata']['name']}:{port}" for name in names]


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_a_pod_mounts_is_there(name):
    pod = pod_of(MANIFESTS[name])["spec"]
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert list(mounted) == [volume["name"] for volume in pod["volumes"]]
    assert (mounted["data"], mounted["runs"]) == ("/data", "/runs")


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_fits_the_schema_of_its_kind(name):
    folder = os.environ.get("TFRCNN_CRDS")
    if not folder:
        pytest.skip("TFRCNN_CRDS is not set: this test needs the schemas of JobSet and of the training operator")
    jsonschema = pytest.importorskip("jsonschema")
    definition = yaml.safe_load((Path(folder) / CRDS[name]).read_text(encoding="utf-8"))
    group, version = MANIFESTS[name]["apiVersion"].split("/")
    assert definition["spec"]["group"] == group
    (schema,) = (v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == version)
    metadata = schema["properties"].pop("metadata")
    assert metadata == {"type": "object"}
    jsonschema.Draft202012Validator(strict(schema)).validate(
        {k: v for k, v in MANIFESTS[name].items() if k != "metadata"}
    )


def strict(schema):
    """Refuse fields that a schema does not have; Kubernetes drops them without a word."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_pods_of_a_manifest_fit_the_schema_of_kubernetes(name):
    validate = pytest.importorskip("kubernetes_validate")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worker"}, **pod_of(MANIFESTS[name])}
    validate.validate(pod, validate.latest_version(), strict=True)
    if name == "jobset":
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "worker"}}
        spec = MANIFESTS[name]["spec"]["replicatedJobs"][0]["template"]["spec"]
        validate.validate({**job, "spec": spec}, validate.latest_version(), strict=True)


def test_the_script_for_slurm_has_no_fault_that_a_shell_finds():
    script = str(CLUSTER / "slurm.sh")
    subprocess.run(["bash", "-n", script], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, script], check=True)
    lines = Path(script).read_text(encoding="utf-8").splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert options == lines[1 : 1 + len(options)]  # sbatch reads them above the first command
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", option) for option in options)


def slurm(monkeypatch, **variables):
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


@pytest.mark.parametrize(
    ("nodes", "tasks", "addresses"),
    [
        ("gpu[1-2]", "1(x2)", ["gpu1:10007", "gpu2:10007"]),
        ("node[9-10],other", "1(x3)", ["node9:10007", "node10:10007", "other:10007"]),  # not sorted by name
        ("a,b", "2,1", ["a:10007", "a:10008", "b:10007"]),
    ],
)
def test_the_workers_of_a_job_step_of_slurm_are_its_tasks_in_their_order(nodes, tasks, addresses, monkeypatch):
    for rank in range(len(addresses)):
        slurm(
            monkeypatch,
            PROCID=rank,
            STEP_NUM_TASKS=len(addresses),
            STEP_NODELIST=nodes,
            STEP_TASKS_PER_NODE=tasks,
            JOB_ID=40007,  # two jobs on a node have different ports
        )
        resolver = slurm_cluster()
        assert resolver.cluster_spec().as_dict() == {"worker": addresses}
        assert (resolver.task_type, resolver.task_id) == ("worker", rank)
        assert resolver.num_accelerators() == {"GPU": len(tf.config.list_physical_devices("GPU"))}


@pytest.mark.parametrize(
    "change",
    [
        {"PROCID": "x"},
        {"PROCID": 2},
        {"PROCID": -1},
        {"STEP_NODELIST": "gpu[1-"},
        {"STEP_TASKS_PER_NODE": "1"},
        {"STEP_NODELIST": None},
    ],
    ids=str,
)
def test_wrong_variables_of_slurm_are_one_line(change, monkeypatch):
    variables = {"PROCID": 0, "STEP_NUM_TASKS": 2, "STEP_NODELIST": "gpu[1-2]", "STEP_TASKS_PER_NODE": "1(x2)"}
    slurm(monkeypatch, **{name: value for name, value in {**variables, **change}.items() if value is not None})
    with pytest.raises(InputError, match=r"expected a job step of Slurm \(srun\) with SLURM_PROCID"):
        make_strategy("multi-worker")


TASKS = """#!/bin/bash
# srun on this machine: two tasks of a job step
shift
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NODELIST=localhost SLURM_STEP_TASKS_PER_NODE=2
SLURM_PROCID=1 "$@" &
SLURM_PROCID=0 "$@"
wait $!
"""


def write_data(folder):
    """Write a small data set as a COCO file."""
    dataset = make_dataset(folder, 6, noise=100)
    images, annotations = [], []
    for example in dataset.examples:
        images.append({"id": example.image_id, "file_name": example.path.name, "width": 64, "height": 64})
        for (y1, x1, y2, x2), label in zip(example.boxes.tolist(), example.labels):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            category = dataset.categories[label].id
            annotations.append({"id": len(annotations), "image_id": example.image_id, "category_id": category, **box})
    categories = [{"id": category.id, "name": category.name} for category in dataset.categories]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "data.json").write_text(json.dumps(content))
    return str(folder / "data.json")


def start_recipe(recipe, root, options):
    """Start a recipe on this machine: two workers, or the task of Slurm that starts two."""
    environment = {**os.environ, "PATH": f"{root}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if recipe == "slurm":
        environment.pop("TF_CONFIG", None)
        return [subprocess.Popen(["bash", str(CLUSTER / "slurm.sh"), *options], cwd=root, env=environment)]
    container = pod_of(MANIFESTS[recipe])["spec"]["containers"][0]
    command = [*container["command"], *(text.replace("/runs", f"{root}/runs") for text in container["args"]), *options]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(subprocess.Popen(command, env={**environment, "TF_CONFIG": json.dumps(config)}))
    return processes


@pytest.mark.soak
@pytest.mark.parametrize("recipe", ["jobset", "slurm"])
def test_a_recipe_trains_and_resumes_on_two_workers_of_this_machine(recipe, tmp_path):
    data = write_data(tmp_path)
    (tmp_path / "srun").write_text(TASKS)
    (tmp_path / "srun").chmod(0o755)
    small = ["--train", data, "--val", data, "--model", "tiny_fpn", "--image-size", "64", "--batch-size", "2"]
    for epochs in (1, 2):
        processes = start_recipe(recipe, tmp_path, [*small, "--epochs", str(epochs)])
        assert [process.wait(600) for process in processes] == [0] * len(processes)
        assert len(load_run(tmp_path / "runs/cells").history) == epochs
