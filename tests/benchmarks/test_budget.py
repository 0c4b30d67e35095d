from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

pytest.importorskip("torch")

from benchmarks.budget import running, table, targets, ways_down
from benchmarks.budget.methods import METHODS
from benchmarks.budget.methods.warmup import drive, prior_of
from benchmarks.finders import adapting, cache, data, models
from benchmarks.finders.stack import Stack
from benchmarks.finders.task import Before, Task
from benchmarks.finders.tasks import BY_NAME, EVERY
from benchmarks.finders.trainee import Trainee
from cyclerate.finder._warmup import FindingCycle

NEED_PACKAGES = ("prodigy", "schedule-free adamw")
NEED_A_GRID = ("1cycle, its best rate known",)


def pre_trained(adapt) -> Before:
    return Before(20, 1e-2, partial(data.digits_of, 0, 4), adapt)


def small(optimizer: str = "adam", adapt=None) -> Task:
    before = pre_trained(adapt) if adapt else None
    source = partial(data.digits_of, 5, 9)
    return Task("small", source, partial(models.mlp, 64, 16, 12, 5), optimizer, 32, 120, {}, before)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("method", [m for m in METHODS if m not in NEED_PACKAGES + NEED_A_GRID])
def test_a_method_trains_with_its_budget_and_is_stored_once(method: str, folder):
    task = small()
    assert running.record(task, method, "1", [0])
    assert not running.record(task, method, "1", [0])
    end = running.stored(method, task, "1")["0"]
    assert end["train_loss"] < Trainee(task, 0).train_loss()
    assert running.record(task, method, "0.5", [1])
    assert set(running.stored(method, task, "0.5")) == {"1"}
    assert running.stored(method, task, "1") == {"0": end}


def test_a_result_is_judged_by_all_three_grids(folder):
    task = small()
    for kind, best in (("grid_one_cycle", 0.0), ("grid_constant", 0.5)):
        stored = {"train_loss": [[2.0, best]], "start_train_loss": [2.0], "lrs": [0.1, 1.0]}
        cache.write(kind, task, stored)
    cache.write("budget_warmup", task, {"ends": {"1": {"0": {"train_loss": 0.2}}}})
    assert table.regrets("warmup", [task], "1") == [pytest.approx(0.1)]
    assert table.regrets("warmup", [task], "1", grid="grid_constant") == [pytest.approx(-0.2)]
    assert table.regrets("warmup", [task], "1", grid="grid_one_cycle_clipped") == []
    assert table.ends_above_start("warmup", [task], "1") == 0
    cache.write("budget_warmup", task, {"ends": {"1": {"0": {"train_loss": None}}}})
    assert table.regrets("warmup", [task], "1") == [1.0]
    assert table.ends_above_start("warmup", [task], "1") == 1


def ended(**losses: float | None) -> dict[str, dict[str, dict[str, float | None]]]:
    """What is stored of a method that ended so with each budget, b05 for a half."""
    names = {"b05": "0.5", "b1": "1", "b2": "2"}
    kept = {"0": {}}
    return {
        names[name]: {s: {"train_loss": loss, "heldout_loss": loss} for s in kept}
        for name, loss in losses.items()
    }


def test_the_time_to_a_target_is_the_least_budget_that_came_there(folder):
    task = small()
    judge = {"train_loss": [[2.0, 1.0]], "start_train_loss": [3.0]}
    judge |= {"heldout_loss": [[2.0, 1.0]], "start_heldout_loss": [3.0]}
    cache.write("grid_one_cycle", task, judge)  # so the target is 1.1
    cache.write("budget_warmup", task, {"ends": ended(b05=1.2, b1=1.09, b2=1.2)})
    cache.write("budget_prodigy", task, {"ends": ended(b05=1.2, b1=None, b2=1.11)})
    cache.write("budget_grid_search", task, {"ends": ended(b1=1.0)})
    assert targets.times("warmup", [task], "train") == {"small": 1.0}
    assert targets.times("prodigy", [task], "heldout") == {"small": float("inf")}
    assert targets.times("grid search", [task], "train") is None
    assert targets.reached("grid search", task, "1", "train") is True
    assert targets.reached("grid search", task, "2", "train") is None
    told = targets.section("train", [task])
    assert "| warmup | 0 | 1 | 1 | 0 | 100% | 100% | 100% | 1.00 |" in told
    assert "| prodigy | 0 | 0 | 0 | 1 | 0% | 0% | 0% | 0.00 |" in told
    assert "| grid search | 1 | 1 |" in told
    assert "| small | 120 | 1 / 1 | never / never |" in targets.by_task([task])


def test_a_score_is_the_area_under_the_profile():
    each = {
        "a": {"t": 0.5, "u": 2.0, "v": float("inf")},
        "b": {"t": 2.0, "u": 1.0, "v": float("inf")},
    }
    assert targets.profile(each, 1.0) == pytest.approx({"a": 1 / 3, "b": 1 / 3})
    assert targets.profile(each, 2.0) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert targets.profile(each, 4.0) == pytest.approx({"a": 2 / 3, "b": 2 / 3})
    # A third up to twice the fastest, then two thirds; b comes in at four times.
    assert targets.scores(each) == pytest.approx({"a": (1 / 3 + 2 * 2 / 3) / 3, "b": 1 / 3})


def test_the_page_of_targets_has_the_stored_results(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(targets.PAGE.read_text())
    monkeypatch.setattr(targets, "PAGE", page)
    before = targets.PAGE.read_text()
    targets.write()
    assert page.read_text() == before


def test_ways_down_are_tried_until_their_best_rate_is_at_no_edge(folder, monkeypatch):
    task = replace(small(), steps=40)
    losses = [[2.0] * 4 + [1.0] + [2.0] * 18]  # the best rate of the grid, far too low
    cache.write("grid_one_cycle", task, {"train_loss": losses, "start_train_loss": [2.0]})
    told = {"train_loss": losses, "start_train_loss": [2.0], "heldout_loss": losses}
    cache.write("grid_constant", task, {**told, "start_heldout_loss": [2.0], "seconds": 1.0})
    ways = {name: ways_down.WAYS[name] for name in ("linear", "constant")}
    monkeypatch.setattr(ways_down, "WAYS", ways)
    ways_down.record(task, 0)
    ends = cache.read(ways_down.KIND, task)["ends"]["0"]
    for end in ways_down.ENDS:
        train = [of[end][0] for of in ends["linear"].values()]
        assert 0 < train.index(min(train)) < len(train) - 1
        assert ways_down.regrets("linear", end, [task]) == pytest.approx([max(min(train) - 1, -1)])
    highest = list(ends["constant"])[-1]
    assert ends["constant"][highest]["averaged"] != ends["constant"][highest]["as it ends"]


@pytest.mark.parametrize(
    "adapt",
    [
        adapting.new_head,
        adapting.as_it_is,
        adapting.frozen_body,
        adapting.adapters,
        adapting.adapters_and_new_head,
        adapting.by_layer,
    ],
)
def test_fine_tuning_is_the_same_side_by_side_and_alone(adapt):
    trainee = Trainee(small("momentum", adapt), seed=0)
    lrs = [1e-3, 1e-2, 0.1]
    stack = Stack(trainee, len(lrs))
    stack.train([[lr] * 12 for lr in lrs])
    together = [train for train, _heldout in stack.losses()]
    alone = []
    for lr in lrs:
        assert trainee.train([lr] * 12)
        alone.append(trainee.train_loss())
    assert together == pytest.approx(alone, rel=1e-4)


def test_what_is_frozen_stays_and_adapters_begin_as_nothing():
    task = small("adam", adapting.adapters)
    trainee = Trainee(task, seed=0)
    plain = Trainee(replace(task, before=pre_trained(adapting.as_it_is)), seed=0)
    assert trainee.train_loss() == plain.train_loss()
    before = {name: p.clone() for name, p in trainee.model.named_parameters()}
    assert trainee.train([0.01] * 5)
    changed = {n for n, p in trainee.model.named_parameters() if not p.equal(before[n])}
    assert changed == {n for n in before if n.endswith((".up", ".down"))}


def test_layers_below_have_smaller_rates():
    trainee = Trainee(small("sgd", adapting.by_layer), seed=0)
    assert [share for _params, share in trainee.groups] == pytest.approx([1.0, 0.4, 0.16])
    trainee.step(0.5, next(trainee.batches()))
    assert [g["lr"] for g in trainee.optimizer.param_groups] == pytest.approx([0.5, 0.2, 0.08])


def test_a_stack_clips_as_a_single_training_does():
    trainee = Trainee(small("sgd"), seed=0)
    steps = 40
    stack = Stack(trainee, 1)
    stack.train([[0.8] * steps], clip=True)
    ((together, _),) = stack.losses()
    trainee.restore()
    trainee.model.train()
    norms: list[float] = []
    for _, rows in zip(range(steps), trainee.batches(), strict=False):
        last = sorted(norms[-50:])
        middle = (last[(len(last) - 1) // 2] + last[len(last) // 2]) / 2 if last else 0.0
        most = 3 * middle if len(norms) >= 10 else float("inf")
        norms.append(trainee.clipped_step(0.8, rows, most)[1])
    assert together == pytest.approx(trainee.train_loss(), rel=1e-4)


def test_the_cycle_sees_a_task_as_its_prior_does():
    trainee = Trainee(small("adam", adapting.frozen_body), seed=0)
    whole = Trainee(small("adam"), seed=0)
    assert prior_of(trainee, 120).lr > prior_of(whole, 120).lr
    told = drive(whole, FindingCycle(200, prior_of(whole, 200)))
    assert 0 < told["sweep_steps"] < 40
    assert whole.train_loss() < 0.5


def test_the_later_tasks_have_groups_of_their_own():
    groups = {}
    for task in EVERY:
        groups.setdefault(task.half, []).append(task)
    assert len(groups["new fresh"]) >= 12
    assert len(groups["fine-tuning"] + groups["fine-tuning fresh"]) >= 12
    assert all(task.before for task in groups["fine-tuning"] + groups["fine-tuning fresh"])
    assert not any(task.before for task in groups["new fresh"])
    assert len(BY_NAME) == len(EVERY)
