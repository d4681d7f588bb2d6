"""Choose the devices of a run by name."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Literal, get_args

import tensorflow as tf

from tfrcnn.errors import InputError
from tfrcnn.printable import shorten

_PORTS = range(10000, 30000)  # of the workers of Slurm; the number of the job chooses, so that jobs can share a node

_HOST_AND_PORT = re.compile(r".+:\d+")
_MAX_SHOWN = 1000  # characters of TF_CONFIG in a message

StrategyName = Literal["auto", "none", "mirrored", "multi-worker"]


def make_strategy(name: StrategyName = "auto") -> tf.distribute.Strategy:
    """Make the `tf.distribute` strategy of a run. Call it first: TensorFlow must not have run anything.

    "none" is one device, "mirrored" all GPUs of this machine (`tf.distribute.MirroredStrategy`), "multi-worker" several
    machines (`tf.distribute.MultiWorkerMirroredStrategy`), which `TF_CONFIG` lists, or Slurm in a job step of `srun`.
    "auto" is "multi-worker" if `TF_CONFIG` lists several workers, "mirrored" if there are several GPUs, or else "none".

    Args:
        name: "auto", "none", "mirrored" or "multi-worker".

    Returns:
        The strategy; build the detector and train within its `scope()`.

    Raises:
        InputError: there is no strategy of that name, or nothing lists the workers.

    Example:
        with tfrcnn.make_strategy("mirrored").scope():
            run = tfrcnn.Recipe("cells/VOC@train", "cells/VOC@val").run("runs/cells")
    """
    if name not in get_args(StrategyName):
        raise InputError(f"the strategy must be one of {', '.join(get_args(StrategyName))}, found {name!r}")
    workers = _workers()
    if name == "auto":
        several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
        name = "multi-worker" if workers > 1 else "mirrored" if several_gpus else "none"
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if workers:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy(slurm_cluster())
    raise InputError(
        'the strategy "multi-worker" needs the addresses of the workers: expected TF_CONFIG, for example '
        '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}\' on host1, '
        "or a job step of Slurm (srun), found neither"
    )


def slurm_cluster() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Read the workers from the variables of a job step of Slurm: task i is worker i, on a port of its node.

    The port is 10000 plus the last digits of the job's number, SLURM_JOB_ID. Several tasks of a node take ports in a
    row, and need GPUs of their own (`srun --gpus-per-task`).

    Raises:
        InputError: the variables are not as Slurm sets them.
    """
    try:
        # TensorFlow's resolver reads the names of the nodes. It needs a GPU, and sorts the nodes by name: node10 would
        # come before node9, where the first task is. So its addresses are not used.
        slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(gpus_per_node=1, gpus_per_task=0)
        rank, tasks = int(os.environ["SLURM_PROCID"]), slurm._resolve_task_configuration()
        port = _PORTS[int(os.environ.get("SLURM_JOB_ID", 0)) % len(_PORTS)]
        addresses = [f"{node}:{port + i}" for node, count in tasks.items() for i in range(count)]
        if not 0 <= rank < len(addresses):
            raise IndexError(f"SLURM_PROCID is {rank} of {len(addresses)} tasks")
    except (RuntimeError, ValueError, LookupError) as error:
        raise InputError(
            "expected a job step of Slurm (srun) with SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_STEP_NODELIST and "
            f"SLURM_STEP_TASKS_PER_NODE, found others: {error}"
        ) from error
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}),
        task_type="worker",
        task_id=rank,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )


def _workers() -> int:
    """Count the workers that TF_CONFIG lists.

    Raises:
        InputError: it is not as TensorFlow expects it.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return 0
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        tasks = {name: _addresses(cluster.get(name, [])) for name in ("chief", "worker")}
        if cluster and not 0 <= int(str(task["index"])) < len(tasks[task["type"]]):
            raise IndexError(task["index"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            'TF_CONFIG must be JSON with "cluster" (lists of host:port by "chief" and "worker") and "task" (the "type" '
            f'and "index" of this worker in them), found {shorten(repr(text), _MAX_SHOWN)}'
        ) from error
    return sum(map(len, tasks.values()))


def _addresses(entries: Any) -> list[str]:
    """Return the addresses of the tasks of one type in TF_CONFIG: a list, or an object by their numbers.

    Raises:
        ValueError: there is something else, for example a text, whose letters would count as workers; or an address
            has no port, or is there twice.
    """
    addresses = list(entries.values()) if isinstance(entries, dict) else entries
    if not isinstance(addresses, list) or len(set(addresses)) < len(addresses):
        raise ValueError(addresses)
    if not all(isinstance(address, str) and _HOST_AND_PORT.fullmatch(address) for address in addresses):
        raise ValueError(addresses)
    return addresses
