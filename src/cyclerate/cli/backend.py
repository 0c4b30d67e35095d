"""Which framework computes under Keras: decided here, and before Keras is imported."""

from __future__ import annotations

import importlib.util
import os

from cyclerate._errors import MissingExtra, require

BACKENDS = ("jax", "tensorflow", "torch")


def prefer_backend(first: str = "jax") -> None:
    """Sets Keras's backend unless `KERAS_BACKEND` does: the first that is installed.

    Args:
        first: The backend to look for before the others.

    Raises:
        MissingExtra: None is installed.
    """
    if not os.environ.get("KERAS_BACKEND"):
        order = sorted(BACKENDS, key=lambda name: name != first)
        installed = [name for name in order if importlib.util.find_spec(name)]
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


def choose_backend(first: str = "jax") -> str:
    """Loads Keras with the preferred backend and returns the backend's name.

    Args:
        first: The backend to look for before the others.

    Raises:
        MissingExtra: Keras or its backend is not installed.
    """
    prefer_backend(first)
    keras = require("keras", "cli")
    return str(keras.backend.backend())
