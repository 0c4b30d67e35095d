"""The optimizers that a comparison knows by name, as Keras has them."""

from __future__ import annotations

from typing import Any

from cyclerate._errors import check_choice

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
    "nadam": ("Nadam", {}),
    "rmsprop": ("RMSprop", {}),
    "adagrad": ("Adagrad", {}),
}


def make_optimizer(name: str) -> Any:
    """An optimizer with its own default rate.

    Raises:
        ValueError: The name is not in `OPTIMIZERS`.
    """
    import keras

    kind, settings = OPTIMIZERS[check_choice("optimizer", name, OPTIMIZERS)]
    return getattr(keras.optimizers, kind)(**settings)


def default_rate(name: str) -> float:
    """The rate that Keras gives this optimizer when none is asked for."""
    # The optimizer keeps it as a float32; the seven digits it has are what was written.
    return float(f"{float(make_optimizer(name).learning_rate):.7g}")


def describe_optimizer(name: str) -> str:
    """The optimizer's class and the settings that are not its defaults.

    >>> describe_optimizer("nesterov")
    'SGD (momentum 0.9, nesterov)'
    """
    kind, settings = OPTIMIZERS[name]
    given = [key if value is True else f"{key} {value}" for key, value in settings.items()]
    return f"{kind} ({', '.join(given)})" if given else kind
