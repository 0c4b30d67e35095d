"""fit_one_cycle and fit_cycles: the plain loop, bit for bit, along the schedule."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.finder._prior import prior_lr
from tests.torch.small import BATCH, BATCHES, Regression, X, Y, sgd_losses, squared_error


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 1)
    )


def loader() -> DataLoader:
    return DataLoader(TensorDataset(X.float(), Y[:, None].float()), 20, shuffle=True)


def sgd(model: nn.Module, **options) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.5, **{"momentum": 0.9, **options})


def test_the_result_is_that_of_a_loop_written_by_hand():
    model = network()
    by_hand = copy.deepcopy(model)
    torch.manual_seed(3)
    history = ct.fit_one_cycle(
        model, sgd(model), nn.MSELoss(), loader(), 4, 0.05, clip_grad_norm=1.0
    )

    policy, optimizer = cr.OneCycle(0.05, total_steps=12), sgd(by_hand)
    scheduler = ct.ScheduledLR(optimizer, policy, momentum=policy.mirrored(0.85, 0.95))
    torch.manual_seed(3)
    losses = []
    batches, loss_fn = loader(), nn.MSELoss()
    for _ in range(4):
        for x, y in batches:
            optimizer.zero_grad()
            loss = loss_fn(by_hand(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    for ours, theirs in zip(
        model.state_dict().values(), by_hand.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert history.steps == {
        "learning_rate": policy(range(12)).tolist(),
        "momentum": policy.mirrored(0.85, 0.95)(range(12)).tolist(),
        "loss": losses,
    }
    assert history.epochs["loss"] == [sum(losses[i : i + 3]) / 3 for i in range(0, 12, 3)]


def test_modes_and_momentum_are_given_back_and_validation_is_in_eval_mode():
    model = network()
    model.eval()
    optimizer = sgd(model)
    x, y = X.float(), Y[:, None].float()
    history = ct.fit_one_cycle(
        model, optimizer, nn.MSELoss(), (x, y), 2, 0.01, batch_size=16, validation_data=(x, y)
    )
    assert not any(module.training for module in model.modules())
    assert optimizer.param_groups[0]["momentum"] == 0.9
    expected = nn.functional.mse_loss(model(x), y).item()
    assert history.epochs["val_loss"][-1] == pytest.approx(expected, rel=1e-6)


def test_gradients_are_accumulated_and_steps_counted():
    model = Regression()
    history = ct.fit_one_cycle(
        model, sgd(model, momentum=0.0), squared_error, BATCHES, 4, 0.1, accumulation_steps=2
    )
    policy = cr.OneCycle(0.1, total_steps=6)
    assert list(history.steps) == ["learning_rate", "loss"]
    expected = sgd_losses(policy(range(6)), BATCHES, accumulated=2)
    np.testing.assert_allclose(history.steps["loss"], expected, rtol=1e-12)
    assert [round(loss, 9) for loss in history.epochs["loss"]] == [
        round(float(np.mean(expected[a:b])), 9) for a, b in ((0, 1), (1, 3), (3, 4), (4, 6))
    ]


def test_groups_keep_the_ratios_of_their_rates():
    model = Regression()
    optimizer = torch.optim.Adam(
        [{"params": [model.w], "lr": 0.25}, {"params": [model.b], "lr": 1.0}]
    )
    history = ct.fit_one_cycle(model, optimizer, squared_error, BATCHES, 1, 0.1)
    last = cr.OneCycle(0.1, total_steps=3)(2)
    assert [group["lr"] for group in optimizer.param_groups] == [last / 4, last]
    assert max(history.steps["learning_rate"]) == pytest.approx(0.1)


def test_after_each_look_at_validation_data_the_training_goes_on_in_its_own_modes():
    model, frozen = network(), nn.BatchNorm1d(4)
    whole, modes = nn.Sequential(frozen.eval(), model), []

    def forward(model, batch):
        modes.append((whole.training, frozen.training, model[1].training))
        return model(batch[0].float()), batch[1][:, None].float()

    whole.training = True
    ct.fit_one_cycle(
        whole, sgd(whole), nn.MSELoss(), BATCHES, 2, 0.01, forward=forward, validation_data=BATCHES
    )
    one_epoch = [(True, False, True)] * len(BATCHES) + [(False, False, False)] * len(BATCHES)
    assert modes == 2 * one_epoch


class TestEveryEpoch:
    @pytest.mark.parametrize("max_lr", [0.05, None])
    def test_its_number_and_row_are_told_and_the_training_is_the_same(self, max_lr):
        told, weights = [], []
        for on_epoch in (None, lambda epoch, values: told.append((epoch, values))):
            model = network()
            torch.manual_seed(3)
            history = ct.fit_one_cycle(
                model,
                sgd(model),
                nn.MSELoss(),
                loader(),
                30,
                max_lr,
                validation_data=loader(),
                on_epoch=on_epoch,
            )
            weights.append(model.state_dict())
        losses, validated = history.epochs["loss"], history.epochs["val_loss"]
        assert told == [
            (epoch, {"loss": loss, "val_loss": value})
            for epoch, loss, value in zip(range(1, 31), losses, validated, strict=True)
        ]
        for name, value in weights[0].items():
            assert torch.equal(value, weights[1][name])

    @pytest.mark.parametrize("answer", [True, np.True_])
    def test_true_ends_it_after_that_epoch(self, answer):
        model, policy = network(), cr.OneCycle(0.05, total_steps=12)
        history = ct.fit_one_cycle(
            model,
            sgd(model),
            nn.MSELoss(),
            loader(),
            4,
            0.05,
            on_epoch=lambda e, _: e == 2 and answer,
        )
        assert len(history.epochs["loss"]) == 2
        assert history.steps["learning_rate"] == policy(range(6)).tolist()

    @pytest.mark.parametrize("max_lr", [0.05, None])
    def test_what_it_raises_goes_through_and_what_was_lent_is_given_back(self, max_lr):
        model = network().eval()
        optimizer = sgd(model)

        def prune(epoch, values):
            assert model.training
            raise TimeoutError(epoch)

        with pytest.raises(TimeoutError, match="1"):
            ct.fit_one_cycle(model, optimizer, nn.MSELoss(), loader(), 4, max_lr, on_epoch=prune)
        assert not any(module.training for module in model.modules())
        assert optimizer.param_groups[0]["momentum"] == 0.9
        assert not optimizer._optimizer_step_pre_hooks

    def test_a_look_in_eval_mode_and_what_a_logger_returns_change_nothing(self):
        model, modes = network(), []
        model.register_forward_hook(lambda *_: modes.append(model.training))

        def look(epoch, values):
            model.eval()
            values.clear()
            return {"status": "logged"}

        history = ct.fit_cycles(
            model, sgd(model), nn.MSELoss(), loader(), max_lr=0.05, on_epoch=look
        )
        assert len(history.epochs["loss"]) == 12
        assert modes == [True] * 36

    @pytest.mark.parametrize("wrong", ["print", 3, lambda epoch: None])
    def test_what_cannot_be_called_so_is_named(self, wrong):
        model = network()
        with pytest.raises(ValueError, match=r"on_epoch must be .*\(epoch, values\)"):
            ct.fit_one_cycle(model, sgd(model), nn.MSELoss(), loader(), 4, 0.05, on_epoch=wrong)


def test_without_a_rate_the_training_is_that_with_the_rate_found():
    options: dict[str, Any] = {"range_test_options": {"method": "range", "steps": 60}}
    found_by_itself, given = Regression(), Regression()
    history = ct.fit_one_cycle(
        found_by_itself, sgd(found_by_itself), squared_error, BATCHES, 2, **options
    )
    max_lr = history.range_test.max_lr
    ct.fit_one_cycle(given, sgd(given), squared_error, BATCHES, 2, max_lr)
    assert torch.equal(found_by_itself.w, given.w)
    assert max(history.steps["learning_rate"]) == max_lr


@pytest.mark.parametrize("name", ["steps", "max_steps", "repeats"])
def test_a_wrong_option_of_the_search_is_named(name: str):
    model = Regression()
    options: dict[str, Any] = {"find": "probe", "range_test_options": {name: "many"}}
    with pytest.raises(ValueError, match=f"^{name} must be "):
        ct.fit_one_cycle(model, sgd(model), squared_error, BATCHES, 2, **options)


def test_without_a_clear_answer_it_trains_at_the_rate_to_expect():
    model = Regression()
    still = [(0 * X[:BATCH], 0 * Y[:BATCH])]
    optimizer = sgd(model)
    history = ct.fit_one_cycle(
        model, optimizer, squared_error, still, 1, range_test_options={"method": "range"}
    )
    found = history.range_test
    parameters = sum(p.numel() for p in model.parameters())
    expected = prior_lr("momentum", total_steps=1, parameters=parameters).lr
    assert (found.max_lr, found.fallback_lr) == (None, pytest.approx(expected))
    assert max(history.steps["learning_rate"]) == pytest.approx(expected)


class TestCycles:
    def test_the_last_step_of_every_cycle_is_at_the_lowest_rate(self):
        model = Regression()
        history = ct.fit_cycles(model, sgd(model), squared_error, BATCHES, max_lr=0.02, epochs=13)
        assert (
            history.steps["learning_rate"] == cr.Triangular(0.005, 0.02, 6)(range(1, 37)).tolist()
        )
        assert [history.steps["learning_rate"][i] for i in (11, 23, 35)] == [0.005] * 3
        assert len(history.epochs["loss"]) == 12

    def test_the_best_cycles_end_is_given_back_when_patience_is_over(self):
        model = Regression()
        told, weights = iter(range(100)), []

        def worse_every_time_loss(output: torch.Tensor, target: torch.Tensor) -> float:
            weights.append(model.w.detach().clone())
            return float(next(told))

        history = ct.fit_cycles(
            model,
            sgd(model),
            squared_error,
            BATCHES,
            max_lr=0.02,
            validation_data=BATCHES[:1],
            metric=worse_every_time_loss,
            patience_cycles=1,
        )
        # Once after each of the 4 epochs of a cycle: the ends are the 4th and the 8th value.
        assert history.epochs["val_worse_every_time_loss"] == [float(i) for i in range(8)]
        assert (history.best_cycle, history.stopped_cycle) == (1, 2)
        assert torch.equal(model.w, weights[3])

    def test_a_guard_stops_it_and_says_so(self):
        model = Regression()
        batches = [*BATCHES[:2], (X[:BATCH] * np.nan, Y[:BATCH])]
        with pytest.warns(UserWarning, match="Back are the weights that training began with"):
            history = ct.fit_cycles(
                model, sgd(model), squared_error, batches, max_lr=0.02, guard=True
            )
        assert history.explosion.step == 3
        assert len(history.steps["loss"]) == 3
        assert not model.w.any()


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("max_lr", {"max_lr": -1.0}),
            ("max_lr", {"max_lr": 1e39}),  # beyond float32, where a step of PyTorch's would fail
            ("validation_data", {"validation_data": lambda: None}),
            ("epochs", {"epochs": 0}),
            ("momentum", {"momentum": 0.9}),
            ("up_frac", {"up_frac": 2.0}),
            ("metric", {"metric": 3}),
            ("clip_grad_norm", {"clip_grad_norm": 0.0}),
            ("optimizer", {"unfreeze_epochs": 1}),
            ("steps_per_epoch", {"steps_per_epoch": 2**63}),
            ("epochs, counted in optimizer steps", {"epochs": 2**62}),
        ],
    )
    def test_wrong_arguments_train_nothing(self, name: str, options: dict):
        model = Regression()
        with pytest.raises(ValueError, match=f"^{name} must be"):
            ct.fit_one_cycle(
                model, sgd(model), squared_error, BATCHES, **{"max_lr": 0.1, "epochs": 1, **options}
            )
        assert not model.w.any()

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("cycles", {"cycles": 2}),
            ("validation_data", {"patience_cycles": 1}),
            ("the number of accumulated batches", {"accumulation_steps": 4}),
        ],
    )
    def test_wrong_cycles(self, name: str, options: dict):
        model = Regression()
        with pytest.raises(ValueError, match=f"^{name} must be"):
            ct.fit_cycles(model, sgd(model), squared_error, BATCHES, **{"max_lr": 0.1, **options})

    def test_data_that_do_not_say_how_many_batches_they_have(self):
        model = Regression()
        with pytest.raises(ValueError, match=r"^steps_per_epoch must be given"):
            ct.fit_one_cycle(model, sgd(model), squared_error, lambda: BATCHES, 1, 0.1)
        history = ct.fit_one_cycle(
            model, sgd(model), squared_error, lambda: BATCHES, 2, 0.1, steps_per_epoch=2
        )
        assert len(history.steps["loss"]) == 4


def test_a_function_for_validation_data_is_asked_once_for_each_pass():
    asked = []

    def validation_data():
        asked.append(1)
        return iter(BATCHES[:1])

    model = Regression()
    ct.fit_one_cycle(
        model, sgd(model), squared_error, BATCHES, 3, 0.1, validation_data=validation_data
    )
    assert len(asked) == 3
