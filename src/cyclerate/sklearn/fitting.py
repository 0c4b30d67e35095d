"""One fit of a dense network to standardised arrays: the rate is found, then the cycle runs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from cyclerate._errors import CyclerateError
from cyclerate.compare._optimizers import default_rate
from cyclerate.finder import RangeTestResult
from cyclerate.keras import fit_one_cycle, range_test
from cyclerate.sklearn._networks import Shape, Weights, initial_weights, lent_network, weights_of
from cyclerate.sklearn.batches import WholeBatches


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Attributes:
        shape: The network and its compiled step.
        batch_size: Rows in a step.
        epochs: Passes over the rows.
        max_lr: The peak of the rate; None to find it.
        seed: Of the weights and of the order of the rows.
        verbose: As in Keras.
    """

    shape: Shape
    batch_size: int
    epochs: int
    max_lr: float | None
    seed: int
    verbose: int


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Attributes:
        weights: Kernel and bias of each layer, in turn.
        max_lr: The peak of the rate.
        found: What the range test found, or None if there was none.
        history: Keras's: one value per epoch.
    """

    weights: Weights
    max_lr: float
    found: RangeTestResult | None
    history: dict[str, list[float]]


def fit_network(
    x: NDArray[np.float32], y: NDArray[Any], row_weights: NDArray[np.float32], settings: Settings
) -> Fitted:
    """Trains a network of this shape by one cycle.

    Raises:
        CyclerateError: The training diverged.
    """
    rows = WholeBatches(x, y, row_weights, batch_size=settings.batch_size, seed=settings.seed)
    start = initial_weights(settings.shape.widths, settings.seed)
    with lent_network(settings.shape, start) as model:
        found = None if settings.max_lr is not None else _find(model, rows, settings)
        max_lr = settings.max_lr or _usable_rate(found, settings.shape.optimizer)
        history = fit_one_cycle(
            model,
            rows,
            epochs=settings.epochs,
            max_lr=max_lr,
            shuffle=False,
            verbose=settings.verbose,
        )
        weights = weights_of(model)
    if not all(np.isfinite(values).all() for values in weights):
        raise CyclerateError(
            f"The training diverged: its weights are not finite after a cycle up to {max_lr:.3g}. "
            "Give a lower max_lr, or standardize=True."
        )
    return Fitted(weights, max_lr, found, dict(history.history))


def _find(model: Any, rows: WholeBatches, settings: Settings) -> RangeTestResult:
    return range_test(
        model,
        rows,
        policy="one_cycle",
        horizon_steps=settings.epochs * rows.num_batches,
        seed=settings.seed,
        verbose=settings.verbose,
    )


def _usable_rate(found: RangeTestResult | None, optimizer: str) -> float:
    if found is not None and found.max_lr is not None:
        return found.max_lr
    rate = default_rate(optimizer)
    verdict = "" if found is None else f" {found.verdict}"
    warnings.warn(
        f"The range test found no clear answer; trained up to {rate:g}, the default rate of "
        f"{optimizer}.{verdict} Give max_lr to choose another.",
        ConvergenceWarning,
        stacklevel=4,
    )
    return rate
