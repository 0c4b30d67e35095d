"""What rate another batch size wants."""

from __future__ import annotations

import math

from cyclerate._errors import check_choice, check_count, check_number

RULES = ("linear", "sqrt")


def scale_lr(lr: float, batch_size: int, new_batch_size: int, rule: str = "linear") -> float:
    """Returns the rate for another batch size.

    With `k = new_batch_size / batch_size`: `lr * k` (linear), or `lr * sqrt(k)` (sqrt).

    Linear is for SGD, with or without momentum: k small steps and one of a batch k times as large
    go about as far. It breaks where the rate comes to its limit: Goyal et al. saw it hold up to
    batches of 8,192 on ImageNet, and fail in the first epochs unless the rate was warmed up, as a
    cycle does. Square root is for Adam and its kin, whose steps do not grow with the gradient; it
    keeps the variance of the steps. Malladi et al. change the betas and epsilon with it, too. For
    SGD it is the careful choice: theory gave it to Krizhevsky, experiments preferred linear.

    Both are a place to begin; a range test at the new batch size measures it.

    Args:
        lr: A rate that is good at `batch_size`, above 0. It may be a `max_lr` or a `base_lr`.
        batch_size: Rows of a batch now; of all devices and of all accumulated batches together.
        new_batch_size: Rows of a batch then.
        rule: "linear" (default) or "sqrt".

    Returns:
        The rate for `new_batch_size`.

    Raises:
        ValueError: A rate that is not above 0, a batch size below 1, an unknown rule.

    Source: linear, Goyal et al. 2017, arXiv 1706.02677, section 2.1; square root, Krizhevsky 2014,
    arXiv 1404.5997, section 5, and for Adam, Malladi et al. 2022, arXiv 2205.10287.

    >>> scale_lr(0.1, batch_size=256, new_batch_size=1024)
    0.4
    >>> scale_lr(0.001, batch_size=64, new_batch_size=256, rule="sqrt")
    0.002
    """
    lr = check_number("lr", lr, low=0, low_open=True)
    old = check_count("batch_size", batch_size)
    new = check_count("new_batch_size", new_batch_size)
    linear = check_choice("rule", rule, RULES) == "linear"
    return lr * (new / old if linear else math.sqrt(new / old))
