"""Checks of what several classes take."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate._errors import bad_argument
from cyclerate.keras._internals import check_one_replica, innermost
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule


def check_maybe_schedule(schedule: Any) -> Schedule | None:
    """Returns a schedule, or None for that of the fit."""
    return None if schedule is None else check_schedule("schedule", schedule)


def check_model(model: Any) -> None:
    """Checks that a model can be trained.

    Raises:
        ValueError: It is no Keras model, not compiled, has several optimizers, or several replicas.
    """
    if not isinstance(model, keras.Model):
        raise bad_argument("model", "a Keras model", model)
    if not model.compiled or model.optimizer is None:
        raise bad_argument("model", "compiled: call model.compile(optimizer, loss) first", model)
    check_one_replica(model)
    innermost(model.optimizer)
