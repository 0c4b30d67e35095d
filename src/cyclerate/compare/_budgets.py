"""The curve of quality against budget, as `--how-long` measured it: words, a table, a chart."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cyclerate._svg import Axis, Chart, around, number, steps_text
from cyclerate._theme import CSS
from cyclerate.compare._wording import MISSING, Numbers, seconds, shortened, whole
from cyclerate.cycles._how_long import RECORD, Forecast, HowLong
from cyclerate.finder._sweep import direction

HOW_LONG = "how-long"  # the folder of it in that of a comparison
_FORECAST_POINTS = 3
_LONG_SECONDS = 90.0


@dataclass(frozen=True)
class Budgets:
    """What `how_long` told, for people: its points, then what twice and four times bring.

    >>> values = {"val_accuracy": (0.8, 0.85, 0.87)}
    >>> made = Budgets(HowLong((250, 500, 1000), values, "val_accuracy", (60.0, 120.0, 240.0)))
    >>> made.sentence.startswith("Another 4.0 minutes, twice the steps, gain about 1.")
    True
    """

    told: HowLong

    @property
    def metric(self) -> str:
        """What was measured."""
        return self.told.metric.removeprefix("val_").replace("_", " ")

    @property
    def numbers(self) -> Numbers:
        """How it is written."""
        share = any(word in self.metric for word in ("accuracy", "auc", "precision"))
        return Numbers.fitting(self.told.values[self.told.metric], share=share)

    @property
    def coming(self) -> tuple[Forecast, ...]:
        """The forecasts, if there are points enough, and the last is one of them."""
        values = self.told.values[self.told.metric]
        known = [value for value in values if value is not None]
        factors = (2, 4) if values[-1] is not None and len(known) >= _FORECAST_POINTS else ()
        return tuple(self.told.forecast(factor * self.told.steps[-1]) for factor in factors)

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the columns."""
        return ("steps", self.metric, "80 % interval", "seconds")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A row of texts for each point, and for each forecast."""
        told, write = self.told, self.numbers.text
        rows = [
            (whole(step), write(value), MISSING, seconds(time))
            for step, value, time in zip(
                told.steps, told.values[told.metric], told.seconds, strict=True
            )
        ]
        for one in self.coming:
            time = one.steps / told.steps[-1] * told.seconds[-1]
            between = f"{write(one.low)} to {write(one.high)}"
            rows.append((whole(one.steps), f"about {write(one.value)}", between, seconds(time)))
        return rows

    @property
    def sentence(self) -> str:
        """What as much time again would gain; what half of it was worth."""
        last = self.told.values[self.told.metric][-1]
        half = self.told.values[self.told.metric][-2]
        if last is None or not self.coming:
            return "There is no forecast: the last points are not finite."
        twice = self.coming[0]
        gain, *ends = (self._gain(last, to) for to in (twice.value, twice.low, twice.high))
        verb = "gain" if gain >= 0 else "lose"
        said = (
            f"Another {duration(self.told.seconds[-1])}, twice the steps, {verb} about "
            f"{self._size(abs(gain))} (80 % interval: {self._size(min(ends), '+')} to "
            f"{self._size(max(ends), '+')})."
        )
        if half is None:
            return said
        less = self._gain(half, last)
        than = "less" if less >= 0 else "more"
        return f"{said} Half of the steps came to {self._size(abs(less))} {than}."

    def _gain(self, before: float, after: float) -> float:
        """By how much the second is better."""
        try:
            sign = 1.0 if direction(self.told.metric, "auto") == "max" else -1.0
        except ValueError:
            sign = -1.0
        return sign * (after - before)

    def _size(self, value: float, sign: str = "") -> str:
        if self.numbers.percent:
            return f"{100 * value:{sign}.1f}{'' if sign else ' points'}"
        return f"{value:{sign}.2g}{'' if sign else f' of {self.metric}'}"

    def svg(self) -> str:
        """Returns the chart."""
        told, coming, numbers = self.told, self.coming, self.numbers
        known = [
            (step, value)
            for step, value in zip(told.steps, told.values[told.metric], strict=True)
            if value is not None
        ]
        steps, values = [step for step, _ in known], [value for _, value in known]
        low, high = around([*values, *(end for one in coming for end in (one.low, one.high))])
        end = max([*told.steps, *(one.steps for one in coming)])
        across = Axis(told.steps[0] / 1.2, 1.2 * end, True, "optimizer steps", steps_text)
        write = (lambda value: f"{100 * value:.4g} %") if numbers.percent else number
        chart = Chart(
            across,
            Axis(low, high, write=write),
            f"Held-out {shortened(self.metric, 24)} by budget",
            f"Line chart of the {self.metric} over the steps of the training. {self.sentence}",
        )
        chart.line(steps, values, CSS.ink)
        chart.dots(steps, values, CSS.ink, radius=3)
        for one in coming:
            chart.line([one.steps, one.steps], [one.low, one.high], CSS.faint, width=5, opacity=0.5)
        if coming and values:
            chart.line(
                [steps[-1], *(one.steps for one in coming)],
                [values[-1], *(one.value for one in coming)],
                CSS.ink,
                dashes="4 3",
            )
        return chart.svg()


def budgets_in(out_dir: str | os.PathLike[str]) -> Budgets | None:
    """Returns what `--how-long` left in the folder of a comparison, if it is finished there."""
    file = Path(out_dir) / HOW_LONG / RECORD
    told = HowLong.load(file) if file.is_file() else None
    whole_run = told is not None and told.steps[-1] == told.provenance.get("total_steps")
    return Budgets(told) if told is not None and whole_run else None


def duration(value: float) -> str:
    """Writes seconds as a person says them.

    >>> duration(42), duration(240), duration(9000)
    ('42 seconds', '4.0 minutes', '2.5 hours')
    """
    if value < _LONG_SECONDS:
        return f"{value:.2g} seconds"
    if value < 60 * _LONG_SECONDS:
        return f"{value / 60:.1f} minutes" if value < 600 else f"{value / 60:.0f} minutes"
    return f"{value / 3600:.1f} hours"
