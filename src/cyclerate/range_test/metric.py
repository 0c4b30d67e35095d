"""Which way a metric is better, by its name."""

from __future__ import annotations

import re

from cyclerate._errors import bad_argument, check_choice

_HIGHER = (
    r"acc|auc|precision|recall|specificity|sensitivity|score|f1|fbeta|iou|io_u|r2|dice|cosine_sim"
)
_LOWER = (
    r"loss|error|mse|mae|mape|msle|rmse|entropy|perplexity|hinge|poisson|diverg|logcosh|log_cosh"
)


def direction(metric: str, mode: str) -> str:
    """Returns "min" or "max".

    Args:
        metric: The name of the metric.
        mode: "min", "max", or "auto" to go by the name.

    Raises:
        ValueError: Another mode, or a name that says nothing.

    >>> direction("val_sparse_categorical_accuracy", "auto"), direction("mse", "auto")
    ('max', 'min')
    """
    check_choice("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return mode
    # A dice loss is a loss, so these go first.
    if re.search(_LOWER, metric.lower()):
        return "min"
    if re.search(_HIGHER, metric.lower()):
        return "max"
    raise bad_argument("mode", f'"min" or "max" for {metric!r}, whose name says neither', mode)
