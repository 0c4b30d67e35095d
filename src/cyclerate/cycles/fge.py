"""The schedule of fast geometric ensembling: short cycles that begin at their top."""

from __future__ import annotations

from cyclerate._errors import bad_argument, check_count
from cyclerate.schedules import Linear, Sequence, Triangular


def fge_schedule(max_lr: float, min_lr: float, cycle_steps: int) -> Sequence:
    """Returns the rate of fast geometric ensembling (FGE), for a model that is trained already.

    Down in a straight line from `max_lr` to `min_lr` in the first half of a cycle, up again in the
    second; the members are taken at `min_lr`, in the middle of each cycle. The cycles are short (a
    few epochs) and `max_lr` is below that of the training before, so that the model moves from one
    good place to the next.

    Args:
        max_lr: The rate at both ends of a cycle (alpha 1 in the paper).
        min_lr: The rate in its middle (alpha 2), where members are taken.
        cycle_steps: Optimizer steps of a cycle, an even number.

    Returns:
        A schedule; step 0 has `max_lr`, step `cycle_steps / 2` the first `min_lr`.

    Raises:
        ValueError: `cycle_steps` is odd or below 2, or `max_lr` is not above `min_lr`.

    Source: Garipov et al. 2018, arXiv 1802.10026, section 4; its rates are within a factor of 100
    of each other, its cycles of 2 to 4 epochs.

    >>> lr = fge_schedule(max_lr=0.05, min_lr=0.01, cycle_steps=4)
    >>> [round(lr(step), 6) for step in range(9)]
    [0.05, 0.03, 0.01, 0.03, 0.05, 0.03, 0.01, 0.03, 0.05]
    """
    steps = check_count("cycle_steps", cycle_steps, low=2)
    if steps % 2:
        raise bad_argument("cycle_steps", "an even number", cycle_steps)
    half = steps // 2
    down, on = Linear(max_lr, min_lr, half), Triangular(min_lr, max_lr, half)
    if down.end >= down.start:
        raise bad_argument("max_lr", f"above min_lr, {min_lr}", max_lr)
    return Sequence((down, on), (half,))
