from __future__ import annotations

from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.finders import (
    bases,
    cache,
    data,
    models,
    policy_grids,
    reach_table,
    reaching,
    regret,
    scoring,
    sweeps,
)
from benchmarks.finders.optimizers import OPTIMIZERS
from benchmarks.finders.regret import Landscape
from benchmarks.finders.stack import Stack
from benchmarks.finders.tasks import TASKS, Task
from benchmarks.finders.trainee import Trainee

STEPS = 12


def small(optimizer: str, **options) -> Task:
    return Task(
        "small", data.digits, partial(models.mlp, 64, 16, 10), optimizer, 32, STEPS, options
    )


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_copies_side_by_side_end_where_single_trainings_do(optimizer: str):
    lrs = [1e-3, 1e-2, 0.1]
    trainee = Trainee(small(optimizer, weight_decay=0.01), seed=0)
    stack = Stack(trainee, len(lrs))
    stack.train([np.full(STEPS, lr) for lr in lrs])
    together = [train for train, _heldout in stack.losses()]
    alone = []
    for lr in lrs:
        assert trainee.train([lr] * STEPS)
        alone.append(trainee.train_loss())
    assert together == pytest.approx(alone, rel=1e-4)


def test_a_trainee_is_put_back():
    trainee = Trainee(small("momentum"), seed=0)
    before = trainee.train_loss()
    trainee.train([0.1] * STEPS)
    assert trainee.train_loss() != before
    trainee.restore()
    assert trainee.train_loss() == before


def test_regret_is_relative_to_the_best_and_to_the_untrained():
    stored = {
        "lrs": [0.01, 0.1, 1.0],
        "train_loss": [[1.0, 0.5, None], [1.0, 0.5, 9.0]],
        "start_train_loss": [2.5, 2.5],
    }
    found = regret.landscape(stored)
    assert found.regrets.tolist() == [0.25, 0.0, 1.0]
    assert found.best_lr == 0.1
    assert found.at(0.1 * 10**-0.5) == pytest.approx(0.125)
    assert [found.at(lr) for lr in (None, 1e-9, 50.0)] == [1.0, 1.0, 1.0]
    assert found.decades_off(1.0) == pytest.approx(1.0)
    assert regret.of_loss(stored, "train", 1.5) == 0.5
    assert regret.of_loss(stored, "train", None) == 1.0


def test_an_interval_counts_by_the_best_rate_in_it():
    found = Landscape(np.array([0.01, 0.1, 1.0]), np.array([0.5, 0.0, 1.0]))
    assert found.lowest_within(0.02, 0.5) == pytest.approx(0.0, abs=0.01)
    assert found.lowest_within(0.01, 0.02) == pytest.approx(found.at(0.02))


def test_the_halves_follow_from_the_names():
    names = [task.name for task in TASKS]
    assert len(set(names)) == len(names) >= 24
    old = {task.half for task in TASKS if not task.fresh}
    assert old == {"design", "validation"}
    assert 8 <= sum(task.half == "fresh" for task in TASKS) <= 12
    assert not set(sweeps.SEEDS) & {0, 1}


def test_what_is_replaced_in_a_stored_result_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    cache.write("grid", small("sgd"), {"start": [1.0], "end": [0.5]})
    first = cache.read("grid", small("sgd"))
    cache.amend("grid", small("sgd"), "untrained", {"start": [2.0]})
    second = cache.read("grid", small("sgd"))
    assert (second["start"], second["end"]) == ([2.0], [0.5])
    assert second["untrained"]["replaces"] == ["start"]
    assert "torch" in second["untrained"]["versions"]
    assert {key: second[key] for key in first if key != "start"} == {
        key: first[key] for key in first if key != "start"
    }


def test_a_rate_free_optimizer_counts_once_it_has_trained_every_task(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    tasks = [TASKS[0], TASKS[1]]
    grid = {"lrs": [0.1, 1.0]}
    for name, value in (("train", 1.0), ("heldout", 1.1)):
        grid |= {f"start_{name}_loss": [2.0], f"{name}_loss": [[value, None]]}
    for task in tasks:
        cache.write("grid_one_cycle", task, grid)
    cache.write("rate_free_prodigy", tasks[0], {"losses": [[1.25, 1.1]]})
    assert scoring.score_rate_free("prodigy", tasks) is None
    cache.write("rate_free_prodigy", tasks[1], {"losses": [[None, None]]})
    found = scoring.score_rate_free("prodigy", tasks)
    assert found.regrets.tolist() == [0.25, 1.0]
    assert found.heldout.tolist() == [0.0, 1.0]


def test_a_lowest_rate_is_judged_against_the_best_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    cache.write("grid_triangular", TASKS[0], {"start_train_loss": [2.0, 4.0]})
    losses = [{"high": 1.0, "low": 1.5, "none": None}, {"high": 1.0, "low": 1.5, "none": 1.0}]
    shares = {"high": 0.25, "low": 0.01, "none": 0.5}
    cache.write("bases", TASKS[0], {"shares": shares, "train_loss": losses})
    found = bases.regrets()
    assert {name: values.tolist() for name, values in found.items()} == {
        "high": [0.0],
        "low": [0.25],
        "none": [1.0],
    }


BUDGETS = [str(budget) for budget in reaching.BUDGETS]


def test_only_budgets_that_are_missing_are_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    asked = []

    def make(task: Task, seed: int, budgets: list[int]) -> list[dict]:
        asked.append(budgets)
        return [{"train_loss": float(steps)} for steps in budgets]

    monkeypatch.setitem(reaching.METHODS, "recommend", (make, ()))
    task = small("sgd")
    cache.write("reach_recommend", task, {"ends": {"0.5": [{"train_loss": 9.0}]}})
    assert not reaching.complete(task, "recommend")
    reaching.record(task, "recommend")
    assert asked == [[3, 9, 12, 18]]
    assert reaching.complete(task, "recommend")
    ends = cache.read("reach_recommend", task)["ends"]
    assert [ends[name][0]["train_loss"] for name in BUDGETS] == [3.0, 9.0, 9.0, 12.0, 18.0]
    reaching.record(task, "recommend", again=True)
    assert asked[1] == [3, 6, 9, 12, 18]


def test_the_smallest_budget_that_is_enough_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    tasks = list(TASKS[:3])
    fixed = {"train_loss": [[1.5, 1.0, None]], "start_train_loss": [2.0]}
    losses = ([1.5, 1.2, 1.0, 0.9, 1.1], [1.5, None, 1.2, 1.005, 0.9], [None] * 5)
    for task, ends in zip(tasks, losses, strict=True):
        cache.write("grid_constant", task, fixed)
        kept = {name: [{"train_loss": loss}] for name, loss in zip(BUDGETS, ends, strict=True)}
        cache.write("reach_recommend", task, {"seeds": [0], "ends": kept})
    found = reach_table.reached("recommend", tasks)
    assert found.budgets == (0.75, 1.5, np.inf)
    assert [found.share_by(budget) for budget in (0.5, 0.75)] == [0.0, pytest.approx(1 / 3)]
    assert [found.quartile(share) for share in (0.25, 0.5, 0.75)] == [0.75, 1.5, np.inf]
    assert reach_table.reached("recommend", tasks, within=0.01).budgets == (0.75, 1.0, np.inf)
    assert reach_table.reached("prodigy", tasks) is None


def test_a_recommended_training_keeps_to_its_budget():
    task = Task("small", data.digits, partial(models.mlp, 64, 16, 10), "momentum", 32, 200)
    end = reaching.METHODS["recommend"][0](task, 0, [50, 150])
    assert (end[0]["train_loss"], end[0]["why"]) == (
        pytest.approx(np.nan, nan_ok=True),
        "too few steps",
    )
    assert end[1]["tuning_steps"] <= 45
    assert end[1]["train_loss"] < 1.0


def test_one_training_at_the_default_rate_serves_all_budgets():
    task = small("adam")
    ends = reaching.METHODS["default rate"][0](task, 0, [5, STEPS])
    trainee = Trainee(task, seed=0)
    trainee.train([1e-3] * 5)
    assert ends[0]["train_loss"] == pytest.approx(trainee.train_loss())
    trainee.train([1e-3] * STEPS)
    assert ends[1]["train_loss"] == pytest.approx(trainee.train_loss())


def test_policies_are_set_beside_each_other_at_their_best_rates(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    losses = {
        "one_cycle": [[0.5, 0.2, None]],
        "triangular": [[0.4, 0.5, None]],
        "constant": [[0.3, 0.1, 0.6]],
    }
    for policy, of_policy in losses.items():
        grid = {"lrs": [0.01, 0.1, 1.0], "train_loss": of_policy, "start_train_loss": [1.1]}
        cache.write(f"grid_{policy}", TASKS[0], grid)
    cache.write("grid_constant", TASKS[1], {"lrs": [0.1]})
    found = policy_grids.beside()
    assert {policy: one.best for policy, one in found.items()} == {
        "one_cycle": 0,
        "triangular": 0,
        "constant": 1,
    }
    assert found["triangular"].given_up == pytest.approx((0.3,))
    assert found["triangular"].decades == pytest.approx(-1.0)
    assert found["constant"].given_up == (0.0,)
