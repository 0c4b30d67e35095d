"""ScheduleCallback: the updates themselves change, and everything is put back."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import (
    BACKEND,
    ONES,
    ZEROS,
    AdamByHand,
    RMSpropByHand,
    SGDByHand,
    Weights,
    compiled_by_tracing,
    fit_steps,
    one_weight,
    simulate,
    value,
)

LR = cr.Triangular(base_lr=0.05, max_lr=0.2, step_size=3)
MOMENTUM = LR.mirrored(0.5, 0.9)
DECAY = cr.Linear(0.0, 0.1, steps=6)
STEPS = 8

SGD, ADAM = keras.optimizers.SGD, keras.optimizers.Adam


def weights_of(model, *callbacks) -> list[float]:
    weights = Weights()
    fit_steps(model, STEPS, *callbacks, weights)
    return weights.seen


def assert_follows(model, update, **schedules) -> None:
    """The weights after each step are those that `update` computes by hand."""
    seen = weights_of(model, ck.ScheduleCallback(**schedules))
    np.testing.assert_allclose(seen, simulate(update, STEPS), rtol=2e-5, atol=1e-6)


class TestUpdates:
    def test_momentum_and_rate_of_sgd(self):
        assert_follows(
            one_weight(SGD(momentum=0.9)), SGDByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM
        )

    def test_nesterov_momentum(self):
        model = one_weight(SGD(momentum=0.9, nesterov=True))
        assert_follows(model, SGDByHand(LR, MOMENTUM, nesterov=True), lr=LR, momentum=MOMENTUM)

    def test_beta_1_of_adam(self):
        model = one_weight(ADAM(beta_2=0.9))
        assert_follows(model, AdamByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM)

    def test_momentum_of_rmsprop(self):
        model = one_weight(keras.optimizers.RMSprop(momentum=0.3))
        assert_follows(model, RMSpropByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM)

    def test_weight_decay_of_an_optimizer_made_without(self):
        model = one_weight(SGD(momentum=0.9))
        update = SGDByHand(LR, cr.Constant(0.9), DECAY)
        assert_follows(model, update, lr=LR, weight_decay=DECAY)

    def test_momentum_alone_leaves_the_rate(self):
        model = one_weight(SGD(0.125, momentum=0.9))
        assert_follows(model, SGDByHand(cr.Constant(0.125), MOMENTUM), momentum=MOMENTUM)
        assert float(model.optimizer.learning_rate) == 0.125

    def test_over_a_learning_rate_schedule_of_keras(self):
        rate = keras.optimizers.schedules.ExponentialDecay(0.3, 2, 0.5)
        model = one_weight(SGD(rate, momentum=0.9))
        assert_follows(model, SGDByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.3 * 0.5 ** (STEPS / 2))

    def test_beside_as_schedule(self):
        model = one_weight(SGD(ck.as_schedule(LR), momentum=0.9))
        assert_follows(model, SGDByHand(LR, MOMENTUM), momentum=MOMENTUM)

    def test_built_by_its_first_step(self):
        model = one_weight(SGD(momentum=0.9), built=False)
        assert_follows(model, SGDByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM)

    def test_inside_a_loss_scale_optimizer(self):
        inner = SGD(momentum=0.9)
        model = one_weight(keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0))
        assert_follows(model, SGDByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM)
        assert inner.momentum == 0.9

    @pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)
    @compiled_by_tracing
    def test_eager_or_compiled(self, options):
        model = one_weight(SGD(momentum=0.9), **options)
        assert_follows(model, SGDByHand(LR, MOMENTUM), lr=LR, momentum=MOMENTUM)

    @pytest.mark.skipif(BACKEND == "torch", reason="not supported by Keras there")
    def test_with_several_steps_per_execution(self):
        model = one_weight(SGD(momentum=0.9), steps_per_execution=4)
        x, y = np.concatenate([ONES] * STEPS), np.concatenate([ZEROS] * STEPS)
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[ck.ScheduleCallback(LR, MOMENTUM)])
        last = simulate(SGDByHand(LR, MOMENTUM), STEPS)[-1]
        assert float(value(model.trainable_variables[0])[0, 0]) == pytest.approx(last, rel=2e-5)

    def test_two_callbacks_schedule_different_things(self):
        model = one_weight(SGD(momentum=0.9))
        seen = weights_of(model, ck.ScheduleCallback(LR), ck.ScheduleCallback(momentum=MOMENTUM))
        np.testing.assert_allclose(seen, simulate(SGDByHand(LR, MOMENTUM), STEPS), rtol=2e-5)

    def test_gradient_accumulation_counts_updates(self):
        model = one_weight(SGD(gradient_accumulation_steps=2))
        cycle = ck.ScheduleCallback(LR)
        fit_steps(model, 6, cycle)
        update = SGDByHand(LR, cr.Constant(0.0))
        assert cycle.history["learning_rate"] == LR(range(3)).tolist()
        assert float(value(model.trainable_variables[0])[0, 0]) == pytest.approx(
            simulate(update, 3)[-1], rel=1e-5
        )

    def test_a_step_that_the_loss_scale_skips_is_no_step(self):
        inner = SGD(0.1)
        model = one_weight(keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127))
        cycle = ck.ScheduleCallback(LR)
        fit_steps(model, 6, cycle)
        made = int(inner.iterations)
        assert 0 < made < 6
        assert cycle.history["learning_rate"] == LR(range(made)).tolist()


class TestCounting:
    def test_history_holds_each_step_and_keras_history_each_epoch(self):
        cycle = ck.ScheduleCallback(LR, MOMENTUM)
        x, y = np.concatenate([ONES] * 3), np.concatenate([ZEROS] * 3)
        model = one_weight(SGD(momentum=0.9))
        history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[cycle])
        assert cycle.history == {
            "learning_rate": LR(range(6)).tolist(),
            "momentum": MOMENTUM(range(6)).tolist(),
        }
        assert history.history["learning_rate"] == [LR(2), LR(5)]
        assert history.history["momentum"] == [MOMENTUM(2), MOMENTUM(5)]
        assert history.steps == cycle.history

    def test_a_second_fit_goes_on_counting(self):
        model = one_weight(SGD(momentum=0.9))
        cycle, weights = ck.ScheduleCallback(LR, MOMENTUM), Weights()
        fit_steps(model, 3, cycle, weights)
        history = fit_steps(model, 5, cycle, weights)
        np.testing.assert_allclose(
            weights.seen, simulate(SGDByHand(LR, MOMENTUM), 8), rtol=2e-5, atol=1e-6
        )
        assert cycle.history["learning_rate"] == LR(range(8)).tolist()
        assert history.steps["learning_rate"] == LR(range(3, 8)).tolist()

    def test_a_fit_without_it_in_between_is_not_counted(self):
        model = one_weight(SGD(0.25))
        cycle = ck.ScheduleCallback(LR)
        fit_steps(model, 2, cycle)
        fit_steps(model, 3)
        fit_steps(model, 2, cycle)
        assert cycle.history["learning_rate"] == LR(range(4)).tolist()

    def test_a_new_one_starts_at_its_start_step(self):
        model = one_weight(SGD(momentum=0.9))
        fit_steps(model, 3, ck.ScheduleCallback(LR, MOMENTUM))
        later = ck.ScheduleCallback(LR, start_step=5)
        fit_steps(model, 2, later)
        assert later.history["learning_rate"] == [LR(5), LR(6)]

    def test_resumed_from_a_file_it_makes_the_same_updates(self, tmp_path: Path):
        model = one_weight(SGD(momentum=0.9))
        fit_steps(model, 3, ck.ScheduleCallback(LR, MOMENTUM))
        model.save(tmp_path / "half.keras")
        loaded = keras.saving.load_model(tmp_path / "half.keras")
        weights = Weights()
        fit_steps(loaded, 5, ck.ScheduleCallback(LR, MOMENTUM, start_step=3), weights)
        whole = simulate(SGDByHand(LR, MOMENTUM), 8)
        np.testing.assert_allclose(weights.seen, whole[3:], rtol=2e-5, atol=1e-6)


class TestPutBack:
    def test_the_optimizer_holds_its_numbers_again(self):
        model = one_weight(SGD(0.25, momentum=0.75, weight_decay=0.01))
        layout = [variable.path for variable in model.optimizer.variables]
        fit_steps(model, 2, ck.ScheduleCallback(LR, MOMENTUM, DECAY))
        optimizer = model.optimizer
        assert (optimizer.momentum, optimizer.weight_decay) == (0.75, 0.01)
        assert float(optimizer.learning_rate) == np.float32(LR(1))
        assert [v.path for v in optimizer.variables][: len(layout)] == layout

    def test_a_following_fit_uses_the_plain_values(self):
        model = one_weight(SGD(0.25, momentum=0.5))
        fit_steps(model, 1)
        plain = model.train_function
        fit_steps(model, 1, ck.ScheduleCallback(momentum=cr.Constant(0.9)))
        assert model.train_function is plain
        for variable in (*model.trainable_variables, *model.optimizer.variables[2:]):
            variable.assign(keras.ops.ones(variable.shape))
        fit_steps(model, 1)
        assert value(model.trainable_variables[0])[0, 0] == 1.0 + 0.5 - 0.25 * 2.0

    def test_a_model_saved_during_the_fit_can_be_loaded(self, tmp_path: Path):
        path = tmp_path / "best.keras"
        checkpoint = keras.callbacks.ModelCheckpoint(path)
        model = one_weight(ADAM(0.25, beta_1=0.75, weight_decay=0.01))
        fit_steps(model, 2, ck.ScheduleCallback(LR, MOMENTUM, DECAY), checkpoint)
        loaded = keras.saving.load_model(path)
        assert loaded.optimizer.get_config()["beta_1"] == 0.75
        assert loaded.optimizer.get_config()["weight_decay"] == 0.01
        assert float(loaded.optimizer.learning_rate) == np.float32(LR(1))
        assert int(loaded.optimizer.iterations) == 2


class _Stop(keras.callbacks.Callback):
    """Raises in the middle of a fit."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise self.error


class TestBrokenOff:
    def break_off(self, error: BaseException | None = None):
        error = error or KeyboardInterrupt()
        model = one_weight(SGD(0.25, momentum=0.5))
        cycle = ck.ScheduleCallback(LR, MOMENTUM)
        with pytest.raises(type(error)):
            fit_steps(model, 9, cycle, _Stop(error), epochs=9)
        return model, cycle

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError()], ids=repr)
    def test_the_optimizer_is_as_it_was_at_once(self, error):
        model, _ = self.break_off(error)
        assert model.optimizer.momentum == 0.5
        assert "apply" not in vars(model.optimizer)

    def test_a_fit_without_the_callback_is_plain(self):
        model, cycle = self.break_off()
        for variable in (*model.trainable_variables, *model.optimizer.variables[2:]):
            variable.assign(keras.ops.ones(variable.shape))
        fit_steps(model, 1)
        rate = np.float32(LR(1))
        assert value(model.trainable_variables[0])[0, 0] == pytest.approx(1.5 - rate * 2)
        assert cycle.history["learning_rate"] == [LR(0), LR(1)]

    def test_a_fit_with_the_same_callback_goes_on(self):
        model, cycle = self.break_off()
        fit_steps(model, 3, cycle)
        assert cycle.history["learning_rate"] == LR(range(5)).tolist()

    def test_train_on_batch_is_plain(self):
        model, _ = self.break_off()
        for variable in (*model.trainable_variables, *model.optimizer.variables[2:]):
            variable.assign(keras.ops.ones(variable.shape))
        model.train_on_batch(ONES, ZEROS)
        rate = np.float32(LR(1))
        assert value(model.trainable_variables[0])[0, 0] == pytest.approx(1.5 - rate * 2)


class _TrainsOnItsOwn(keras.callbacks.Callback):
    """A callback that trains the same model between epochs."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.model.train_on_batch(ONES, ZEROS)


def test_another_callback_that_trains_does_not_end_the_schedule():
    model = one_weight(SGD(momentum=0.9))
    cycle, weights = ck.ScheduleCallback(LR, MOMENTUM), Weights()
    fit_steps(model, 4, cycle, _TrainsOnItsOwn(), weights, epochs=2)
    by_hand = simulate(SGDByHand(LR, MOMENTUM), 5)
    del by_hand[2]  # the step in between, which no batch of the fit made
    np.testing.assert_allclose(weights.seen, by_hand, rtol=2e-5, atol=1e-6)


def test_a_new_trace_in_between_keeps_the_schedule():
    model = one_weight(SGD(momentum=0.9))
    weights = Weights()
    retrace = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.make_train_function(force=True)
    )
    fit_steps(model, 3, ck.ScheduleCallback(LR, MOMENTUM), retrace, weights, epochs=3)
    by_hand = simulate(SGDByHand(LR, MOMENTUM), 3)
    np.testing.assert_allclose(weights.seen, by_hand, rtol=2e-5, atol=1e-6)


class TestRefusals:
    def test_nothing_to_schedule(self):
        with pytest.raises(ValueError, match="at least one schedule"):
            ck.ScheduleCallback()

    @pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
    def test_a_number_is_no_schedule(self, name: str):
        with pytest.raises(ValueError, match=f"{name} must be a schedule"):
            ck.ScheduleCallback(**{name: 0.1})  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize("start_step", [-1, 0.5, None])
    def test_start_step(self, start_step):
        with pytest.raises(ValueError, match="start_step must be a"):
            ck.ScheduleCallback(LR, start_step=start_step)

    @pytest.mark.parametrize(
        ("optimizer", "reason"),
        [
            (SGD(), "made with momentum"),
            (keras.optimizers.RMSprop(), "made with momentum"),
            (keras.optimizers.Adagrad(), "neither momentum nor beta_1"),
            (keras.optimizers.ScheduleFreeAdamW(), "schedule-free"),
        ],
        ids=lambda part: getattr(part, "name", part),
    )
    def test_an_optimizer_without_momentum(self, optimizer, reason: str):
        model = one_weight(optimizer)
        with pytest.raises(ValueError, match=reason):
            fit_steps(model, 1, ck.ScheduleCallback(momentum=MOMENTUM))
        assert int(model.optimizer.iterations) == 0

    def test_the_same_thing_twice(self):
        model = one_weight(SGD())
        with pytest.raises(ValueError, match="schedule different things"):
            fit_steps(model, 1, ck.ScheduleCallback(LR), ck.ScheduleCallback(LR))

    def test_another_model(self):
        cycle = ck.ScheduleCallback(LR)
        fit_steps(one_weight(SGD()), 1, cycle)
        with pytest.raises(ValueError, match="a new ScheduleCallback for each model"):
            fit_steps(one_weight(SGD()), 1, cycle)
