"""The cyclical schedules of TensorFlow Addons, which has come to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import keras

from cyclerate._errors import check_choice, check_number
from cyclerate.keras._schedule import KerasSchedule
from cyclerate.keras.compat._cyclic_lr import SCALE_MODES, scaled_by_function, whole_step_size
from cyclerate.schedules import Cyclic, ExpRange, Schedule, Triangular, Triangular2, from_dict

_registered = keras.saving.register_keras_serializable(package="cyclerate")


@dataclass(eq=False)
class _AddonsSchedule(KerasSchedule):
    """A schedule that keeps TensorFlow Addons' arguments, as attributes and when saved."""

    initial_learning_rate: float
    maximal_learning_rate: float
    step_size: float

    def __post_init__(self) -> None:
        low = check_number("initial_learning_rate", self.initial_learning_rate, low=0)
        check_number("maximal_learning_rate", self.maximal_learning_rate, low=low)
        super().__init__(self._policy(self.initial_learning_rate, self.maximal_learning_rate))

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@_registered
@dataclass(eq=False)
class CyclicalLearningRate(_AddonsSchedule):
    """A cycle whose amplitude your own function scales, with TensorFlow Addons' arguments.

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

    scale_fn: Callable[[Any], Any]
    scale_mode: str = "cycle"
    name: str = "CyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        return scaled_by_function(base_lr, max_lr, self.step_size, self.scale_fn, self.scale_mode)

    def get_config(self) -> dict[str, Any]:
        """The arguments, with `scale_fn` as its import path."""
        return {**super().get_config(), "scale_fn": self.schedule.to_dict()["scale_fn"]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # Functions are found by name in one place only, which imports nothing for it.
        named: Any = from_dict({**Cyclic(0.0, 1.0, 1).to_dict(), "scale_fn": config["scale_fn"]})
        return cls(**{**config, "scale_fn": named.scale_fn})


@_registered
@dataclass(eq=False)
class TriangularCyclicalLearningRate(_AddonsSchedule):
    """Smith's triangular policy, with TensorFlow Addons' arguments; saved with the model.

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

    scale_mode: str = "cycle"
    name: str = "TriangularCyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        check_choice("scale_mode", self.scale_mode, tuple(SCALE_MODES))
        return Triangular(base_lr, max_lr, whole_step_size(self.step_size))


@_registered
@dataclass(eq=False)
class Triangular2CyclicalLearningRate(_AddonsSchedule):
    """Smith's triangular2 policy, with TensorFlow Addons' arguments; saved with the model.

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

    scale_mode: str = "cycle"
    name: str = "Triangular2CyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        check_choice("scale_mode", self.scale_mode, ("cycle",))
        return Triangular2(base_lr, max_lr, whole_step_size(self.step_size))


@_registered
@dataclass(eq=False)
class ExponentialCyclicalLearningRate(_AddonsSchedule):
    """Smith's exp_range policy, with TensorFlow Addons' arguments; saved with the model.

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

    scale_mode: str = "iterations"
    gamma: float = 1.0
    name: str = "ExponentialCyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        check_choice("scale_mode", self.scale_mode, tuple(SCALE_MODES))
        gamma, steps = self.gamma, whole_step_size(self.step_size)
        if self.scale_mode == "cycle":
            return Cyclic(base_lr, max_lr, steps, scale_fn=lambda cycle: gamma**cycle)
        return ExpRange(base_lr, max_lr, steps, gamma=gamma)
