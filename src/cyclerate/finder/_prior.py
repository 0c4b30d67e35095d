"""The rate to expect before any step, and what it, a sweep and races say of it together.

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
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import check_choice, check_count, check_number, check_rate

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

# Where the best rates of 1cycle lie beside what a sweep reads; on the design tasks, in decades.
_BESIDE_READING = {"sgd": 0.6, "adagrad": 0.75, "rmsprop": 0.5}

# What the reading of a sweep is to be multiplied by before a linear way down; on the design tasks.
_SWEEP_FACTORS = {"rmsprop": 1.2, "sgd": 1.3, "momentum": 1.4, "nesterov": 1.4, "adagrad": 1.7}


@dataclass(frozen=True)
class Prior:
    """A rate to expect, before any step.

    Attributes:
        lr: The rate.
        decades: Its standard deviation, in decades.
        sweep_factor: Where the best rate of this kind of optimizer lies, times the reading of a
            sweep, where the way down is a straight line and gradients are clipped.
        reading_decades: Where it lies beside that reading for 1cycle as it is, in decades.
    """

    lr: float
    decades: float
    sweep_factor: float = 1.0
    reading_decades: float = 0.0

    def __post_init__(self) -> None:
        check_rate("lr", self.lr)
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
        reading_decades=_BESIDE_READING.get(kind, 0.0),
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


SOURCES = ("prior", "sweep", "races")

_TAIL = 4.0  # degrees of freedom: a source that is far off the others is wrong, not half right
_GRID_DECADES = 0.02
_GRID_SPREADS = 5.0


@dataclass(frozen=True)
class RateReading:
    """What one source says of the highest rate to train with.

    Its likelihood is Student's t with four degrees of freedom in the logarithm of the rate, with a
    spread for either side.

    Attributes:
        source: "prior", what is expected before any step; "sweep"; or "races".
        lr: The rate that it says.
        below: How far lower the best rate may be, in decades.
        above: How far higher.

    >>> RateReading("prior", lr=0.01, below=0.3, above=0.3).lr
    0.01
    """

    source: str
    lr: float
    below: float
    above: float

    def __post_init__(self) -> None:
        check_choice("source", self.source, SOURCES)
        for name in ("lr", "below", "above"):
            object.__setattr__(
                self, name, check_number(name, getattr(self, name), low=0, low_open=True)
            )

    def log_likelihood(self, log_lrs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns that of every rate, by decimal logarithms, but for a constant."""
        off = log_lrs - math.log10(self.lr)
        z = off / np.where(off < 0, self.below, self.above)
        return np.asarray(-(_TAIL + 1) / 2 * np.log1p(z**2 / _TAIL))


def quantile_of(readings: Sequence[RateReading], share: float) -> float:
    """Returns the decimal logarithm of the rate below which this share of their product lies.

    >>> round(quantile_of([RateReading("prior", 0.01, 0.3, 0.3)], 0.5), 2)
    -2.0
    """
    log_lrs = grid_of(readings)
    return float(np.interp(share, _shares_below(readings, log_lrs), log_lrs))


def share_below(readings: Sequence[RateReading], log_lr: float) -> float:
    """Returns the share of their product that lies below a rate."""
    log_lrs = grid_of(readings)
    return float(np.interp(log_lr, log_lrs, _shares_below(readings, log_lrs)))


def _shares_below(
    readings: Sequence[RateReading], log_lrs: NDArray[np.float64]
) -> NDArray[np.float64]:
    density = density_of(readings, log_lrs)
    return np.asarray((np.cumsum(density) - density / 2) * _GRID_DECADES)


def grid_of(readings: Sequence[RateReading]) -> NDArray[np.float64]:
    """Returns the decimal logarithms of rates that reach as far as any of the readings."""
    lowest = min(math.log10(r.lr) - _GRID_SPREADS * r.below for r in readings)
    highest = max(math.log10(r.lr) + _GRID_SPREADS * r.above for r in readings)
    first, last = math.floor(lowest / _GRID_DECADES), math.ceil(highest / _GRID_DECADES)
    return np.asarray(_GRID_DECADES * np.arange(first, last + 1), dtype=np.float64)


def density_of(
    readings: Sequence[RateReading], log_lrs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the product of their likelihoods, per decade: it sums up to 1.

    >>> readings = [RateReading("prior", 0.01, 0.3, 0.3), RateReading("sweep", 0.04, 0.3, 0.3)]
    >>> log_lrs = grid_of(readings)
    >>> f"{10 ** log_lrs[np.argmax(density_of(readings, log_lrs))]:.2f}"
    '0.02'
    """
    log_product: NDArray[np.float64] = np.sum(
        [reading.log_likelihood(log_lrs) for reading in readings], axis=0
    )
    product = np.exp(log_product - np.max(log_product)).astype(np.float64)
    return product / (np.sum(product) * _GRID_DECADES)
