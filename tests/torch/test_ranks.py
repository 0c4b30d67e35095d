"""Ranks that train one model decide as one, stop as one, and say which of them failed."""

from __future__ import annotations

import functools
import time
import warnings
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate._errors import CyclerateError
from cyclerate.torch._ranks import _group_of, ranks_of
from tests.ranks import on_two_ranks
from tests.torch.small import BATCHES, Regression, sgd_losses, squared_error

LOSS = nn.functional.cross_entropy
SHORT = timedelta(seconds=3)
SECONDS = 15  # until the last rank knows: half the time-out of the process group


def network(seed=0, *, wrapped=True, **options) -> Any:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return DistributedDataParallel(model, **options) if wrapped else model


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), **{"lr": 0.1, **options})


def rows(count=96, seed=0):
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long()


class Outer(nn.Module):
    """A wrapped model inside of another module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def sweep_one_batch():
    model = DistributedDataParallel(Regression())
    own = BATCHES[distributed.get_rank() :: 2][:1]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    result = ct.range_test(model, optimizer, squared_error, own, steps=60, start_lr=1e-3)
    weights = model.module.w.tolist()
    return [result.losses.tolist(), result.lrs.tolist(), weights, result.max_lr]


def test_ranks_stop_together(tmp_path):
    first, second = on_two_ranks(sweep_one_batch, tmp_path)
    assert first == second
    losses, lrs, weights, _ = first
    assert len(lrs) < 60
    assert weights == [0.0] * 4
    # The mean gradient of both batches: what one process has that accumulates them.
    expected = sgd_losses(lrs, BATCHES[:2], accumulated=2)
    told = torch.tensor(losses, dtype=torch.float64)
    torch.testing.assert_close(told, torch.tensor(expected), rtol=1e-4, atol=0.0, check_dtype=False)


def decide(kind):
    """What a decision of each kind gives where the ranks' own losses would decide differently."""
    rank = distributed.get_rank()
    late: dict[str, Any] = {"verbose": 0, "batch_size": 16}
    x, y = rows(96 + 64 * rank, seed=rank)
    x = x * (1 + 30 * rank)
    if kind == "sweep":
        model = Outer(network())
        found = ct.range_test(model, sgd(model), LOSS, (x, y), method="range", end_lr=1e3, **late)
        return [found.max_lr, found.steps, found.losses.tolist(), found.seconds]
    if kind == "probe on unequal validation data":
        model = Outer(network())
        found = ct.range_test(model, sgd(model), LOSS, (x, y), validation_data=(x, y), **late)
        return [found.max_lr, found.races, found.steps]
    if kind == "minutes":
        model = network()
        found = ct.recommend(model, sgd(model), LOSS, (x, y), budget_minutes=0.03, **late)
        return [found.policy, found.max_lr, found.training_steps]
    if kind == "epochs":
        model = network()
        found = ct.recommend(model, sgd(model), LOSS, (x, y), epochs=10, **late)
        return [found.policy, found.max_lr, found.training_steps]
    if kind == "warmup":
        model = network()
        fit = ct.fit_one_cycle(
            model, sgd(model, momentum=0.9), LOSS, (x, y), 8, validation_data=(x, y), **late
        )
        return [fit.steps, fit.epochs, fit.finding and fit.finding["top"]]
    if kind == "guard":
        model = network()
        x[7] = float("nan") if rank else 0.0
        with warnings.catch_warnings(action="ignore"):
            fit = ct.fit_one_cycle(
                model, sgd(model), LOSS, (x, y), 4, max_lr=0.1, guard=True, **late
            )
        return [
            len(fit.steps["loss"]),
            fit.explosion and fit.explosion.step,
            [*map(str, model.module.parameters())],
        ]
    model = network()  # patience
    fit = ct.fit_cycles(
        model, sgd(model), LOSS, (x, y), cycles=4, max_lr=0.05, patience_cycles=1, metric=score,
        validation_data=(x, y), **late,
    )  # fmt: skip
    return [fit.stopped_cycle, fit.best_cycle, len(fit.steps["loss"]), fit.epochs]


def score(output, target):
    """A loss that falls on one rank and rises on the other."""
    return LOSS(output, target) * (1 if distributed.get_rank() else -0.5)


score.__name__ = "score_loss"
KINDS = [
    "sweep",
    "probe on unequal validation data",
    "minutes",
    "epochs",
    "warmup",
    "guard",
    "patience",
]


def decide_all():
    return {kind: decide(kind) for kind in KINDS}


def test_every_decision_is_one(tmp_path):
    first, second = on_two_ranks(decide_all, tmp_path)
    assert first.keys() == set(KINDS)
    for kind in KINDS:
        assert repr(first[kind]) == repr(second[kind]), kind  # repr: NaN is NaN
    assert first["epochs"][2] > 40  # of the longer shard: 10 epochs of 10 batches


def own_loop():
    """Loops of one's own, whose losses are tensors or floats, and differ between the ranks."""
    rank, told = distributed.get_rank(), []
    for plain in (False, True):
        model = network()
        optimizer = sgd(model, momentum=0.9)
        x, y = rows(64, seed=rank)
        cycle = ct.SelfFindingCycle(model, optimizer, 150, batch_size=64)
        while not cycle.done:
            optimizer.zero_grad()
            loss = LOSS(model(x * (1 + rank)), y)
            loss.backward()
            optimizer.step()
            bad = rank == 1 and cycle.steps == 120
            cycle.step(float("nan") if bad else loss.item() if plain else loss)
        told.append([cycle.found, model.module[0].weight.tolist()])
    lr = cr.Triangular(0.1, 0.9, step_size=4)
    guard = ct.DivergenceGuard([model, optimizer], lr, total_steps=100)
    stopping = ct.CycleEarlyStopping(model, lr, total_steps=100)
    values = iter([1.0, 0.6, 0.9] if rank else [1.0, 0.9, 0.5])
    with warnings.catch_warnings(action="ignore"):
        told.append([guard.step(float("inf") if rank and n == 5 else 1.0) for n in range(6)])
    told.append([stopping.step(lambda: next(values)) for _ in range(25)])
    return told


def test_loops_of_ones_own_decide_as_one(tmp_path):
    first, second = on_two_ranks(own_loop, tmp_path)
    assert repr(first) == repr(second)
    tensors, floats, exploded, stopped = first
    assert [repair["why"] for repair in tensors[0]["repairs"]] == ["not finite"]
    assert tensors[0]["repairs"] == floats[0]["repairs"]
    assert exploded == [False] * 5 + [True]
    assert not any(stopped)  # one rank alone would have stopped after its third cycle


class Bad(Exception):
    """What a rank fails with."""


def failing(x, y, fault, at):
    """Batches of which one rank's go wrong."""
    for number, start in enumerate(range(0, len(x), 16)):
        part, target = x[start : start + 16], y[start : start + 16]
        if number == at and fault == "exception":
            raise Bad("a file is broken")
        if number == at and fault == "not finite":
            part = part * float("nan")
        yield part, target


class Failing:
    """Their passes; the end comes early on one rank: from the second pass on there is nothing."""

    def __init__(self, fault, *, shorter=0):
        self.x, self.y = rows(96 - shorter, seed=distributed.get_rank())
        self.fault = fault if distributed.get_rank() else None
        self.passes = 0

    def __len__(self):
        return 6

    def __iter__(self):
        self.passes += 1
        if self.fault == "end" and self.passes > 1:
            return iter(())
        return failing(self.x, self.y, self.fault, at=2 if self.passes > 1 else 99)


class Fails(nn.Module):
    """A layer whose forward fails after so many calls in training."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, x):
        self.left -= self.training
        if self.left == 0:
            raise Bad("out of memory")
        return x


def fail_in(what, fault):
    """The answer or the error of a call, how long it took, and whether the group is in order."""
    model = network()
    if fault == "forward":
        calls = 9 if distributed.get_rank() else -1
        model = DistributedDataParallel(nn.Sequential(Fails(calls), model.module))
    before = [p.detach().clone() for p in model.parameters()]
    data, began = Failing(fault), time.monotonic()
    call: Any = functools.partial(ct.range_test, method="range", steps=40)
    if what == "guard":
        call = functools.partial(ct.fit_one_cycle, epochs=8, max_lr=0.1, guard=True)
    if what == "warmup":
        call = functools.partial(ct.fit_one_cycle, total_steps=100)
    try:
        with warnings.catch_warnings(action="ignore"):
            got = repr(call(model, sgd(model), LOSS, data, verbose=0)).partition(" in ")[0]
    except (CyclerateError, Bad, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
    took = time.monotonic() - began
    after = torch.ones(())
    distributed.all_reduce(after)
    LOSS(model(data.x[:4] * 0), data.y[:4]).backward()  # the model still trains on both
    unchanged = all(map(torch.equal, before, model.parameters()))
    return [got, took, after.item(), unchanged]


FAULTS = ["exception", "forward", "not finite", "end"]
CALLS = ["sweep", "guard", "warmup"]


def fail_everywhere():
    return {f"{what}, {fault}": fail_in(what, fault) for what in CALLS for fault in FAULTS}


def test_a_rank_that_fails_stops_all_by_name(tmp_path):
    first, second = on_two_ranks(fail_everywhere, tmp_path)
    for case, (got, took, size, unchanged) in first.items():
        other = second[case]
        assert max(took, other[1]) < SECONDS, case
        assert size == other[2] == 2.0, case
        if "not finite" in case:
            assert got == other[0], case
            assert "Error" not in got, case
        else:
            reason = other[0].partition(". ")[0]
            assert got.startswith(f"CyclerateError: rank 1 stopped with {reason[:60]}"), case
            assert len(got) < 300, case
        assert unchanged == other[3], case
        assert unchanged or "sweep" not in case, case


def leave_alone():
    """Rank 1 does not take part: it is named when the process group's patience ends."""
    model = network()
    distributed.distributed_c10d._get_default_store().set_timeout(SHORT)
    if distributed.get_rank():
        time.sleep(3 * SHORT.total_seconds())
        return
    with pytest.raises(CyclerateError, match="rank 1 did not call this with rank 0"):
        ct.range_test(model, sgd(model), LOSS, rows(), verbose=0)
    return


def test_a_rank_that_does_not_take_part_is_named(tmp_path):
    on_two_ranks(leave_alone, tmp_path)


@pytest.fixture
def one_process(tmp_path):
    """A process group of this process alone."""
    where = f"file://{tmp_path}/meeting"
    distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    yield distributed.group.WORLD
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        Outer,
        lambda model: Outer(Outer(model)),
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.ModuleDict({"a": nn.Linear(2, 2), "b": Outer(model)}),
    ],
    ids=["itself", "inside", "far inside", "compiled", "beside others"],
)
def test_the_group_is_found_wherever_the_wrapper_is(one_process, wrap):
    assert _group_of(wrap(network()).modules()) is one_process
    assert _group_of(wrap(network(wrapped=False)).modules()) is None


def test_models_that_are_not_supported_are_refused_by_name(one_process):
    kinds = [type(n, (nn.Module,), {}) for n in ("DeepSpeedEngine", "FullyShardedDataParallel")]
    for kind in kinds:
        for model in (kind(), Outer(type("Own", (kind,), {})())):
            with pytest.raises(ValueError, match=r"model must be without (DeepSpeed|FullyShard)"):
                ct.range_test(model, sgd(network()), LOSS, rows())


@pytest.mark.parametrize("given", ["together", "", None, 1, [0, 1], "Auto"])
def test_ranks_is_refused_by_name(given):
    if given is None:
        assert ranks_of([], given) is None
        return
    optimizer: Any = None
    for call in (ct.range_test, ct.recommend, ct.fit_one_cycle, ct.fit_cycles):
        with pytest.raises(ValueError, match='ranks must be "auto", "alone" or a process group'):
            call(network(wrapped=False), optimizer, LOSS, rows(), ranks=given)


def together_or_alone():
    """Models without a wrapper: alone by themselves, together where the call says so."""
    told = []
    for ranks in ("auto", "alone", distributed.group.WORLD):
        model = network(wrapped=False)
        x, y = rows(64, seed=distributed.get_rank())
        found = ct.range_test(
            model, sgd(model), LOSS, (x, y), method="range", steps=20, verbose=0, ranks=ranks
        )
        told.append(found.losses.tolist())
    return told


def test_ranks_without_a_wrapper_are_independent_unless_the_call_says_otherwise(tmp_path):
    first, second = on_two_ranks(together_or_alone, tmp_path)
    assert first[0] == first[1] != second[0] == second[1]
    assert first[2] == second[2]
    # At rates that change nothing yet, the mean of both.
    assert first[2][0] == pytest.approx((first[0][0] + second[0][0]) / 2)


def freeze():
    """Layers that thaw later: a wrapper must look for parameters without gradients."""
    told, data = [], rows(64)
    for options in ({}, {"find_unused_parameters": True}):
        model = network(**options)
        groups = ct.layer_groups(model, lr=0.1)
        try:
            fit = ct.fit_one_cycle(
                model,
                torch.optim.SGD(groups),
                LOSS,
                data,
                4,
                max_lr=0.1,
                unfreeze_epochs=1,
                verbose=0,
            )
            told.append(fit.steps["learning_rate"])
        except ValueError as error:
            told.append(str(error))
        told.append([p.requires_grad for p in model.parameters()])
    return told


def test_layers_thaw_where_the_wrapper_sees_it_and_are_refused_elsewhere(tmp_path):
    refused, untouched, rates, thawed = on_two_ranks(freeze, tmp_path)[0]
    assert refused.startswith("unfreeze_epochs must be None with fully_shard, or Distributed")
    assert untouched == thawed == [True] * 4
    # A schedule goes on once for each step of all ranks together.
    assert rates == pytest.approx([cr.OneCycle(0.1, 8)(step) for step in range(8)])


def refuse_again_and_again():
    """A wrong argument on all ranks, which leave the call as soon as they see it."""
    x, y = rows(16)
    model = network(wrapped=True)
    for _ in range(40):
        with pytest.raises(ValueError, match="method must be"):
            ct.range_test(model, sgd(model), LOSS, (x, y), method="none")


def test_what_all_refuse_is_named_on_each_however_fast_one_is(tmp_path):
    on_two_ranks(refuse_again_and_again, tmp_path)


def sharded(model, mesh):
    """The same model, its parameters spread over the ranks."""
    shard: Any = __import__("torch.distributed.fsdp", fromlist=["fully_shard"]).fully_shard
    shard(model[0], mesh=mesh)
    return shard(model, mesh=mesh)


def compare_with_plain():
    """Calls on a sharded model and on the same one whole: the answers, and what is left of it."""
    mesh = init_device_mesh("cpu", (2,))
    x, y = rows(64)
    calls = {
        "probe": functools.partial(ct.range_test, max_steps=150, steps=30),
        "sweep": functools.partial(ct.range_test, method="range", steps=30, snapshot="disk"),
        "validated": functools.partial(
            ct.range_test, validation_data=(x[: 33 * (1 + distributed.get_rank())],) * 2,
            method="range", steps=10, forward=lambda model, batch: (model(batch[0]), LABELS(batch)),
        ),
        "cpu": functools.partial(
            ct.range_test, method="range", steps=20, snapshot="cpu", clip_grad_norm=0.1
        ),
        "warmup": functools.partial(ct.fit_one_cycle, total_steps=120),
        "guard": functools.partial(ct.fit_one_cycle, epochs=5, max_lr=0.1, guard=True),
    }  # fmt: skip
    told = {}
    for name, call in calls.items():
        answers = []
        for wrap in (lambda model: model, lambda model: sharded(model, mesh)):
            model = wrap(network(wrapped=False))
            optimizer = sgd(model, momentum=0.9)
            with torch.no_grad():
                model(x)  # leaves whole parameters, of which the call makes shards
            found: Any = call(model, optimizer, LOSS, (x, y), verbose=0)
            after = [getattr(p, "full_tensor", p.clone)().tolist() for p in model.parameters()]
            losses = found.steps["loss"] if name in {"warmup", "guard"} else found.losses.tolist()
            answers.append([losses, after])
            kinds = {type(p).__name__ for p in model.parameters()}
            LOSS(model(x), y).backward()
        told[name] = [*answers, sorted(kinds)]
    scaler: Any = torch.amp.GradScaler("cpu")
    refused: dict[str, dict[str, Any]] = {
        "scaler": {"scaler": scaler}, "unfreeze_epochs": {"unfreeze_epochs": 1},
    }  # fmt: skip
    for name, options in refused.items():
        model = sharded(network(wrapped=False), mesh)
        with pytest.raises(ValueError, match=f"{name} must be None with fully_shard"):
            ct.fit_one_cycle(model, sgd(model), LOSS, (x, y), 2, max_lr=0.1, **options)
    return told


def LABELS(batch):  # noqa: N802 - beside LOSS
    return (batch[0][:, 0] > 0).long()


def test_sharded_models_are_swept_raced_and_trained_as_whole_ones(tmp_path):
    first, second = on_two_ranks(compare_with_plain, tmp_path)
    for name, (plain, shards, kinds) in first.items():
        assert kinds == ["DTensor"], name
        if name != "validated":  # alone, a rank has its own rows only
            close = functools.partial(pytest.approx, rel=1e-3, abs=1e-5, nan_ok=True)
            assert shards[0] == close(plain[0]), name
        assert repr(shards[0]) == repr(second[name][1][0]), name
        if name not in {"warmup", "guard"}:  # given back to the last bit
            assert shards[1] == [p.tolist() for p in network(wrapped=False).parameters()], name
