"""Layers by their depth: a smaller rate below, and nothing until their turn comes.

Layers are counted from the bottom, where the input comes in, to the top, the output.
"""

from __future__ import annotations

from cyclerate._errors import check_count, check_number
from cyclerate.schedules import Constant, Schedule, Sequence

LAYER_DECAY = 1 / 2.6
"""From a layer to the one below it: Howard and Ruder 2018, section 3.2."""


def layer_factors(layers: int, decay: float = LAYER_DECAY) -> tuple[float, ...]:
    """Returns what the rate of each layer is multiplied by, from the bottom to the top.

    `decay ** d`, d layers below the top.

    Args:
        layers: How many there are.
        decay: From a layer to the one below it, above 0 and at most 1. Default 1 / 2.6.

    Raises:
        ValueError: No layer, or a decay out of range.

    Source: the discriminative fine-tuning of Howard and Ruder 2018, arXiv 1801.06146, section 3.2.

    >>> layer_factors(3, decay=0.5)
    (0.25, 0.5, 1.0)
    """
    layers = check_count("layers", layers)
    decay = check_number("decay", decay, low=0, low_open=True, high=1)
    return tuple(decay**depth for depth in reversed(range(layers)))


def thaw_turns(layers: int) -> tuple[int, ...]:
    """Returns when each layer begins to train, from the bottom to the top: the top at turn 0.

    A turn is an epoch or a cycle, as the caller has it; at each, one more layer trains.

    Source: the gradual unfreezing of Howard and Ruder 2018, arXiv 1801.06146, section 3.3.

    >>> thaw_turns(3)
    (2, 1, 0)
    """
    return tuple(reversed(range(check_count("layers", layers))))


def factor_schedule(factor: float, first_step: int) -> Schedule:
    """Returns 0 before `first_step` and `factor` from there on.

    >>> factor_schedule(0.5, first_step=2)(range(4)).tolist()
    [0.0, 0.0, 0.5, 0.5]
    """
    if first_step <= 0:
        return Constant(factor)
    return Sequence((Constant(0.0), Constant(factor)), (first_step,))
