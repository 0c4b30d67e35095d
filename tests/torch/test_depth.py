"""Rates by depth, and layers that thaw one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cyclerate as cr
import cyclerate.torch as ct
from tests.torch.small import optimizer_of, rates_of, run


def three_layers() -> Any:
    model: Any = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3)))
    for layer in model:
        nn.init.ones_(layer.weight)
    return model


def moves(model: Any) -> list[float]:
    return [1.0 - layer.weight.item() for layer in model]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, **options) -> None:
    batches = [(torch.ones(4, 1), torch.zeros(4, 1))]
    ct.fit_one_cycle(
        model, optimizer, lambda out, _: out.mean(), batches, epochs, 0.1, start_div=1.0, **options
    )


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_layer_moves_by_its_part_of_the_step(kind):
    model = three_layers()
    optimizer = kind(ct.layer_groups(model, lr=0.1, decay=0.5))
    train(model, optimizer, 1)
    assert moves(model) == pytest.approx([0.025, 0.05, 0.1], rel=1e-5)


def test_frozen_layers_do_not_move_and_all_is_thawed_afterwards():
    model = three_layers()
    groups = ct.layer_groups(model, lr=0.1, decay=0.5)
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    seen = []

    class Note(nn.Module):
        """The weights, each time before a step."""

        def forward(self, x):
            seen.append(moves(model))
            return model(x)

    train(Note(), optimizer, 3, unfreeze_epochs=1)
    after = [*seen[1:], moves(model)]
    assert [[moved != 0 for moved in moved_then] for moved_then in after] == [
        [False, False, True],
        [False, True, True],
        [True, True, True],
    ]
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_layers_can_be_blocks():
    model = three_layers()
    low, top = ct.layer_groups(model, 1.0, 0.5, layers=[[model[0], model[1]], model[2]])
    assert (low["lr"], len(low["params"]), top["lr"], len(top["params"])) == (0.5, 2, 1.0, 1)


def test_frozen_parameters_are_in_no_group_and_shared_ones_in_one():
    model = three_layers()
    model[0].weight.requires_grad_(False)
    model[2].weight = model[1].weight
    groups = ct.layer_groups(model, 1.0)
    assert [group["params"] for group in groups] == [[model[1].weight]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lr", {"lr": 0.0}),
        ("decay", {"decay": 2.0}),
        ("layers", {"layers": []}),
        ("layers", {"layers": [nn.Linear(1, 1)]}),
        ("layers", {"layers": ["0"]}),
    ],
)
def test_wrong_arguments_are_named(name: str, options: dict):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        ct.layer_groups(three_layers(), **{"lr": 0.1, **options})


def test_one_group_has_nothing_to_thaw():
    with pytest.raises(ValueError, match=r"^optimizer must be"):
        ct.GradualUnfreezing(torch.optim.SGD(three_layers().parameters()), every_steps=1)


class Vit(nn.Module):
    """Parameters at the root, as of a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.cls, self.pos = nn.Parameter(torch.zeros(1, 1, 2)), nn.Parameter(torch.zeros(1, 3, 2))
        self.patches, self.head = nn.Linear(2, 2), nn.Linear(2, 2)
        self.block = nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2))


def test_parameters_at_the_root_are_of_a_layer_and_vectors_decay_no_weight():
    model = Vit()
    layers = [[model.cls, model.pos, model.patches], model.block, model.head]
    groups = ct.layer_groups(model, 1.0, 0.5, layers, no_decay=True)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [[names[id(p)] for p in group["params"]] for group in groups]
    assert found == [
        ["cls", "pos", "patches.weight"],
        ["patches.bias"],
        ["block.1.weight"],
        ["block.0.weight", "block.0.bias", "block.1.bias"],
        ["head.weight"],
        ["head.bias"],
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    kept = [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups]
    assert kept == [(0.25, 0.1), (0.25, 0.0), (0.5, 0.1), (0.5, 0.0), (1.0, 0.1), (1.0, 0.0)]
    unfreezing = ct.GradualUnfreezing(optimizer, every_steps=1)
    thawed = [[n for n, p in model.named_parameters() if p.requires_grad]]
    for _ in range(2):
        unfreezing.step()
        thawed.append([n for n, p in model.named_parameters() if p.requires_grad])
    assert [len(names) for names in thawed] == [2, 6, 10]
    assert thawed[0] == ["head.weight", "head.bias"]
    scheduler = ct.ScheduledLR(optimizer, cr.Constant(0.8), layer_decay=0.5)
    assert scheduler.get_last_lr() == [0.2, 0.2, 0.4, 0.4, 0.8, 0.8]


def test_a_parameter_at_the_root_that_is_left_out_is_named():
    model = Vit()
    with pytest.raises(ValueError, match=r"layers must be modules and parameters .* cls, pos"):
        ct.layer_groups(model, 1.0, layers=[model.patches, model.block, model.head])
    with pytest.raises(ValueError, match="layers must be modules and parameters, or lists"):
        ct.layer_groups(model, 1.0, layers=[model.cls.detach()])


SCALES = (0.42, 0.75, 1.0)


def timm_optimizer(**first):
    """As `timm.optim.create_optimizer_v2` makes it with `layer_decay`: one rate, and scales."""
    optimizer = optimizer_of(groups=3)
    for group, scale in zip(optimizer.param_groups, SCALES, strict=True):
        group.update(lr_scale=scale, **first)
    return optimizer


def timm_rates(lr):
    """What timm's schedulers write: `group["lr"] = lr * group["lr_scale"]`."""
    return [lr * scale for scale in SCALES]


@pytest.mark.parametrize("first", [{}, {"initial_lr": 0.1}], ids=str)
def test_the_scale_that_timm_leaves_in_a_group_counts(first):
    policy = cr.Linear(0.4, 0.0, 10)
    scheduler = ct.ScheduledLR(timm_optimizer(**first), policy, group_scale="keep")
    assert run(scheduler, 9) == [timm_rates(policy(step)) for step in range(9)]
    again = ct.ScheduledLR(scheduler.optimizer, policy, group_scale="keep")
    assert run(again, 9) == [timm_rates(policy(step)) for step in range(9)]


def test_the_scale_of_timm_multiplies_rates_that_differ():
    optimizer = timm_optimizer()
    optimizer.param_groups[2]["lr"] = 0.05
    ct.ScheduledLR(optimizer, cr.Constant(0.1), group_scale="keep")
    assert rates_of(optimizer) == pytest.approx([0.1 * 0.42 / 0.75, 0.1, 0.05 / 0.75])


@pytest.mark.parametrize("max_lr", [0.01, None])
def test_recipes_train_by_the_scale_of_timm_and_a_second_time_too(max_lr):
    optimizer, used = timm_optimizer(), []
    model = torch.nn.ParameterList([group["params"][0] for group in optimizer.param_groups])
    optimizer.register_step_pre_hook(lambda *_: used.append(rates_of(optimizer)))
    options = {"forward": lambda m, x: sum(((w - x) ** 2).sum() for w in m), "verbose": 0}
    data = [torch.full((2,), 0.5)] * 30
    rates = []
    for _ in range(2):
        history = ct.fit_one_cycle(model, optimizer, None, data, 1, max_lr, **options)
        rates += history.steps["learning_rate"]
    np.testing.assert_allclose(used, [timm_rates(rate) for rate in rates], rtol=1e-12)


def test_a_range_test_steps_by_the_scale_of_timm():
    optimizer, used = timm_optimizer(), []
    model = torch.nn.ParameterList([group["params"][0] for group in optimizer.param_groups])

    def forward(weights, x):
        used.append(rates_of(optimizer))
        return sum(((weight - x) ** 2).sum() for weight in weights)

    data = [torch.full((2,), 0.5)] * 30
    options: dict[str, Any] = {"method": "range", "steps": 20, "forward": forward, "verbose": 0}
    result = ct.range_test(model, optimizer, None, data, **options)
    np.testing.assert_allclose(used, [timm_rates(lr) for lr in result.lrs], rtol=1e-12)
    assert rates_of(optimizer) == [0.1] * 3


@pytest.mark.parametrize("wrong", ["half", -1.0, float("nan")])
def test_a_scale_that_is_no_factor_is_named(wrong):
    optimizer = timm_optimizer()
    optimizer.param_groups[0]["lr_scale"] = wrong
    with pytest.raises(ValueError, match="lr_scale must be"):
        ct.ScheduledLR(optimizer, cr.Constant(0.1), group_scale="keep")
