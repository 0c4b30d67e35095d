"""The curve of quality against budget: points, forecast, files, and the run behind it."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import cyclerate as cr
from cyclerate.cycles._how_long import (
    Forecast,
    HowLong,
    at_the_end,
    ends_of_doublings,
    in_doublings,
)
from cyclerate.cycles._rules import CycleOptions
from cyclerate.finder._prior import prior_lr

STEPS = (50, 100, 200, 400, 800)
Values = dict[str, tuple[float | None, ...]]


def curve(values: Any, **told: Any) -> HowLong:
    return HowLong(STEPS[-len(values) :], {"loss": tuple(values)}, "loss", **told)


def power_law(level: float, fall: float, power: float) -> list[float]:
    return [level + fall * (n / 50) ** -power for n in STEPS]


@given(st.integers(1, 12), st.integers(0, 10**9))
def test_each_cycle_has_as_many_steps_as_all_before_it(points: int, more: int):
    total = 2**points + more
    ends = ends_of_doublings(total, points)
    assert len(ends) == points
    assert ends[-1] == total
    assert ends[0] >= 2
    assert all(later - 2 * earlier in (0, 1) for earlier, later in itertools.pairwise(ends))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((100, 0), "points"), ((10**9, 13), "points"), ((31, 5), "total_steps"), ((0, 1), "total")],
)
def test_a_run_that_is_too_short_is_refused(arguments: tuple[int, int], named: str):
    with pytest.raises(ValueError, match=named):
        ends_of_doublings(*arguments)


def test_the_end_of_a_cycle_is_its_last_tenth():
    assert at_the_end([5.0, 7.0]) == 7.0
    assert at_the_end([9.0] * 28 + [1.0, 2.0, 3.0]) == 2.0


class TestForecast:
    @pytest.mark.parametrize("power", [0.2, 0.5, 1.0])
    def test_a_power_law_goes_on(self, power: float):
        how_long = curve(power_law(1.0, 2.0, power))
        for factor in (2, 4):
            found = how_long.forecast(factor * 800)
            true = 1.0 + 2.0 * (16 * factor) ** -power
            assert found.low < true < found.high
            assert found.value == pytest.approx(true, abs=0.25 * (how_long.values["loss"][-3] - 1))

    @given(
        st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3, unique=True),
        st.floats(-100, 100),
        st.sampled_from([0.25, 4.0, 1024.0]),
        st.integers(801, 6400),
    )
    def test_neither_level_nor_unit_of_a_loss_changes_it(
        self, values: list[float], level: float, unit: float, steps: int
    ):
        below = [value - 200 for value in values]  # or 0 would be a bound
        before = curve(below).forecast(steps)
        after = curve([level + unit * value - 1e6 for value in below]).forecast(steps)
        far = 1e-6 * unit * (1 + abs(before.value)) + 1e-9 * abs(level)
        for name in ("low", "value", "high"):
            expected = level + unit * getattr(before, name) - 1e6
            assert getattr(after, name) == pytest.approx(expected, abs=100 * far + 1e-3)

    def test_what_was_never_below_0_is_not_expected_there(self):
        found = curve([1.0, 0.5, 0.01]).forecast(3200)
        assert found.low == 0.0
        assert curve([0.0, -0.5, -0.99]).forecast(3200).low < -1.0

    def test_the_further_the_wider(self):
        how_long = curve(power_law(1.0, 2.0, 0.5))
        widths = [f.high - f.low for f in (how_long.forecast(n) for n in (900, 1600, 3200, 6400))]
        assert widths == sorted(widths)
        assert widths[-1] > 2 * widths[0]

    def test_a_share_stays_one(self):
        values: Values = {"val_accuracy": (0.9, 0.95, 0.999)}
        found = HowLong((10, 20, 40), values, "val_accuracy").forecast(320)
        assert found.high == 1.0

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [((1, "loss"), "total_steps"), ((6401,), "total_steps"), ((900, "mse"), "metric")],
    )
    def test_what_cannot_be_told_is_refused(self, arguments: tuple[Any, ...], named: str):
        with pytest.raises(ValueError, match=named):
            curve(power_law(1.0, 1.0, 0.5)).forecast(*arguments)

    def test_two_points_tell_nothing(self):
        with pytest.raises(ValueError, match="metric must be one with 3 finite values"):
            HowLong((1, 2, 4), {"loss": (3.0, None, 1.0)}, "loss").forecast(8)


class TestResult:
    def test_it_comes_back_from_its_file(self, tmp_path: Path):
        told = {"seconds": (1.0, 2.0, 4.0), "max_lrs": (0.1, 0.08, 0.06), "provenance": {"seed": 3}}
        how_long = HowLong((2, 4, 8), {"loss": (1.0, None, 0.5)}, "loss", **told)
        loaded = HowLong.load(how_long.save(tmp_path / "a.json"))
        assert loaded == how_long
        assert (loaded.seconds, loaded.provenance) == (how_long.seconds, {"seed": 3})
        assert loaded != dataclasses.replace(how_long, max_lrs=(0.1, 0.08, 0.05))
        assert loaded == dataclasses.replace(how_long, seconds=(9.0, 9.0, 9.0))

    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            '{"schema": 1, "steps": [2, 4], "values": {"loss": [1.0]}, "metric": "loss"}',
            '{"schema": 1, "steps": [4, 2], "values": {"loss": [1.0, 2.0]}, "metric": "loss"}',
            '{"schema": 1, "steps": [2], "values": {"loss": [1.0]}, "metric": "accuracy"}',
            '{"schema": 1, "steps": [2], "values": {"loss": ["low"]}, "metric": "loss"}',
        ],
    )
    def test_another_file_is_refused(self, text: str, tmp_path: Path):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match="holds no HowLong"):
            HowLong.load(tmp_path / "a.json")

    def test_it_is_said_what_more_steps_would_bring(self):
        told = str(curve(power_law(1.0, 2.0, 0.5), seconds=(1.0, 2.0, 4.0, 8.0, 300.0)))
        lines = told.splitlines()
        assert lines[0].split() == ["steps", "seconds", "loss"]
        assert lines[5].split() == ["800", "300.0", "1.5"]
        assert lines[6].startswith("Another 800 steps (5 minutes) may gain 0.1")
        assert lines[7].startswith("Another 2,400 steps (15 minutes) may gain 0.")
        assert len(lines) == 8
        assert max(map(len, lines)) < 80

    def test_it_is_said_where_longer_was_worse(self):
        how_long = curve([0.9, 0.5, 0.6, 0.8, 0.9])
        assert how_long.best_steps == 100
        assert "Another 800 steps may lose" in str(how_long)
        assert str(how_long).endswith("It was best after 100 steps, 0.5: longer was worse.")

    def test_of_an_accuracy_more_is_better(self):
        values: Values = {"loss": (3.0, 2.0, 1.0), "val_accuracy": (0.5, 0.7, 0.6)}
        assert HowLong((1, 2, 4), values, "val_accuracy").best_steps == 2
        assert HowLong((1, 2, 4), values, "loss").best_steps == 4

    def test_its_picture_shows_the_points_and_what_comes(self):
        axes = curve(power_law(1.0, 2.0, 0.5)).plot()
        steps, values = np.asarray(axes.get_lines()[0].get_xydata()).T
        assert steps.tolist() == list(STEPS)
        assert values.tolist() == power_law(1.0, 2.0, 0.5)
        coming: Any = axes.containers[0]
        assert list(coming[0].get_xdata()) == [1600, 3200]
        assert axes.get_ylabel() == "loss"

    def test_it_is_a_frame(self):
        frame = HowLong((2, 4), {"loss": (1.0, 0.5)}, "loss", (0.5, 1.5), (0.1, 0.2)).to_frame()
        assert frame.to_dict("list") == {
            "steps": [2, 4],
            "seconds": [0.5, 1.5],
            "max_lr": [0.1, 0.2],
            "loss": [1.0, 0.5],
        }


class Interrupted(Exception):
    """What ends a run in the middle of a cycle."""


class Counting:
    """A training whose state is the number of its steps, and whose loss falls with them."""

    suffix = ".keras"

    def __init__(self, fail_in: int | None = None, lowers_in: int | None = None) -> None:
        self.steps = 0
        self.cycles: list[tuple[int, float | None, int]] = []
        self.fail_in, self.lowers_in = fail_in, lowers_in

    def train(self, steps: int, max_lr: float | None, seed: int) -> tuple[float, dict[str, float]]:
        if len(self.cycles) == self.fail_in:
            self.steps += steps // 2
            raise Interrupted
        self.cycles.append((steps, max_lr, seed))
        self.steps += steps
        top = 0.5 if max_lr is None else max_lr
        if len(self.cycles) - 1 == self.lowers_in:
            top /= 3
        return top, {"loss": 1.0 / self.steps, "val_loss": 2.0 / self.steps}

    def prior(self, total_steps: int) -> Any:
        return prior_lr("adam", total_steps=total_steps)

    def provenance(self) -> dict[str, Any]:
        return {"backend": "none", "versions": {"counting": "1"}}

    def save_model(self, path: Path) -> None:
        path.write_text(f"model after {self.steps}")

    def save(self, path: Path) -> None:
        path.write_text(str(self.steps))

    def load(self, path: Path) -> None:
        self.steps = int(path.read_text())


def run(learner: Counting, folder: Path | None = None, **told: Any) -> HowLong:
    asked = CycleOptions(max_lr=told.pop("max_lr", None))
    options = {"metric": "val_loss", "options": asked, "seed": 7, "settings": {"batch_size": 32}}
    return in_doublings(learner, 200, 4, folder=folder, **{**options, **told})


class TestRun:
    def test_each_cycle_has_its_steps_its_seed_and_a_rate_that_falls_as_expected(self):
        learner = Counting()
        found = run(learner)
        assert [(steps, seed) for steps, _, seed in learner.cycles] == [
            (25, 7), (25, 8), (50, 9), (100, 10),
        ]  # fmt: skip
        assert found.steps == (25, 50, 100, 200)
        assert found.values["val_loss"] == (2 / 25, 2 / 50, 2 / 100, 2 / 200)
        usual = [prior_lr("adam", total_steps=steps).lr for steps in found.steps]
        assert np.allclose(found.max_lrs, [0.5 * lr / usual[0] for lr in usual])
        assert found.max_lrs[-1] < 0.5
        assert found.provenance["batch_size"] == 32
        assert found.provenance["versions"]["counting"] == "1"
        assert found.provenance["versions"]["cyclerate"] == cr.__version__

    def test_a_rate_that_is_given_stays_and_one_that_was_lowered_stays_low(self):
        assert run(Counting(), max_lr=0.2).max_lrs == (0.2, 0.2, 0.2, 0.2)
        lowered = run(Counting(lowers_in=1), max_lr=0.3).max_lrs
        assert np.allclose(lowered, (0.3, 0.1, 0.1, 0.1))

    def test_a_loss_that_is_not_finite_is_none(self):
        learner = Counting()
        learner.train = lambda *_: (0.1, {"val_loss": float("nan")})  # type: ignore[method-assign]
        assert run(learner).values == {"val_loss": (None, None, None, None)}

    @pytest.mark.parametrize("fail_in", [0, 1, 2, 3])
    def test_an_interrupted_run_goes_on_where_a_cycle_ended(self, fail_in: int, tmp_path: Path):
        whole = run(Counting())
        with pytest.raises(Interrupted):
            run(Counting(fail_in=fail_in), tmp_path)
        second = Counting()
        assert run(second, tmp_path) == whole
        tops = (None, *whole.max_lrs[1:])
        cycles = list(zip((25, 25, 50, 100), tops, range(7, 11), strict=True))
        assert second.cycles == cycles[fail_in:]
        assert HowLong.load(tmp_path / "how_long.json") == whole
        names = {path.name for path in tmp_path.iterdir()}
        ends = ("00000024", "00000049", "00000099", "00000199")
        assert names == {
            "how_long.json", "ensemble.json", "state-00000200", *(f"step-{n}.keras" for n in ends),
        }  # fmt: skip
        assert (tmp_path / "step-00000099.keras").read_text() == "model after 100"

    def test_a_run_that_is_done_is_read_and_its_state_taken(self, tmp_path: Path):
        first = run(Counting(), tmp_path)
        second = Counting()
        assert run(second, tmp_path) == first
        assert (second.cycles, second.steps) == ([], 200)

    def test_another_run_in_the_folder_is_refused_by_name(self, tmp_path: Path):
        run(Counting(), tmp_path)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ValueError, match=r"batch_size must be 32, as in .*Received: 64"):
            run(Counting(), tmp_path, settings={"batch_size": 64})
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_state_that_no_record_names_is_not_taken(self, tmp_path: Path):
        with pytest.raises(Interrupted):
            run(Counting(fail_in=2), tmp_path)
        (tmp_path / "state-00000100").write_text("100")  # killed before the record was written
        second = Counting()
        assert run(second, tmp_path) == run(Counting())
        assert second.steps == 200


def test_a_forecast_says_its_interval():
    assert str(Forecast(100, 0.51234, 0.4, 0.6)) == "0.5123 (0.4 to 0.6)"
