"""What all layers of this package share: a configuration object that Keras can save."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import keras

from tfrcnn.config_base import Config

C = TypeVar("C", bound=Config)


class ConfiguredLayer(keras.layers.Layer, Generic[C]):
    """A Keras layer whose hyper-parameters are one `tfrcnn.config` dataclass.

    Subclasses name that class in `config_class`; `get_config` and `from_config` then need no code of their own.
    """

    config_class: type[Config]

    def __init__(self, config: C | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config: C = self.config_class.from_dict(config) if isinstance(config, dict) else config  # type: ignore

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": self.config.to_dict()}


class GeometryLayer(ConfiguredLayer[C]):
    """A layer without weights that computes in float32 under every mixed-precision policy: at 1000 pixels float16
    resolves half a pixel and bfloat16 four."""

    def __init__(self, config: C | dict[str, Any], **kwargs: Any) -> None:
        kwargs["dtype"] = "float32"
        super().__init__(config, **kwargs)


def register(cls: type) -> type:
    """Let `.keras` files name the class, so that loading them needs no custom_objects."""
    return keras.saving.register_keras_serializable(package="tfrcnn")(cls)
