"""The policies of the paper at any fraction of their length, its network, and what is said."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cyclerate._plain import plain
from cyclerate.schedules import OneCycle
from reproductions import _page, _record, smith2017
from reproductions._record import Reproduction, Run, Size
from reproductions._training import NO_RATE
from tests.reproductions.records import found as range_test
from tests.reproductions.toys import MADE, outcome

PAPER = {"fixed": 0.814, "triangular2-staged": 0.814, "decay": 0.785, "exp": 0.791}
OURS = {"one_cycle": 0.83, "one_cycle-short": 0.81, "warmup": 0.84, "warmup-short": 0.82}
ALL = {**PAPER, "exp_range": 0.822, "exp_range-both": 0.82, "triangular2": 0.80, **OURS}
NOTE = "The images are JPEG."


def record(
    scale: float = 1.0, seeds: int = 1, data: tuple[str, ...] = ("CIFAR-10",), **found: float
) -> Reproduction:
    """A record as the experiment keeps it; accuracies of the paper, or those given."""
    size = Size(tuple(range(seeds)), scale)
    runs: list[Run] = []
    for cell in smith2017.cells(size):
        for seed in size.seeds:
            done = range_test(0.0025, 0.01)
            if cell.name in ALL:
                accuracy = {**ALL, **found}[cell.name] + 0.002 * (seed - (seeds - 1) / 2)
                schedule = cell.settings["schedule"] or OneCycle(0.01, 10).to_dict()
                values = {"loss": 0.5, "metric": accuracy}
                done = dataclasses.replace(outcome(0.5), values=values, schedule=schedule)
                if "find" in cell.settings:
                    curves = {**done.curves, "learning_rate": (0.02, 0.0)}
                    values = {**values, "max_lr": 0.02, "repairs": float(cell.name != "warmup")}
                    done = dataclasses.replace(done, values=values, curves=curves, schedule=None)
            runs.append(Run(cell.name, seed, cell.settings, done, MADE))
    return Reproduction("smith2017", size, data, tuple(runs))


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("fixed", {0: 1e-3, 59_990: 1e-3, 60_000: 1e-4, 65_000: 1e-5, 69_990: 1e-5}),
        (
            "triangular2-staged",
            {0: 1e-3, 2000: 5e-3, 4000: 1e-3, 6000: 5e-3, 16_000: 1e-4, 17_000: 5e-4}
            | {22_000: 1e-5, 22_500: 5e-5, 24_000: 1e-5},
        ),
        ("triangular2", {0: 1e-3, 2000: 6e-3, 4000: 1e-3, 6000: 3.5e-3, 10_000: 2.25e-3}),
        ("decay", {0: 7e-3, 2000: 4e-3, 4000: 1e-3, 24_990: 1e-3}),
        ("exp", {0: 6e-3, 10_000: 6e-3 * 0.99994**10_000, 70_000: 6e-3 * 0.99994**70_000}),
        ("exp_range", {0: 1e-3, 2000: 1e-3 + 5e-3 * 0.99994**2000, 4000: 1e-3}),
        (
            "exp_range-both",
            {0: 1e-3, 2000: 6e-3 * 0.99994**2000, 4000: 1e-3 * 0.99994**4000}
            | {5000: (1e-3 * 0.99994**4000 + 6e-3 * 0.99994**6000) / 2}
            | {40_000: 1e-3 * 0.99994**40_000, 42_000: 6e-3 * 0.99994**42_000},
        ),
    ],
)
def test_a_scaled_policy_has_the_paper_s_rates_at_the_same_share(
    policy: str, expected: dict[int, float], scale: float
):
    schedule = smith2017.schedule(policy, scale)
    found = [schedule(round(step * scale)) for step in expected]
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-9)


def test_every_cell_has_the_paper_s_iterations_times_the_scale():
    steps = {cell.name: cell.settings["steps"] for cell in smith2017.cells(Size((0,), 0.1))}
    assert steps == {
        "range test": 2500,
        "range test, short": 1000,
        "fixed": 7000,
        "triangular2-staged": 2500,
        "triangular2": 2500,
        "decay": 2500,
        "exp": 7000,
        "exp_range": 4200,
        "exp_range-both": 4200,
        "one_cycle": 2500,
        "one_cycle-short": 1000,
        "warmup": 2500,
        "warmup-short": 1000,
    }


def test_the_settings_of_a_stored_cell_are_those_of_now():
    for stored in _record.stored("smith2017"):
        cells = {cell.name: plain(cell.settings) for cell in smith2017.cells(stored.size)}
        assert {run.cell: run.settings for run in stored.runs} == {
            run.cell: cells[run.cell] for run in stored.runs
        }


def test_the_network_is_caffe_s():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(20, 32, 32, 3), dtype=np.uint8)
    model = smith2017.network(x)(3)
    # 32 filters of 5x5x3, 32 and 64 of 5x5x32, then 4x4x64 numbers into ten classes.
    assert [tuple(w.shape) for w in model.trainable_weights[::2]] == [
        (5, 5, 3, 32),
        (5, 5, 32, 32),
        (5, 5, 32, 64),
        (1024, 10),
    ]
    assert sum(w.shape[-1] for w in model.trainable_weights[1::2]) == 32 + 32 + 64 + 10
    deviations = [float(np.std(w)) for w in model.get_weights() if w.ndim > 1 and w.shape[0] < 2000]
    np.testing.assert_allclose(deviations[-4:], [1e-4, 0.01, 0.01, 0.01], rtol=0.05)
    # A decay of 0.004 on convolutions and 1.0 on the dense layer, halved in the loss.
    kernels = [np.asarray(w) for w in model.trainable_weights[::2]]
    penalty = sum(0.002 * float((kernel**2).sum()) for kernel in kernels[:3])
    penalty += 0.5 * float((kernels[3] ** 2).sum())
    assert float(sum(model.losses)) == pytest.approx(penalty, rel=1e-5)


def test_the_network_sees_pixels_without_their_mean():
    x = np.full((4, 32, 32, 3), 100, dtype=np.uint8)
    x[:2] = 140
    centred = np.asarray(smith2017.network(x)(0).layers[0](x.astype(np.float32)))
    np.testing.assert_allclose(centred[:, 0, 0, 0], [20.0, 20.0, -20.0, -20.0])


def test_the_table_sets_the_paper_beside_what_was_found():
    (table,) = smith2017.tables(record(scale=0.1, seeds=2))
    rows = {row[0]: row[1:7] for row in table.rows}
    none = "\N{EN DASH}"
    assert rows["fixed"] == ("70,000", "81.4 %", none, "7,000", "81.4 % ± 0.1", none)
    assert rows["exp_range"] == ("42,000", "82.2 %", "+0.8", "4,200", "82.2 % ± 0.1", "+0.8")
    assert rows["decay"][2::3] == ("-2.9", "-2.9")
    assert rows["1cycle"] == (none, none, none, "2,500", "83.0 % ± 0.1", "+1.6")
    assert rows["short warmup"] == (none, none, none, "1,000", "82.0 % ± 0.1", "+0.6")
    assert len(rows) == 11
    assert "over 2 seeds" in table.legend
    assert "1cycle 0.01, by a range test of 60 more iterations; short 1cycle 0.01" in table.legend
    assert "warmup 0.02, on its way up; short warmup 0.02, on its way up." in table.legend


def test_figures_that_are_not_the_paper_s_are_called_so():
    def first(kept: Reproduction) -> str:
        return smith2017.lessons(kept)[0]

    assert "is 0.1 times the paper's. All that differs comes to +0.0 points" in first(
        record(scale=0.1)
    )
    both = first(record(scale=0.1, data=("CIFAR-10", NOTE), fixed=0.8))
    assert "0.1 times the paper's and the images are a copy as JPEG. All that differs" in both
    assert "-1.4 points for the fixed rate (81.4 % there, 80.0 % here). Compare" in both
    assert "not the paper's figures: the images are a copy" in first(record(data=("a", NOTE)))
    assert first(record()).startswith("The paper's cycles")


def test_what_is_said_follows_the_numbers():
    better = record(seeds=2, fixed=0.5, exp=0.6)
    cycles, ours, beside, rates, speed, falling, order = smith2017.lessons(better)
    assert "81.4 % after 25,000 iterations" in cycles
    # The toy's curve has 50 % after two steps.
    assert "50.0 % after 70,000 (before its cuts, after 25,000: 50.0 %). Set against" in cycles
    assert cycles.endswith("Set against it: above it by 31.4 points.")
    assert ours.startswith(
        "Ours, set against the fixed rate (50.0 % after 70,000 iterations): 1cycle 83.0 % ± 0.1 "
        "after 25,000, above it by 33.0 points; short 1cycle 81.0 % ± 0.1 after 10,000, above it"
    )
    assert "the paper's cycles (81.4 % after 25,000 iterations): 1cycle 83.0 %" in beside
    assert beside.endswith("short warmup 82.0 % ± 0.1 after 10,000, above it by 0.6 points.")
    assert rates == (
        "Rates found on the way up: warmup 0.02, 2.0 times what the range test says (explosions "
        "that lowered it to a third: 0); short warmup 0.02, 2.0 times what the range test says "
        "(explosions that lowered it to a third: 2)."
    )
    assert "The fixed rate ends at 50.0 %. So high, for the first time, is: fixed after 2" in speed
    assert (
        "triangular2 set against decay: above it by 2.9 points, in the paper +2.9 points" in falling
    )
    assert "exp_range set against exp: above it by 22.2 points, in the paper +3.1 points" in falling
    assert "falling bounds set against exp: above it by 22.0 points" in falling
    assert order == (
        "From the best to the worst, in the paper: exp_range = falling bounds, fixed = "
        "triangular2, exp, decay. Here: exp_range, falling bounds, triangular2, decay, exp, fixed."
    )
    staged: dict[str, Any] = {"triangular2-staged": 0.4}
    worse = smith2017.lessons(record(seeds=2, **staged))
    assert "Set against it: below it by 41.4 points." in worse[0]
    # Its curve never has what the fixed rate ends with.
    assert "is: never fixed, triangular2" in worse[4]
    assert "(with one seed)" in smith2017.lessons(record())[0]


@pytest.mark.parametrize(
    "there",
    [
        ["fixed"],
        ["range test"],
        ["range test", "triangular2-staged"],
        ["range test, short", "fixed", "triangular2-staged", "one_cycle-short", "warmup-short"],
        ["one_cycle", "warmup"],
    ],
)
def test_a_record_that_has_not_all_cells_says_what_it_can(there: list[str]):
    whole = record()
    part = dataclasses.replace(whole, runs=tuple(r for r in whole.runs if r.cell in there))
    labels = [cell.label for cell in smith2017.cells(whole.size) if cell.name in there]
    (table,) = smith2017.tables(part)
    assert [row[0] for row in table.rows] == [a for a in labels if "range test" not in a]
    absent = {cell.label for cell in smith2017.cells(whole.size)} - set(labels)
    said = " ".join((table.legend, *smith2017.lessons(part)))
    for label in absent - {"fixed", "triangular2", "1cycle", "warmup", "exp", "decay"}:
        assert label not in said.replace("halved cycles: by", "")
    (warning,) = _page.warnings(smith2017.EXPERIMENT, part)
    assert warning.startswith("Not run yet: ")
    assert all(label in warning for label in absent)
    drawn = {chart.name: [a.name for a in chart.drawn] for chart in smith2017.charts(part)}
    assert drawn["rates"] == [row[0] for row in table.rows]
    known = {name for name in PAPER | {"exp_range": 0} if name in there}
    order = [a for a in smith2017.lessons(part) if "best to the worst" in a]
    assert len(order) == (len(known) > 1)
    assert all(a.startswith("Of those that were run, from the best") for a in order)


def test_the_rates_are_drawn_over_the_length_of_each_policy():
    charts = {chart.name: chart for chart in smith2017.charts(record(scale=0.1))}
    lines = {a.name: a for a in charts["rates"].drawn}
    assert len(lines) == 11
    assert (lines["fixed"].x[-1], lines["fixed"].y[-1]) == (6999, pytest.approx(1e-5))
    assert (lines["decay"].x[-1], lines["decay"].y[-1]) == (2499, pytest.approx(1e-3))
    assert max(y for y in lines["triangular2"].y if y) == pytest.approx(5e-3, rel=0.02)
    assert list(lines["warmup"].y) == [0.02, 0.0]


def test_a_training_without_a_rate_is_told_as_one():
    whole = record()
    runs = tuple(
        dataclasses.replace(run, outcome=NO_RATE) if run.cell == "one_cycle" else run
        for run in whole.runs
    )
    part = dataclasses.replace(whole, runs=runs)
    rows = {row[0]: row for row in smith2017.tables(part)[0].rows}
    assert rows["1cycle"][5] == "no rate"
    assert any("never" in said and "1cycle" in said for said in smith2017.lessons(part))
    assert "1cycle" not in [a.name for a in smith2017.charts(part)[0].drawn]
