"""Which attribute of an optimizer holds its rate, its momentum and its weight decay."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras._internals import RATE


def innermost(optimizer: Any) -> Any:
    """The optimizer that makes the updates: the one inside a LossScaleOptimizer.

    Raises:
        ValueError: There is no optimizer, or several of them behind one.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return innermost(optimizer.inner_optimizer)
    several = getattr(keras.optimizers, "MultiOptimizer", ())
    if not isinstance(optimizer, keras.optimizers.Optimizer) or isinstance(optimizer, several):
        raise bad_argument(
            "model.optimizer",
            "a single Keras optimizer (give each part of a MultiOptimizer its own as_schedule)",
            optimizer,
        )
    return optimizer


def attribute_for(optimizer: Any, hyper: str) -> str:
    """The attribute behind "learning_rate", "momentum" or "weight_decay".

    Raises:
        ValueError: The optimizer has no momentum, or was built without it.
    """
    if hyper == "learning_rate":
        return RATE
    if hyper == "weight_decay":
        return "weight_decay"  # every Keras optimizer has it, None at first
    return momentum_attribute(optimizer)


def momentum_attribute(optimizer: Any) -> str:
    """`momentum` or `beta_1`, whichever the optimizer has in use.

    Raises:
        ValueError: It has neither, or was made with momentum 0 and so keeps no velocity.
    """
    name = type(optimizer).__name__
    # Schedule-free methods recover their average with the beta_1 that it was made with.
    if "ScheduleFree" in name:
        raise bad_argument("momentum", "None for a schedule-free optimizer", name)
    if hasattr(optimizer, "momentum"):
        if not optimizer.momentum:
            raise bad_argument(
                "momentum",
                f"None, or the optimizer made with momentum, as {name}(momentum=0.9): made with 0 "
                "it keeps no velocity that could be scheduled",
                optimizer.momentum,
            )
        return "momentum"
    if hasattr(optimizer, "beta_1"):
        return "beta_1"
    raise bad_argument("momentum", f"None: {name} has neither momentum nor beta_1", name)


def has_momentum(optimizer: Any) -> bool:
    """Whether `momentum_attribute` would find one."""
    try:
        momentum_attribute(optimizer)
    except ValueError:
        return False
    return True
