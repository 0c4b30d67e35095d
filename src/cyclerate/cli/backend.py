"""Which framework computes under Keras: decided here, and before Keras is imported."""

from __future__ import annotations

import importlib.util
import os

from cyclerate._errors import MissingExtra, require

BACKENDS = ("jax", "tensorflow", "torch")


def prefer_backend() -> None:
    """Sets Keras's backend unless `KERAS_BACKEND` does: the first that is installed, JAX first.

    Raises:
        MissingExtra: None is installed.
    """
    if not os.environ.get("KERAS_BACKEND"):
        installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
        if not installed:
            raise MissingExtra(
                "this needs Keras with a backend, and neither jax, tensorflow nor torch is "
                "installed. Run: pip install 'cyclerate[cli]'"
            )
        os.environ["KERAS_BACKEND"] = installed[0]
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        # Keras imports TensorFlow, if it is there, to save a model; keep it from chatting.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def choose_backend() -> str:
    """Loads Keras with the preferred backend and returns the backend's name.

    Raises:
        MissingExtra: Keras or its backend is not installed.
    """
    prefer_backend()
    keras = require("keras", "cli")
    return str(keras.backend.backend())
