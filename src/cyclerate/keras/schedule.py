"""A cyclerate schedule as a Keras learning rate."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate.schedules import Schedule, from_dict
from cyclerate.schedules._base import check_schedule


@keras.saving.register_keras_serializable(package="cyclerate", name="Schedule")
class KerasSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A cyclerate schedule where Keras expects a `LearningRateSchedule`; see `as_schedule`."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = check_schedule("schedule", schedule)

    def __call__(self, step: Any) -> Any:
        return self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return self.schedule.to_dict()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KerasSchedule:
        return cls(from_dict(config))

    def __repr__(self) -> str:
        return f"as_schedule({self.schedule!r})"


def as_schedule(schedule: Schedule) -> KerasSchedule:
    """Makes a schedule usable as `learning_rate=` of any Keras optimizer.

    The rate of a step is `schedule(optimizer.iterations)`, computed inside the compiled train step
    on every backend. It is saved with the model and goes on where it stood after loading; import
    `cyclerate.keras` before `keras.saving.load_model`. With `gradient_accumulation_steps`, Keras
    counts batches here, not updates.

    Args:
        schedule: The schedule.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        ValueError: `schedule` is no schedule.

    >>> import cyclerate as cr
    >>> import keras
    >>> rate = as_schedule(cr.Triangular(base_lr=0.1, max_lr=0.5, step_size=4))
    >>> optimizer = keras.optimizers.SGD(learning_rate=rate)
    >>> [round(float(rate(step)), 6) for step in range(5)]
    [0.1, 0.2, 0.3, 0.4, 0.5]
    """
    return KerasSchedule(schedule)
