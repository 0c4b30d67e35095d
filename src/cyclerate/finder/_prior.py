"""The rate to expect before any step, and what it makes of a reading of a sweep.

The rate follows from the kind of optimizer, batch, length and size:

    log10 lr = kind + batch * log10(batch_size / 64) + steps * log10(total_steps / 500)
                    + (size + tuned, if fine-tuned) * log10(parameters / 4000)

The numbers are a ridge regression of the best rates of 1cycle on the 37 design and fine-tuning
tasks of benchmarks/finders; how they go on to large models comes from ten published rates, from
ResNet-20 to GPT-3. `python -m benchmarks.budget.prior_fit` fits them again and lists the sources.
Each task left out once, adaptive optimizers are off by 0.27 decades and SGD by 0.37 (root mean
square); the published rates are met within a factor of 3.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cyclerate._errors import check_choice, check_count, check_number

READING_DECADES = 0.4
"""Standard deviation of a reading of a sweep, as `Prior.decades` is that of the prior."""

_MOST_PULL_DECADES = 0.4
_BLIND_DECADES = 1.0
_BELOW_LAST_DECADES = 0.5
_SDS_OF_90_PERCENT = 1.645

_KINDS = {
    "adam": -1.70,
    "adamw": -1.70,
    "rmsprop": -1.82,
    "adagrad": -0.49,
    "lion": -2.15,
    "momentum": -1.22,
    "nesterov": -1.22,
    "sgd": -0.01,
}
"""Of each kind, the logarithm of the rate at a batch of 64, 500 steps and 4,000 parameters."""

_OF_SGD = ("sgd", "momentum", "nesterov")
_ADAPTIVE_POWERS = {"batch": -0.10, "size": -0.13, "tuned": -0.35, "steps": -0.37}
_SGD_POWERS = {"batch": 0.58, "size": -0.05, "tuned": -0.14, "steps": -0.09}

_ADAPTIVE_DECADES, _SGD_DECADES = 0.30, 0.45
_DECADES_PER_DECADE_OF_SIZE = 0.1  # away from the small tasks that it was fitted on

# What the reading of a sweep is to be multiplied by before a linear way down; on the design tasks.
_SWEEP_FACTORS = {"rmsprop": 1.2, "sgd": 1.3, "momentum": 1.4, "nesterov": 1.4, "adagrad": 1.7}


@dataclass(frozen=True)
class Prior:
    """A rate to expect, before any step.

    Attributes:
        lr: The rate.
        decades: Its standard deviation, in decades.
        sweep_factor: Where the best rate of this kind of optimizer lies, times the reading of a
            sweep.
    """

    lr: float
    decades: float
    sweep_factor: float = 1.0

    def __post_init__(self) -> None:
        check_number("lr", self.lr, low=0, low_open=True)
        check_number("decades", self.decades, low=0, low_open=True)
        check_number("sweep_factor", self.sweep_factor, low=0, low_open=True)

    @property
    def interval(self) -> tuple[float, float]:
        """(low, high): nine in ten of the best rates lie there."""
        far = 10 ** (_SDS_OF_90_PERCENT * self.decades)
        return self.lr / far, self.lr * far

    def times(self, factor: float) -> Prior:
        """Returns that of another policy, whose rates are so much higher."""
        return replace(self, lr=self.lr * factor)

    def top_after(self, reading: float | None, diverged_at: float | None) -> float:
        """Returns the highest rate to train at, from the prior and a sweep.

            log10 lr = log10 middle + clip(w (log10 prior - log10 middle), -0.4, 0.4)
            w = 0.4**2 / (0.4**2 + decades**2)

        times `sweep_factor`. Middle is the reading; without one, a tenth of the rate that the sweep
        diverged at; without that, the prior. It is never above that rate over 10**0.5.

        Args:
            reading: What the sweep put the rate at; None for no answer.
            diverged_at: The last rate of a sweep that diverged; None if it did not.

        >>> prior = Prior(lr=0.01, decades=0.4)
        >>> [round(prior.top_after(0.04, None), 6), prior.top_after(None, None)]
        [0.02, 0.01]
        >>> f"{prior.top_after(None, diverged_at=0.001):.2g}"
        '0.00025'
        """
        middle = reading
        if middle is None:
            middle = self.lr if diverged_at is None else diverged_at / 10**_BLIND_DECADES
        weight = READING_DECADES**2 / (READING_DECADES**2 + self.decades**2)
        pull = weight * math.log10(self.lr / middle)
        pull = min(max(pull, -_MOST_PULL_DECADES), _MOST_PULL_DECADES)
        top = middle * 10**pull * self.sweep_factor
        return top if diverged_at is None else min(top, diverged_at / 10**_BELOW_LAST_DECADES)


def prior_lr(
    kind: str,
    *,
    batch_size: int | None = None,
    total_steps: int | None = None,
    fine_tuned: bool = False,
    parameters: int | None = None,
) -> Prior:
    """Returns the highest rate to expect of a training.

    Args:
        kind: Of the optimizer, as `kind_of` gives it.
        batch_size: Rows of a step. Default: 64.
        total_steps: Length of the training. Default: 500.
        fine_tuned: Whether the weights were trained before.
        parameters: How many are trained. Default: 4,000; say it, if the model is larger.

    Raises:
        ValueError: An unknown kind, or a count below 1.

    >>> from cyclerate.finder._prior import prior_lr
    >>> f"{prior_lr('adamw').lr:.2g}"
    '0.02'
    >>> tuned = prior_lr("adamw", batch_size=32, total_steps=10_000, fine_tuned=True,
    ...                  parameters=110_000_000)
    >>> f"{tuned.lr:.1g}"
    '5e-05'
    """
    check_choice("kind", kind, tuple(_KINDS))
    adaptive = kind not in _OF_SGD
    powers = _ADAPTIVE_POWERS if adaptive else _SGD_POWERS
    size = math.log10(check_count("parameters", parameters or 4000) / 4000)
    log_lr = (
        _KINDS[kind]
        + powers["batch"] * math.log10(check_count("batch_size", batch_size or 64) / 64)
        + powers["steps"] * math.log10(check_count("total_steps", total_steps or 500) / 500)
        + (powers["size"] + fine_tuned * powers["tuned"]) * size
    )
    spread = _ADAPTIVE_DECADES if adaptive else _SGD_DECADES
    return Prior(
        lr=10**log_lr,
        decades=math.hypot(spread, _DECADES_PER_DECADE_OF_SIZE * size),
        sweep_factor=_SWEEP_FACTORS.get(kind, 1.0),
    )


def kind_of(name: str, *, momentum: float = 0.0, nesterov: bool = False) -> str:
    """Returns the kind of an optimizer by the name of its class; an unknown one counts as Adam.

    >>> kind_of("SGD", momentum=0.9), kind_of("RMSprop"), kind_of("NAdam")
    ('momentum', 'rmsprop', 'adam')
    """
    lowered = name.lower()
    if lowered == "sgd":
        return ("nesterov" if nesterov else "momentum") if momentum else "sgd"
    return next(
        (kind for kind in ("adamw", "rmsprop", "adagrad", "lion") if kind == lowered), "adam"
    )
