"""The base classes of all layers: a configuration object that Keras can save, and a set of kernels."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

import keras

from tfrcnn.config_base import Config
from tfrcnn.kernels import RENAMED, Kernels, find_kernels

C = TypeVar("C", bound=Config)
Class = TypeVar("Class", bound=type)


class ConfiguredLayer(keras.layers.Layer, Generic[C]):
    """A Keras layer whose hyper-parameters are one `tfrcnn.config` dataclass.

    Subclasses set `config_class`; `get_config` and `from_config` then need no further code.

    Attributes:
        config: an instance of `config_class`.
    """

    config_class: type[C]

    def __init__(self, config: C | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config: C = self.config_class.from_dict(config) if isinstance(config, dict) else config

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": self.config.to_dict()}


class KernelLayer(ConfiguredLayer[C]):
    """A layer that says what is computed and calls a kernel to compute it.

    Attributes:
        kernels: the set that the layer takes its kernel from.
    """

    def __init__(self, config: C | dict[str, Any], kernels: Kernels | str = "tensorflow", **kwargs: Any) -> None:
        for old in ("implementation", "nms"):  # keywords of tfrcnn 0.1
            kernels = kwargs.pop(old, kernels)
        super().__init__(config, **kwargs)
        self.kernels = find_kernels(kernels, stacklevel=5)  # subclasses have an __init__ in between
        self.supports_jit = self.kernels.compiles

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kernels": self.kernels.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the layer from `get_config`, or from a file that tfrcnn 0.1 saved."""
        config = {("kernels" if key in ("implementation", "nms") else key): value for key, value in config.items()}
        if "kernels" in config:
            config["kernels"] = RENAMED.get(config["kernels"], config["kernels"])
        return cls(**config)


class GeometryLayer(ConfiguredLayer[C]):
    """A layer without weights that computes in float32 under every mixed-precision policy.

    At 1000 pixels, float16 resolves half a pixel and bfloat16 four pixels.
    """

    def __init__(self, config: C | dict[str, Any], **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(config, **kwargs)


def spec(*shape: int | None, dtype: str = "float32") -> keras.KerasTensor:
    """Describe an output of a layer, for `compute_output_spec`.

    Keras asks this of each layer of a functional model. By default it traces `call` for the answer, which was most of
    the time to build a detector.
    """
    return keras.KerasTensor(shape, dtype)


def register(cls: Class) -> Class:
    """Let `.keras` files name the class, so that loading them needs no custom_objects."""
    registered: Class = keras.saving.register_keras_serializable(package="tfrcnn")(cls)
    return registered
