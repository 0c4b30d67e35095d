"""The range test itself: it says which rate to use, is told what came of it, and says when to stop.

It knows no framework. Whoever drives it trains one step at `lr`, tells it the loss, and goes on
until `done`.
"""

from __future__ import annotations

import numpy as np

from cyclerate._divergence import DivergenceMonitor
from cyclerate._errors import bad_argument, check_choice
from cyclerate.finder._curve import MODES
from cyclerate.finder._result import RangeTestResult, StopReason
from cyclerate.finder._run import Run
from cyclerate.finder._settings import Sweep
from cyclerate.finder._suggest import smooth_and_suggest

_INFINITE = 1e300  # as good as infinite: sums of such values overflow


class RangeTest(Run):
    """One sweep of a learning-rate range test, to be driven step by step.

    Args:
        sweep: The rates to try. Default `Sweep()`.
        metric: Name of what will be told, for the result. Default "loss".
        mode: "min" if lower values are better (a loss), "max" if higher ones are (an accuracy).
        stop_early: Whether to stop when the metric diverges. NaN and infinity always stop it.

    Raises:
        ValueError: `mode` is neither, `metric` is not a name, or `sweep` is not a `Sweep`.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> position = 10.0
    >>> test = RangeTest(Sweep(start_lr=1e-4, end_lr=10.0, steps=60))
    >>> while not test.done:
    ...     position -= test.lr * 2 * position  # gradient descent on position**2
    ...     going_on = test.tell(position**2)
    >>> test.result().stop_reason.name
    'DIVERGED'
    """

    def __init__(
        self,
        sweep: Sweep | None = None,
        *,
        metric: str = "loss",
        mode: str = "min",
        stop_early: bool = True,
    ) -> None:
        if sweep is not None and not isinstance(sweep, Sweep):
            raise bad_argument("sweep", "a Sweep", sweep)
        if not isinstance(metric, str) or not metric:
            raise bad_argument("metric", "a name", metric)
        self.sweep = sweep or Sweep()
        self.metric = metric
        self.mode = check_choice("mode", mode, MODES)
        self._lrs = self.sweep.lrs()
        super().__init__(
            self._lrs.tolist(), "this sweep is over; make a new RangeTest for another one"
        )
        self._values: list[float] = []
        self._monitor = DivergenceMonitor() if stop_early else None
        self._stop_reason: StopReason | None = None

    @property
    def done(self) -> bool:
        """Whether the sweep is over."""
        return self._stop_reason is not None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the sweep is over; None while it is not."""
        return self._stop_reason

    @property
    def lr(self) -> float:
        """The rate to use for the next optimizer step; the last one used, once it is over."""
        return self.lrs[self.index - 1 if self.done else self.index]

    def result(self, *, method: str = "range", seconds: float | None = None) -> RangeTestResult:
        """Reads the curve told so far.

        Args:
            method: Name of the procedure, for the result.
            seconds: Wall time it took, if known.
        """
        lrs, losses = self._lrs[: self.index], np.array(self._values, dtype=np.float64)
        losses[~(np.abs(losses) < _INFINITE)] = np.nan
        smoothed, suggestion = smooth_and_suggest(
            lrs, losses, mode=self.mode, planned_steps=self.sweep.steps, metric=self.metric
        )
        return RangeTestResult(
            lrs=lrs,
            losses=losses,
            smoothed=smoothed,
            base_lr=suggestion.base_lr,
            max_lr=suggestion.max_lr,
            interval=suggestion.interval,
            verdict=suggestion.verdict,
            stop_reason=self._stop_reason or StopReason.CUT_SHORT,
            method=method,
            steps=self.index,
            planned_steps=self.sweep.steps,
            metric=self.metric,
            mode=self.mode,
            spacing=self.sweep.spacing,
            seconds=seconds,
        )

    def _take(self, number: float) -> None:
        self._values.append(number)
        self._stop_reason = self._verdict_on(number)

    def _verdict_on(self, number: float) -> StopReason | None:
        if not abs(number) < _INFINITE:
            return StopReason.NON_FINITE
        loss = number if self.mode == "min" else -number
        if self._monitor is not None and self._monitor.update(loss):
            return StopReason.DIVERGED
        return StopReason.END_OF_RANGE if self.index == self.sweep.steps else None
