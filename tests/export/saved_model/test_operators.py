"""The operators of a SavedModel."""

import tensorflow as tf

from tfrcnn.export.saved_model.operators import operators


def test_a_saved_models_operators_are_those_that_compute(tmp_path):
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": tf.cast(tf.tanh(tf.tanh(x)), tf.int32)}, [tf.TensorSpec([2])])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.serve})
    rows = operators(tmp_path / "m")
    assert rows == [
        {"op": "Tanh", "count": 2, "dtypes": "float32"},
        {"op": "Cast", "count": 1, "dtypes": ""},
    ]


def test_a_saved_models_operators_are_those_of_its_serving_signature(tmp_path):
    module = tf.Module()
    module.scale = tf.Variable([1.0, 2.0])
    inner = tf.function(lambda x: tf.tanh(x) * module.scale, [tf.TensorSpec([2])])
    spec = [tf.TensorSpec([2])]

    @tf.function(input_signature=spec)
    def serve(x):
        y = inner(inner(x))  # called twice
        return {"y": tf.cond(y[0] > 0.0, lambda: tf.exp(y), lambda: tf.math.log(y))}

    module.serve, module.inner = serve, inner
    module.other = tf.function(lambda x: {"y": tf.exp(inner(x))}, spec)
    signatures = {"serving_default": module.serve, "other": module.other}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    counts = {row["op"]: row["count"] for row in operators(tmp_path / "m")}
    assert (counts["Tanh"], counts["Mul"], counts["Exp"], counts["Log"]) == (2, 2, 1, 1)
    assert not {"SaveV2", "RestoreV2", "StatefulPartitionedCall", "VarHandleOp"} & set(counts)


def test_a_saved_detectors_convolutions_are_those_of_its_layers(saved_detector, saved_path):
    kernels = [weight for weight in saved_detector.weights if len(weight.shape) == 4]
    counts = {row["op"]: row["count"] for row in operators(saved_path)}
    # the three of the RPN's head at each of four levels
    assert counts["Conv2D"] == len(kernels) + 3 * (4 - 1)
