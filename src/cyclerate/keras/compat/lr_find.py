"""fastai's verb for a range test."""

from __future__ import annotations

from typing import Any

from cyclerate._errors import check_choice
from cyclerate.finder import RangeTestResult
from cyclerate.keras._finder import range_test
from cyclerate.keras.compat.showing import show


def lr_find(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_it: int = 100,
    stop_div: bool = True,
    show_plot: bool = True,
    **options: Any,
) -> RangeTestResult:
    """The single sweep, drawn and printed: the words of fastai's `learn.lr_find()`.

    The same as `range_test(model, x, y, method="range", steps=num_it, stop_early=stop_div)`.
    fastai's suggestions are `result.suggest("valley")`, "slide", "steepest" and "minimum".

    Args:
        model: A compiled Keras model; it comes back as it was.
        x: As in `fit`.
        y: As in `fit`.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        num_it: How many rates, one step each. Default 100.
        stop_div: Whether to stop where training diverges. Default True.
        show_plot: Whether to draw the curve and print the result. Default True.
        **options: More options of `range_test`, as `batch_size` or `repeats`.

    Returns:
        The result.

    Raises:
        ValueError: As `range_test`.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> found = lr_find(model, x, x.sum(axis=1), num_it=60, batch_size=16, show_plot=False)
    >>> 0.01 < found.max_lr < 1.0
    True
    """
    check_choice("show_plot", show_plot, (True, False))
    rates = {"start_lr": start_lr, "end_lr": end_lr, "steps": num_it, "stop_early": stop_div}
    found = range_test(model, x, y, method="range", **rates, **options)
    if show_plot:
        show(found)
    return found
