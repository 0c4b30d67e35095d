"""The cyclical schedules of TensorFlow Addons, which has come to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from cyclerate._errors import check_choice
from cyclerate.keras._schedule import KerasSchedule
from cyclerate.keras.compat._cyclic_lr import SCALE_MODES, scaled_by_function, whole_step_size
from cyclerate.schedules import Cyclic, ExpRange, Schedule, Triangular, Triangular2, from_dict

_COMMON = ("initial_learning_rate", "maximal_learning_rate", "step_size", "scale_mode", "name")

_registered = keras.saving.register_keras_serializable(package="cyclerate")


class _AddonsSchedule(KerasSchedule):
    """A schedule that keeps TensorFlow Addons' arguments, as attributes and when saved.

    Args:
        schedule: The schedule itself.
        common: What all of them have, in the order of `_COMMON`.
        **own: What only one of them has.
    """

    def __init__(self, schedule: Schedule, common: tuple[Any, ...], **own: Any) -> None:
        arguments = {**dict(zip(_COMMON, common, strict=True)), **own}
        super().__init__(schedule)
        self._arguments = arguments
        for name, value in arguments.items():
            setattr(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        return dict(self._arguments)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)

    def __repr__(self) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({listed})"


@_registered
class CyclicalLearningRate(_AddonsSchedule):
    """A cycle with a factor of the amplitude of your own, with TensorFlow Addons' arguments.

    `initial + (maximal - initial) * max(0, 1 - x) * scale_fn(cycle or step)`, with `cycle = floor(1
    + step / (2 * step_size))` and `x = |step / step_size - 2 * cycle + 1|`. For an optimizer's
    `learning_rate`, on all backends, compiled into the step.

    It is saved with the model, which failed with the original: `scale_fn` by its import path, so it
    must be a function at the top level of a module that the loading program has imported. A
    `step_size` that is not whole is rounded.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound where the factor is 1.
        step_size: Half a cycle, in steps.
        scale_fn: The factor, a function of the cycle (counted from 1) or the step (from 0), of
            arithmetic that tensors have.
        scale_mode: "cycle" (default) or "iterations".
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described. When saved: `scale_fn` has no import path.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = CyclicalLearningRate(0.1, 0.5, step_size=2, scale_fn=lambda cycle: 1 / cycle)
    >>> [round(float(rate(step)), 3) for step in range(7)]
    [0.1, 0.3, 0.5, 0.3, 0.1, 0.2, 0.3]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_fn: Callable[[Any], Any],
        scale_mode: str = "cycle",
        name: str = "CyclicalLearningRate",
    ) -> None:
        bounds = initial_learning_rate, maximal_learning_rate
        schedule = scaled_by_function(*bounds, step_size, scale_fn, scale_mode)
        super().__init__(schedule, (*bounds, step_size, scale_mode, name), scale_fn=scale_fn)

    def get_config(self) -> dict[str, Any]:
        """The arguments, with `scale_fn` as its import path."""
        return {**super().get_config(), "scale_fn": self.schedule.to_dict()["scale_fn"]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # Functions are found by name in one place only, which imports nothing for it.
        named: Any = from_dict({**Cyclic(0.0, 1.0, 1).to_dict(), "scale_fn": config["scale_fn"]})
        return cls(**{**config, "scale_fn": named.scale_fn})


@_registered
class TriangularCyclicalLearningRate(_AddonsSchedule):
    """Smith's triangular policy, with TensorFlow Addons' arguments.

    For an optimizer's `learning_rate`, on all backends, compiled into the step; saved with the
    model.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound.
        step_size: Half a cycle, in steps; rounded if it is not whole.
        scale_mode: "cycle" (default) or "iterations", of no effect: the amplitude stays.
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = TriangularCyclicalLearningRate(1e-4, 1e-2, step_size=100)
    >>> round(float(rate(50)), 5), round(float(rate(100)), 5)
    (0.00505, 0.01)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_mode: str = "cycle",
        name: str = "TriangularCyclicalLearningRate",
    ) -> None:
        check_choice("scale_mode", scale_mode, SCALE_MODES)
        bounds = initial_learning_rate, maximal_learning_rate
        schedule = Triangular(*bounds, whole_step_size(step_size))
        super().__init__(schedule, (*bounds, step_size, scale_mode, name))


@_registered
class Triangular2CyclicalLearningRate(_AddonsSchedule):
    """Smith's triangular2 policy, with TensorFlow Addons' arguments.

    For an optimizer's `learning_rate`, on all backends, compiled into the step; saved with the
    model.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound.
        step_size: Half a cycle, in steps; rounded if it is not whole.
        scale_mode: "cycle": the amplitude halves every cycle. The original took "iterations" too,
            which doubles it at first and halves it every step.
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = Triangular2CyclicalLearningRate(0.1, 0.5, step_size=1)
    >>> [round(float(rate(step)), 3) for step in range(4)]
    [0.1, 0.5, 0.1, 0.3]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_mode: str = "cycle",
        name: str = "Triangular2CyclicalLearningRate",
    ) -> None:
        check_choice("scale_mode", scale_mode, ("cycle",))
        bounds = initial_learning_rate, maximal_learning_rate
        schedule = Triangular2(*bounds, whole_step_size(step_size))
        super().__init__(schedule, (*bounds, step_size, scale_mode, name))


@_registered
class ExponentialCyclicalLearningRate(_AddonsSchedule):
    """Smith's exp_range policy, with TensorFlow Addons' arguments.

    For an optimizer's `learning_rate`, on all backends, compiled into the step; saved with the
    model.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound.
        step_size: Half a cycle, in steps; rounded if it is not whole.
        scale_mode: "iterations" (default): the amplitude shrinks by `gamma` every step; "cycle":
            every cycle, the first included.
        gamma: The factor, above 0 and at most 1. Default 1.
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = ExponentialCyclicalLearningRate(0.0, 1.0, step_size=1, gamma=0.5)
    >>> [round(float(rate(step)), 3) for step in range(4)]
    [0.0, 0.5, 0.0, 0.125]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_mode: str = "iterations",
        gamma: float = 1.0,
        name: str = "ExponentialCyclicalLearningRate",
    ) -> None:
        check_choice("scale_mode", scale_mode, SCALE_MODES)
        bounds = initial_learning_rate, maximal_learning_rate
        steps = whole_step_size(step_size)
        schedule: Schedule = ExpRange(*bounds, steps, gamma=gamma)
        if scale_mode == "cycle":
            schedule = Cyclic(*bounds, steps, scale_fn=lambda cycle: gamma**cycle)
        super().__init__(schedule, (*bounds, step_size, scale_mode, name), gamma=gamma)
