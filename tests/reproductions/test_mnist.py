"""The cycles on MNIST: their bounds and ends, the network, and what is said of a record."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Schedule, from_dict
from reproductions import mnist
from reproductions._record import Cell, Outcome, Reproduction, Run, Size
from reproductions._training import Trainer
from tests.reproductions.records import found, range_result
from tests.reproductions.toys import MADE

STEPS = 14_400
FOUND = {"sweep": (5e-4, 2e-3), "range test": (1e-3, 4e-3)}
SIZE, QUICK = Size((0, 1)), Size((0,), quick=True)


def trained(schedule: Schedule, accuracy: float) -> Outcome:
    curves = {"steps": (960.0, STEPS), "loss": (0.5, 0.1), "metric": (0.9, accuracy)}
    values: dict[str, float | None] = {"loss": 0.1, "metric": accuracy}
    return Outcome(values, curves, schedule=schedule.to_dict())


def record(seeds: int = 2, **accuracies: float) -> Reproduction:
    """A record as the experiment keeps it; 99 %, or the accuracies given."""
    size = Size(tuple(range(seeds)))
    kept = Reproduction("mnist", size, ("MNIST",))
    for cell in mnist.cells(size):
        for seed in size.seeds:
            if cell.name in FOUND:
                done = found(*FOUND[cell.name])
            else:
                accuracy = accuracies.get(cell.name, 0.99) + 0.0001 * seed
                done = trained(schedule_of(cell, kept), accuracy)
            run = Run(cell.name, seed, cell.settings, done, MADE)
            kept = dataclasses.replace(kept, runs=(*kept.runs, run))
    return kept


def schedule_of(cell: Cell, kept: Reproduction) -> Schedule:
    schedule = mnist.schedule(cell, 0, kept.outcome, STEPS)
    assert schedule is not None
    return schedule


@pytest.fixture(scope="module")
def schedules() -> dict[str, Schedule]:
    kept = record(seeds=1)
    return {run.cell: from_dict(run.outcome.schedule) for run in kept.runs if run.outcome.schedule}


def test_the_article_s_cycle_ends_at_the_top_and_whole_ones_at_the_bottom(
    schedules: dict[str, Schedule],
):
    article, linear = schedules["article"], schedules["linear"]
    assert [article(step) for step in (0, 4800, 9600, STEPS)] == [1e-4, 1e-2, 1e-4, 1e-2]
    assert [linear(step) for step in (0, 3600, 7200, 10_800, STEPS)] == [1e-4, 1e-2] * 2 + [1e-4]


@pytest.mark.parametrize(
    ("name", "height"), [("linear", 0.5), ("sinusoidal", 0.5), ("parabolic", 0.75)]
)
def test_the_shapes_differ_halfway_up_and_share_their_bounds(
    schedules: dict[str, Schedule], name: str, height: float
):
    cycle = schedules[name]
    assert cycle(1800) == pytest.approx(1e-4 + height * 9.9e-3)
    assert (cycle(0), cycle(3600)) == (pytest.approx(1e-4), pytest.approx(1e-2))


def test_both_decays_lose_half_of_the_height_in_a_cycle(schedules: dict[str, Schedule]):
    halved, shrinking = schedules["triangular2"], schedules["exp_range"]
    assert halved(3600) == pytest.approx(1e-2)
    assert halved(10_800) == pytest.approx(1e-4 + 9.9e-3 / 2)
    assert shrinking(3600) == pytest.approx(1e-4 + 9.9e-3 / 2**0.5)
    assert (shrinking(10_800) - 1e-4) / (shrinking(3600) - 1e-4) == pytest.approx(0.5)


def test_what_was_found_is_what_is_trained_with(schedules: dict[str, Schedule]):
    assert [schedules["read"](step) for step in (0, 3600)] == [5e-4, 2e-3]
    assert max(schedules["one_cycle"](range(STEPS))) == pytest.approx(4e-3, rel=1e-3)
    assert schedules["fixed"](STEPS) == 1e-3


def test_without_a_rate_nothing_is_trained():
    cells = {cell.name: cell for cell in mnist.cells(SIZE)}
    runs = tuple(Run(name, 0, {}, found(None, None), MADE) for name in FOUND)
    kept = Reproduction("mnist", SIZE, (), runs)
    assert mnist.schedule(cells["read"], 0, kept.outcome, STEPS) is None
    assert mnist.schedule(cells["one_cycle"], 0, kept.outcome, STEPS) is None
    assert mnist.schedule(cells["linear"], 0, kept.outcome, STEPS) is not None


def test_the_network_is_the_article_s():
    model = mnist.network((28, 28, 1))(5)
    assert model.output_shape == (None, 10)
    assert [tuple(w.shape) for w in model.trainable_weights[::2]] == [
        (3, 3, 1, 32),
        (3, 3, 32, 64),
        (1600, 256),
        (256, 128),
        (128, 10),
    ]
    assert float(model.layers[0](np.full((1, 1), 255.0))[0, 0]) == pytest.approx(1.0)
    # Uniform within sqrt(6 / (inputs + outputs)), as Keras's own choice.
    assert float(np.abs(model.get_weights()[4]).max()) == pytest.approx((6 / 1856) ** 0.5, rel=0.01)


def test_the_last_fifth_is_held_out():
    name, split = mnist.load(QUICK)
    assert (name, len(split.x_train), len(split.x_heldout)) == ("small digits", 480, 120)
    assert "480 images to train on, the 120 after them held out" in mnist.open_stage(QUICK).data[0]
    assert split.x_train.shape[1:] == (16, 16, 1)


def test_the_sweep_is_the_article_s_and_our_test_is_ours(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, dict[str, object]]] = []

    def range_test(_trainer: object, seed: int, **options: object) -> RangeTestResult:
        asked.append((seed, options))
        return range_result(1e-3, 4e-3)

    monkeypatch.setattr(Trainer, "range_test", range_test)
    stage, nothing = mnist.open_stage(QUICK), Reproduction("mnist", SIZE, ()).outcome
    for cell in mnist.cells(SIZE)[:2]:
        assert stage.run(cell, 7, nothing).values["max_lr"] == 4e-3
    sweep = {"method": "range", "start_lr": 1e-4, "end_lr": 1.0, "steps": 960, "repeats": 1}
    ours = {"method": "probe", "start_lr": 1e-6, "end_lr": 10.0, "steps": 100, "repeats": 1}
    assert asked == [(7, sweep), (7, ours)]


def test_the_tables_set_bounds_and_policies_beside_the_article_s():
    bounds, policies = mnist.tables(record(article=0.97))
    assert [row[1:] for row in bounds.rows] == [
        ("0.0001", "0.01", "\N{EN DASH}", "\N{EN DASH}"),
        ("\N{EN DASH}", "\N{EN DASH}", "0.0005", "0.002"),
        ("\N{EN DASH}", "\N{EN DASH}", "0.001", "0.004"),
    ]
    rows = {row[0]: row[1:] for row in policies.rows}
    assert len(rows) == 9
    article = rows["triangular as in the article"]
    assert article[:2] == ("\N{EN DASH}", "97.00 % ± 0.01")
    assert article[3:] == ("0.01", "0.01")
    assert rows["linear, whole cycles"][0] == "equivalent"
    assert rows["linear, whole cycles"][4] == "0.000103"
    assert rows["fixed 0.001"][3:5] == ("0.001", "0.001")
    assert "over 2 seeds" in policies.legend


def test_what_is_said_follows_the_numbers():
    bounds, end, shapes, decay, fixed = mnist.lessons(record(article=0.97, one_cycle=0.995))
    assert "of such a sweep: 0.002; by our range test for 1cycle: 0.004." in bounds
    assert "set against those between the article's: +0.00 points (level" in bounds
    assert "it ends at 0.01. Whole cycles" in end
    assert end.endswith("set against it: above it by 2.00 points.")
    assert "by 0.00 points of accuracy at most, within the spread of the seeds" in shapes
    assert "halved +0.00 points (level within the spread) and shrinking" in decay
    assert "gives 99.00 %" in fixed
    assert "Clearly above it: 1cycle, our rate. Clearly below it: triangular as in the" in fixed
    assert fixed.endswith("set against it: above it by 0.50 points.")


def test_shapes_that_differ_are_said_to_differ_unless_there_is_one_seed():
    lessons = mnist.lessons(record(parabolic=0.98))
    assert "differ by 1.00 points of accuracy at most, clearly, with these seeds" in lessons[2]
    assert "parabolic 98.00 %" in lessons[2] or "parabolic 98.01 %" in lessons[2]
    alone = mnist.lessons(record(seeds=1, parabolic=0.98))
    assert "with one seed, which cannot tell them apart" in alone[2]
    assert "With one seed no difference to it is clear." in alone[4]


def test_a_record_that_has_not_all_cells_says_what_it_can():
    whole = record()
    part = dataclasses.replace(whole, runs=tuple(r for r in whole.runs if r.cell == "fixed"))
    (fixed,) = mnist.lessons(part)
    assert "gives 99.00 %" in fixed
    assert fixed.endswith("No policy differs from it clearly.")
    assert [len(table.rows) for table in mnist.tables(part)] == [1, 1]


def test_the_charts_begin_where_the_second_half_does():
    charts = {chart.name: chart for chart in mnist.charts(record(article=0.97))}
    low, high = charts["accuracy_bounds"].y_limits or (0.0, 0.0)
    assert 0.96 < low < 0.97
    assert 0.9901 < high < 1.0
    rates = {a.name: a for a in charts["rates"].drawn}
    assert (rates["article's"].x[-1], rates["linear"].x[-1]) == (pytest.approx(15, rel=1e-3),) * 2
    assert rates["article's"].y[-1] == pytest.approx(1e-2, rel=1e-3)
    assert charts["range_test_sweep"].caption.endswith("max_lr: 0.002.")
