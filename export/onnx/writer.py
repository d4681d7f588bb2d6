"""Write ONNX files: preprocessing, network, NMS and categories inside, for any batch and image size.

The input `images` is uint8 [batch, height, width, 3], RGB: as decoders return it, a quarter of the bytes of float32.
The outputs are `artefact.OUTPUTS`, in that order. `metadata_props` holds, in JSON, `tfrcnn`, the description of
`contract.describe`, and `categories`, {category id: name}.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ...config import DetectorConfig
from ...errors import InputError
from ...files import atomic, to_json
from ...models import FasterRCNN
from ..artefact import OUTPUTS
from ..contract import Limits, category_ids, check_size, check_surroundings, describe, prepare, to_contract
from ..stages import run_stages
from . import graph
from .kernels import HANDLERS, in_order, onnx_kernels, prepare_weights

OPSETS = (16, 17, 18)  # RoiAlign has torchvision's coordinates from 16 on; tf2onnx 1.17 writes at most 18
INPUT = "images"
Serve = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # the file's input -> its outputs
AXES = {INPUT: ("batch", "height", "width"), **dict.fromkeys(OUTPUTS, ("batch",))}


def write(
    detector: FasterRCNN,
    path: Path,
    limits: Limits,
    precision: str,
    representative: Iterable[np.ndarray] | None,
    opset: int,
) -> None:
    """Write the file, see `to_onnx`."""
    if opset not in OPSETS:
        raise InputError(f"opset must be one of {', '.join(map(str, OPSETS))}, found {opset}")
    try:
        import onnx
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise InputError(f"export to ONNX needs {error.name}: pip install 'tfrcnn[onnx]'") from error

    category_ids(detector.config)  # refuses an id before any work
    check_size(detector)
    check_surroundings()  # before the kernels run the backbone
    copy = prepare(detector, *limits, onnx_kernels(detector))
    model = _convert(copy, precision, representative, opset)
    _finish(model, copy.config, precision)
    onnx.checker.check_model(model, full_check=True)
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def stage_outputs(
    detector: FasterRCNN, precision: str, representative: Iterable[np.ndarray] | None, picture: np.ndarray
) -> dict[str, np.ndarray]:
    """Convert `run_stages` and run it in ONNX Runtime, see `Target.stage_outputs`."""
    import onnxruntime

    copy = prepare(detector, kernels=onnx_kernels(detector))
    model = _convert(copy, precision, representative, serving=_staging)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT: picture[None]})))


def _detection(detector: FasterRCNN) -> Serve:
    # not a constant: tf2onnx does not freeze a captured constant, which breaks the session
    ids = tf.Variable(category_ids(detector.config), trainable=False)

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        shape = tf.shape(images)
        sizes = tf.tile(tf.cast(shape[1:3], tf.float32)[None], [shape[0], 1])
        return to_contract(detector(tf.cast(images, tf.float32)), sizes, ids)

    return serve


def _staging(detector: FasterRCNN) -> Serve:
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        prepared = detector.get_layer("preprocessor")(tf.cast(images, tf.float32))
        stages = run_stages(detector, prepared["images"], prepared["image_sizes"])
        return {**stages, "roi_align_0": in_order(stages["roi_align_0"], detector.config.head)}

    return serve


def _convert(
    detector: FasterRCNN,
    precision: str,
    representative: Iterable[np.ndarray] | None,
    opset: int = OPSETS[1],
    serving: Callable[[FasterRCNN], Serve] = _detection,
) -> Any:
    """Convert a detector to an ONNX model; changes the detector's weights."""
    model = _trace(detector, opset, serving)
    graph.fuse_hard_swish(model)
    graph.fold_pads(model)
    graph.count_in_64_bits(model)
    graph.name_loop_outputs(model)
    graph.leave_out_empty_inputs(model)
    if precision == "float16":
        from .precision import to_float16

        return to_float16(model)
    if precision == "int8":
        from .precision import to_int8

        return to_int8(model, () if representative is None else representative)
    return model


def _trace(detector: FasterRCNN, opset: int, serving: Callable[[FasterRCNN], Serve]) -> Any:
    import tf2onnx

    prepare_weights(detector)
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8, name=INPUT)]
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with _fixed_tf2onnx():
        function = tf.function(serving(detector), input_signature=signature, autograph=False)
        model, _ = tf2onnx.convert.from_function(function, signature, opset=opset, custom_op_handlers=dict(HANDLERS))
    return model


@contextmanager
def _fixed_tf2onnx() -> Iterator[None]:
    """Fix three faults of tf2onnx inside the block.

    Memory: tf2onnx runs its optimizers some 25 times, and each time writes every node into its protobuf message
    again, which never frees memory: 4 GB for a ResNet-50. Constants need not be written, because the file has them as
    initializers.

    Memory: each optimizer copies the graph with its weights and leaves the copies to Python's cycle collector. That
    counts the few objects, not the 550 MB of a VGG-16.

    Transposes: if a number is added to a convolution without a bias (a hard swish after a batch norm that does
    nothing), the optimizer of transposes fails and leaves all of them in the graph.
    """
    from tf2onnx.graph import Node
    from tf2onnx.optimizer.optimizer_base import GraphOptimizerBase
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    write, add, optimize = Node.update_proto, TransposeOptimizer._add_handler, GraphOptimizerBase.optimize

    def write_operators(node: Any, *args: Any, **options: Any) -> None:
        if not node.is_const():
            write(node, *args, **options)

    def add_to_convolution(optimizer: Any, transpose: Any, node: Any) -> Any:
        added = node.inputs[1]
        if added.is_const() and not added.get_tensor_value(as_list=False).shape:
            return optimizer._handle_node_having_branches(transpose, node)
        return add(optimizer, transpose, node)

    def collect_and_optimize(*args: Any) -> Any:
        gc.collect()
        return optimize(*args)

    Node.update_proto, TransposeOptimizer._add_handler = write_operators, add_to_convolution
    GraphOptimizerBase.optimize = collect_and_optimize
    gc.freeze()  # the collector skips everything that exists already
    try:
        yield
    finally:
        Node.update_proto, TransposeOptimizer._add_handler = write, add
        GraphOptimizerBase.optimize = optimize
        gc.unfreeze()


def _finish(model: Any, config: DetectorConfig, precision: str) -> None:
    """Order the outputs, name their axes and add the description, in place."""
    import onnx

    outputs = {output.name: output for output in model.graph.output}
    ordered = [outputs[name] for name in OUTPUTS]
    del model.graph.output[:]
    model.graph.output.extend(ordered)
    for value in (*model.graph.input, *model.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, AXES[value.name]):
            dimension.dim_param = name
    del model.graph.value_info[:]  # they have other axis names; tools can infer them again
    model.graph.name = model.producer_name = "tfrcnn"
    description = describe(config, "onnx", precision)
    model.producer_version = description["versions"]["tfrcnn"] or ""
    categories = {str(category.id): category.name for category in config.categories}
    properties = {"tfrcnn": description, "categories": categories}
    onnx.helper.set_model_props(model, {k: to_json(v) for k, v in properties.items()})
