"""What the scheduler writes, at every step and into every group, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, LRScheduler, SequentialLR

import cyclerate as cr
import cyclerate.torch as ct
from tests.schedules.policies import EXAMPLES, policies
from tests.torch.small import decays_of, momenta_of, optimizer_of, rates_of, run, train_one_step

POLICY = cr.OneCycle(max_lr=0.4, total_steps=20)
CYCLE = cr.Triangular(base_lr=0.1, max_lr=0.5, step_size=4)
MOMENTUM = CYCLE.mirrored(0.85, 0.95)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_the_rate_is_what_the_schedule_says_for_the_step(schedule):
    scheduler = ct.ScheduledLR(optimizer_of(), schedule)
    assert run(scheduler, 60) == [[schedule(step)] for step in range(60)]


@given(policies, st.integers(0, 5000))
def test_every_schedule_is_followed_from_any_step(schedule, start):
    scheduler = ct.ScheduledLR(optimizer_of(), schedule, last_epoch=start - 1)
    assert run(scheduler, 4) == [[schedule(start + step)] for step in range(4)]


def test_the_values_ahead_of_which_it_keeps_some_are_those_of_single_calls():
    schedule = cr.WarmRestarts(0.3, 100, cycle_mult=1.5)
    scheduler = ct.ScheduledLR(optimizer_of(groups=2), schedule, layer_decay=0.5)
    expected = [[schedule(step) * 0.5, schedule(step)] for step in range(1100)]
    assert run(scheduler, 1100) == expected


def test_past_the_end_the_last_value_holds():
    scheduler = ct.ScheduledLR(optimizer_of(), POLICY, MOMENTUM)
    run(scheduler, 40)
    assert scheduler.get_last_lr() == [POLICY(19)]
    assert rates_of(scheduler.optimizer) == [POLICY(10**9)]


def test_all_groups_get_the_schedule_and_so_do_groups_added_later():
    optimizer = optimizer_of(groups=2)
    scheduler = ct.ScheduledLR(optimizer, CYCLE)
    train_one_step(optimizer)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 7.0})
    scheduler.step()
    assert scheduler.get_last_lr() == [CYCLE(1)] * 3
    assert rates_of(optimizer) == [CYCLE(1)] * 3


def test_a_list_gives_each_group_its_own_and_none_leaves_a_group_alone():
    optimizer = optimizer_of(groups=3)
    scheduler = ct.ScheduledLR(optimizer, [CYCLE, None, POLICY])
    assert run(scheduler, 9) == [[CYCLE(n), 0.1, POLICY(n)] for n in range(9)]
    assert scheduler.get_last_lr() == [CYCLE(9), 0.1, POLICY(9)]


def test_layer_decay_lowers_the_rate_group_by_group_towards_the_first():
    scheduler = ct.ScheduledLR(optimizer_of(groups=3), CYCLE, layer_decay=0.5)
    assert run(scheduler, 9) == [[CYCLE(n) * 0.25, CYCLE(n) * 0.5, CYCLE(n)] for n in range(9)]


def test_group_scale_gives_each_group_its_factor():
    scheduler = ct.ScheduledLR(optimizer_of(groups=2), CYCLE, group_scale=[0.0, 2.0])
    assert run(scheduler, 9) == [[0.0, CYCLE(n) * 2.0] for n in range(9)]


def test_group_scale_keep_keeps_the_ratios_of_the_optimizer():
    optimizer = optimizer_of(groups=2)
    optimizer.param_groups[0]["lr"] = 0.001
    scheduler = ct.ScheduledLR(optimizer, CYCLE, group_scale="keep")
    low, high = zip(*run(scheduler, 9), strict=True)
    assert high == tuple(CYCLE(n) for n in range(9))
    assert low == pytest.approx([0.01 * rate for rate in high], rel=1e-12)


def test_several_schedules_or_scales_do_not_fit_a_group_added_later():
    optimizer = optimizer_of(groups=2)
    scheduler = ct.ScheduledLR(optimizer, CYCLE, layer_decay=0.5)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    train_one_step(optimizer)
    with pytest.raises(ValueError, match=r"number of parameter groups must be 2, .*Received: 3"):
        scheduler.step()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.RMSprop, {"momentum": 0.9}),
        (torch.optim.Adam, {"betas": (0.9, 0.98)}),
        (torch.optim.AdamW, {"betas": (0.9, 0.98)}),
        (torch.optim.NAdam, {"betas": (0.9, 0.98)}),
        (torch.optim.RAdam, {"betas": (0.9, 0.98)}),
        (torch.optim.Adamax, {"betas": (0.9, 0.98)}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_momentum_or_the_first_beta_mirrors_the_rate(kind, options):
    scheduler = ct.ScheduledLR(optimizer_of(kind, groups=2, **options), CYCLE, MOMENTUM)
    assert run(scheduler, 9, momenta_of) == [[MOMENTUM(n)] * 2 for n in range(9)]
    for group in scheduler.optimizer.param_groups:
        assert group.get("betas", (None, 0.98))[1] == 0.98


def test_the_momentum_written_is_the_momentum_used():
    optimizer = optimizer_of(momentum=0.5)
    scheduler = ct.ScheduledLR(optimizer, cr.Constant(0.1), cr.Linear(0.2, 0.8, 2))
    weight, velocity = 1.0, 0.0
    for momentum in (0.2, 0.5, 0.8):
        velocity = momentum * velocity + 2 * weight
        weight -= 0.1 * velocity
        train_one_step(optimizer)
        scheduler.step()
    assert optimizer.param_groups[0]["params"][0].tolist() == pytest.approx([weight] * 2)


@pytest.mark.parametrize("copied", [False, True])
def test_the_momentum_of_an_rmsprop_that_has_stepped_may_begin_at_zero(copied):
    optimizer = optimizer_of(torch.optim.RMSprop)
    train_one_step(optimizer)
    scheduler = ct.ScheduledLR(optimizer, cr.Constant(0.1), cr.Linear(0.0, 0.8, 2))
    train_one_step(optimizer)
    scheduler.step()
    if copied:
        scheduler = pickle.loads(pickle.dumps(scheduler))
        optimizer = scheduler.optimizer
    weight = optimizer.param_groups[0]["params"][0]
    expected, velocity = weight[0].item(), 0.0
    square = optimizer.state[weight]["square_avg"][0].item()
    for momentum in (0.4, 0.8, 0.8):
        gradient = 2 * expected
        square = 0.99 * square + 0.01 * gradient**2
        velocity = momentum * velocity + gradient / (square**0.5 + 1e-8)
        expected -= 0.1 * velocity
        train_one_step(optimizer)
        scheduler.step()
    assert weight.tolist() == pytest.approx([expected] * 2, rel=1e-4)


def test_an_rmsprop_may_take_its_first_step_without_momentum():
    optimizer = optimizer_of(torch.optim.RMSprop, momentum=0.9)
    scheduler = ct.ScheduledLR(optimizer, cr.Constant(0.1), cr.Linear(0.0, 0.8, 2))
    assert run(scheduler, 4, momenta_of) == [[0.0], [0.4], [0.8], [0.8]]


def test_weight_decay_follows_its_schedule_and_none_exempts_a_group():
    optimizer = optimizer_of(torch.optim.AdamW, groups=2, weight_decay=0.1)
    optimizer.param_groups[1]["weight_decay"] = 0.0
    decay = cr.Linear(0.2, 0.0, 4)
    scheduler = ct.ScheduledLR(optimizer, CYCLE, weight_decay=[decay, None])
    assert run(scheduler, 6, decays_of) == [[decay(n), 0.0] for n in range(6)]


def test_without_a_schedule_of_the_rate_rates_stay_as_they_are():
    optimizer = optimizer_of(momentum=0.9)
    scheduler = ct.ScheduledLR(optimizer, momentum=MOMENTUM)
    optimizer.param_groups[0]["lr"] = 0.25
    assert run(scheduler, 3) == [[0.25]] * 3
    assert scheduler.get_last_lr() == [0.25]
    assert momenta_of(optimizer) == [MOMENTUM(3)]


def test_tensors_are_filled_and_stay_the_same_tensors():
    rate, beta = torch.tensor(0.1), torch.tensor(0.9)
    optimizer: Any = optimizer_of(
        torch.optim.Adam, lr=rate, betas=(beta, torch.tensor(0.999)), capturable=True
    )
    group = optimizer.param_groups[0]
    held = (group["lr"], *group["betas"])
    scheduler = ct.ScheduledLR(optimizer, CYCLE, MOMENTUM)
    for step in range(1, 6):
        optimizer._opt_called = True  # Adam refuses capturable steps on a CPU
        scheduler.step()
        assert all(a is b for a, b in zip((group["lr"], *group["betas"]), held, strict=True))
        assert group["lr"].item() == torch.tensor(CYCLE(step)).item()
        assert group["betas"][0].item() == torch.tensor(MOMENTUM(step)).item()
        assert scheduler.get_last_lr() == [CYCLE(step)]


def test_the_rates_handed_out_are_nobodys_to_change():
    scheduler = ct.ScheduledLR(optimizer_of(groups=2), CYCLE, layer_decay=0.5)
    scheduler.get_last_lr()[0] = 99.0
    scheduler.get_lr()[0] = 99.0
    assert scheduler.get_last_lr() == [CYCLE(0) * 0.5, CYCLE(0)]
    unscheduled = ct.ScheduledLR(optimizer_of(lr=torch.tensor(0.5), momentum=0.9), None, MOMENTUM)
    (rate,) = unscheduled.get_last_lr()
    assert isinstance(rate, torch.Tensor)
    rate.fill_(99.0)
    assert rates_of(unscheduled.optimizer) == [0.5]


def test_a_scale_function_is_never_asked_beyond_the_step_at_hand():
    factors = [1.0, 0.5, 0.25]

    def factor(cycle):
        return factors[cycle - 1]

    schedule = cr.Cyclic(0.1, 0.5, 2, scale_fn=factor)
    scheduler = ct.ScheduledLR(optimizer_of(momentum=0.9), schedule, schedule.mirrored(0.8, 0.9))
    assert run(scheduler, 11) == [[schedule(n)] for n in range(11)]


def test_a_schedule_of_ones_own_is_never_asked_beyond_the_step_at_hand():
    @dataclasses.dataclass(frozen=True)
    class Table(cr.Schedule):
        @property
        def bounds(self):
            return 0.1, 0.4

        def value_at(self, n, xp):
            return [0.1, 0.2, 0.4][n]

    scheduler = ct.ScheduledLR(optimizer_of(), cr.Sequence([Table(), Table()], [3]))
    assert run(scheduler, 5) == [[0.1], [0.2], [0.4], [0.1], [0.2]]


def test_it_is_a_scheduler_of_pytorch():
    scheduler = ct.ScheduledLR(optimizer_of(), CYCLE)
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.last_epoch == 0
    assert scheduler.optimizer.param_groups[0]["initial_lr"] == 0.1


def test_it_works_inside_sequential_and_chained_schedulers():
    optimizer = optimizer_of(momentum=0.5)
    warm, main = cr.Linear(0.01, 0.1, 3), POLICY
    sequential = SequentialLR(
        optimizer, [ct.ScheduledLR(optimizer, warm), ct.ScheduledLR(optimizer, main)], [3]
    )
    assert run(sequential, 6) == [[warm(0)], [warm(1)], [warm(2)], [main(0)], [main(1)], [main(2)]]
    optimizer = optimizer_of(momentum=0.5)
    chained = ChainedScheduler(
        [ct.ScheduledLR(optimizer, CYCLE), ct.ScheduledLR(optimizer, momentum=MOMENTUM)]
    )
    assert run(chained, 3) == [[CYCLE(n)] for n in range(3)]
    assert momenta_of(optimizer) == [MOMENTUM(3)]


def test_a_driver_that_moves_last_epoch_and_asks_for_the_rates_gets_the_momentum_too():
    optimizer = optimizer_of(momentum=0.5)
    scheduler = ct.ScheduledLR(optimizer, CYCLE, MOMENTUM)
    for step in range(1, 5):
        scheduler.last_epoch += 1
        assert scheduler.get_lr() == [CYCLE(step)]
        assert momenta_of(optimizer) == [MOMENTUM(step)]


def test_a_step_before_the_optimizers_warns_as_pytorch_does():
    scheduler = ct.ScheduledLR(optimizer_of(), CYCLE)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    assert scheduler.last_epoch == 1
    scheduler.step()  # warnings are errors: the second one says nothing
    assert scheduler.get_last_lr() == [CYCLE(2)]


def test_a_step_to_a_given_step_goes_there_with_the_warning_of_pytorch():
    scheduler = ct.ScheduledLR(optimizer_of(momentum=0.9), CYCLE, MOMENTUM)
    run(scheduler, 3)
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(6)
    assert scheduler.get_last_lr() == [CYCLE(6)]
    assert momenta_of(scheduler.optimizer) == [MOMENTUM(6)]
    scheduler.step()
    assert scheduler.get_last_lr() == [CYCLE(7)]


@pytest.mark.filterwarnings("ignore:.*epoch")
@pytest.mark.parametrize("wrong", [0.5, "2", float("nan"), -3, [1], 2**62, 2**63])
def test_a_step_to_what_is_no_step_is_refused_and_changes_nothing(wrong):
    scheduler = ct.ScheduledLR(optimizer_of(), cr.WarmRestarts(0.1, 10))
    train_one_step(scheduler.optimizer)
    scheduler.step()
    with pytest.raises(ValueError, match="epoch must be"):
        scheduler.step(wrong)
    assert scheduler.last_epoch == 1
    scheduler.step()
    assert scheduler.last_epoch == 2
    scheduler.step(cast(int, np.int64(5)))
    assert type(scheduler.state_dict()["last_epoch"]) is int


def test_a_schedule_that_fails_at_a_step_leaves_the_one_before(monkeypatch):
    scheduler = ct.ScheduledLR(optimizer_of(), CYCLE)
    run(scheduler, 4)

    def fail(groups, step):
        raise ArithmeticError

    with monkeypatch.context() as failing:
        failing.setattr(scheduler._rates, "write", fail)
        with pytest.raises(ArithmeticError):
            scheduler.step()
    assert (scheduler.last_epoch, scheduler.get_last_lr()) == (4, [CYCLE(4)])
    scheduler.step()
    assert scheduler.get_last_lr() == [CYCLE(5)]


def test_a_copy_goes_its_own_way():
    scheduler = ct.ScheduledLR(optimizer_of(groups=2), CYCLE, layer_decay=0.5)
    run(scheduler, 2)
    twin = copy.deepcopy(scheduler)
    twin.step()
    assert twin.get_last_lr() == [CYCLE(3) * 0.5, CYCLE(3)]
    assert scheduler.get_last_lr() == [CYCLE(2) * 0.5, CYCLE(2)]
    assert rates_of(scheduler.optimizer) == [CYCLE(2) * 0.5, CYCLE(2)]


REFUSED = {
    "nothing": ({}, {}, r"lr must be a schedule"),
    "a number": ({"lr": 0.1}, {}, r"lr must be a schedule, or a list of 2 .*Received: 0.1"),
    "too few": ({"lr": [CYCLE]}, {}, r"lr must be a schedule, or a list of 2"),
    "a list of none": ({"lr": [None, None]}, {}, r"lr must be a schedule, or a list of 2"),
    "a stranger": ({"lr": [CYCLE, 0.1]}, {}, r"lr must be a schedule, or a list of 2"),
    "momentum 0.9": ({"lr": CYCLE, "momentum": 0.9}, {}, r"momentum must be a schedule, or a list"),
    "momentum 1": (
        {"lr": CYCLE, "momentum": cr.Constant(1.0)},
        {},
        r"momentum must be a schedule of values in \[0, 1\)",
    ),
    "no momentum": (
        {"lr": CYCLE, "momentum": MOMENTUM},
        {"kind": torch.optim.Adagrad},
        r"momentum must be None: the optimizer has no momentum and no betas",
    ),
    "no decay": (
        {"lr": CYCLE, "weight_decay": CYCLE},
        {"kind": torch.optim.Rprop},
        r"weight_decay must be None: the optimizer has none",
    ),
    "two scales": (
        {"lr": CYCLE, "layer_decay": 0.5, "group_scale": [1, 1]},
        {},
        r"group_scale must be None together with layer_decay",
    ),
    "no rate to scale": (
        {"momentum": MOMENTUM, "layer_decay": 0.5},
        {},
        r"lr must be a schedule, where the groups are scaled",
    ),
    "decay of 0": (
        {"lr": CYCLE, "layer_decay": 0.0},
        {},
        r"layer_decay must be a finite",
    ),
    "decay above 1": (
        {"lr": CYCLE, "layer_decay": 1.1},
        {},
        r"layer_decay must be a finite",
    ),
    "decay of one group": (
        {"lr": CYCLE, "layer_decay": 0.5},
        {"groups": 1},
        r"layer_decay must be None where there is one parameter group",
    ),
    "three factors": (
        {"lr": CYCLE, "group_scale": [1, 1, 1]},
        {},
        r"group_scale must be 2 factors",
    ),
    "a word": (
        {"lr": CYCLE, "group_scale": "kept"},
        {},
        r"group_scale must be 2 .*'kept'",
    ),
    "a factor below 0": (
        {"lr": CYCLE, "group_scale": [1, -1]},
        {},
        r"group_scale must be",
    ),
    "last_epoch": ({"lr": CYCLE, "last_epoch": -2}, {}, r"last_epoch must be a whole number >= -1"),
}


@pytest.mark.parametrize(("arguments", "made", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_arguments_are_named_and_the_optimizer_is_left_alone(arguments, made, message):
    made = {"kind": torch.optim.SGD, "groups": 2, **made}
    if made["kind"] is torch.optim.SGD:
        made["momentum"] = 0.9
    optimizer = optimizer_of(**made)
    before = copy.deepcopy(optimizer.state_dict()["param_groups"])
    with pytest.raises(ValueError, match=message):
        ct.ScheduledLR(optimizer, **arguments)
    assert optimizer.state_dict()["param_groups"] == before


def test_one_weight_decay_for_groups_of_which_some_are_exempt_is_refused():
    optimizer = optimizer_of(torch.optim.AdamW, groups=3, weight_decay=0.1)
    optimizer.param_groups[1]["weight_decay"] = 0.0
    with pytest.raises(ValueError, match=r"a list, with None .*\(now without: \[1\]\)"):
        ct.ScheduledLR(optimizer, weight_decay=cr.Constant(0.1))


def test_something_else_than_an_optimizer_is_refused():
    with pytest.raises(ValueError, match=r"optimizer must be a torch.optim.Optimizer"):
        ct.ScheduledLR(torch.nn.Linear(1, 1), CYCLE)  # pyright: ignore[reportArgumentType]


def test_the_rates_of_a_real_training_are_the_simulated_ones():
    torch.manual_seed(0)
    x = torch.randn(96, 4)
    y = (x[:, 0] > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    policy = cr.OneCycle(max_lr=0.5, total_steps=60)
    scheduler = ct.ScheduledLR(
        optimizer, policy, policy.mirrored(0.85, 0.95), cr.Linear(0.01, 0.0, 60), layer_decay=0.3
    )
    recorded = []
    for step in range(60):
        rows = slice(step % 3 * 32, step % 3 * 32 + 32)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        recorded.append((rates_of(optimizer), momenta_of(optimizer), decays_of(optimizer)))
        optimizer.step()
        scheduler.step()
    simulated = policy(range(60)).tolist()
    assert [rates for rates, _, _ in recorded] == [[rate * 0.3, rate] for rate in simulated]
    mirrored = policy.mirrored(0.85, 0.95)(range(60)).tolist()
    assert [momenta for _, momenta, _ in recorded] == [[value] * 2 for value in mirrored]
    assert [decays[0] for *_, decays in recorded] == cr.Linear(0.01, 0.0, 60)(range(60)).tolist()
    with torch.no_grad():
        assert (model(x).argmax(1) == y).float().mean() > 0.95


def test_no_reference_keeps_the_optimizer_alive():
    import weakref

    optimizer = optimizer_of()
    watch = weakref.ref(optimizer)
    scheduler = ct.ScheduledLR(optimizer, CYCLE)
    del optimizer, scheduler
    assert watch() is None


def test_constant_factors_of_pytorch_start_from_the_rate_the_group_began_with():
    optimizer = optimizer_of(lr=0.5)
    ct.ScheduledLR(optimizer, CYCLE)
    ConstantLR(optimizer, factor=0.5)
    assert rates_of(optimizer) == [CYCLE(0) * 0.5]
    assert optimizer.param_groups[0]["initial_lr"] == 0.5
