"""A cycle that finds its own top, in a fit: exact lengths, marks, repairs, clipping, resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate.keras as ck
from cyclerate import Linear
from cyclerate.keras._state import seed_all_randomness, variables_of
from tests.keras.toys import BACKEND, ONES, ZEROS, SGDByHand, Weights, fit_steps, one_weight, value

pytestmark = pytest.mark.keras_backend

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4)).astype("float32") * np.array([2.0, 1.0, 0.5, 0.2], "float32")
Y = X.sum(axis=1, keepdims=True) + RNG.normal(size=(80, 1)).astype("float32") * 0.1
STEPS = 160  # 24 of them are the way up


def new_model(optimizer: Any = None, dropout: float = 0.1) -> Any:
    seed_all_randomness(1)
    # Without a seed, dropout on PyTorch draws from the generator of the process.
    dropped = keras.layers.Dropout(dropout, seed=5 if BACKEND == "torch" else None)
    hidden = [keras.layers.Dense(4, "tanh"), *([dropped] if dropout else [])]
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.SGD(momentum=0.9), "mse")
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 99, **options: Any) -> Any:
    told = {"batch_size": 8, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **told)


def state_of(model: Any) -> list[bytes]:
    return [value(variable).tobytes() for variable in variables_of(model, metrics=False)]


class Marks(keras.callbacks.Callback):
    """Compares what the fit goes back to with what it was when the mark was taken."""

    def __init__(self, cycle: ck.SelfFindingCycle) -> None:
        super().__init__()
        self.cycle, self.returns = cycle, 0
        self.mark: list[bytes] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.mark = self.mark or state_of(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        running = self.cycle._running
        if running.go_back:
            self.returns += 1
            assert state_of(self.model) == self.mark
        if running.keep:
            self.mark = state_of(self.model)


def test_it_takes_exactly_its_steps_and_goes_back_to_the_mark_bit_for_bit():
    model, cycle = new_model(), ck.SelfFindingCycle(STEPS)
    marks, before = Marks(cycle), new_model().evaluate(X, Y, verbose=0)
    history = fit(model, cycle, marks)
    assert marks.returns >= 1
    assert [len(cycle.history[name]) for name in ("learning_rate", "momentum")] == [STEPS, STEPS]
    assert history.steps == cycle.history
    assert history.finding == cycle.found
    assert history.history["learning_rate"][-1] == cycle.history["learning_rate"][-1]
    found = cycle.found
    assert 0 < found["returned_to"] <= len(found["sweep"]["lrs"])
    way_down = cycle.history["learning_rate"][len(found["sweep"]["lrs"]) :]
    assert way_down[0] == pytest.approx(found["top"])
    np.testing.assert_allclose(np.diff(way_down), -found["top"] / len(way_down), rtol=1e-6)
    assert model.evaluate(X, Y, verbose=0) < before
    assert model.train_function is None or not hasattr(model.train_function, "steering")
    assert model.optimizer.momentum == 0.9


def test_equal_seeds_give_equal_trainings():
    trained = []
    for _ in range(2):
        model = new_model()
        fit(model, ck.SelfFindingCycle(40))
        trained.append(state_of(model))
    assert trained[0] == trained[1]


class ANaN(keras.utils.PyDataset):
    """The data in order, with NaN in the batch that is read as number `at`."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.read = at, 0

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        rows = slice(8 * index, 8 * index + 8)
        return X[rows], Y[rows] * (math.nan if self.read == self.at else 1.0)


def test_a_nan_later_is_repaired_within_the_same_steps():
    model, cycle = new_model(), ck.SelfFindingCycle(STEPS)
    marks = Marks(cycle)
    model.fit(ANaN(at=96), epochs=99, shuffle=False, callbacks=[cycle, marks], verbose=0)
    (repair,) = cycle.found["repairs"]
    assert (repair["why"], repair["returned_to"] < repair["step"]) == ("not finite", True)
    assert repair["top"] == pytest.approx(cycle.found["top"] / 3)
    assert len(cycle.history["learning_rate"]) == STEPS
    assert marks.returns == 2
    assert np.isfinite(model.evaluate(X, Y, verbose=0))


class Harder(ANaN):
    """Data whose targets are further away with every batch."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x, y + np.float32(self.read) ** 2


def test_a_training_that_ends_above_its_start_ends_as_its_last_mark():
    model, cycle = new_model(), ck.SelfFindingCycle(STEPS, fine_tuned=True)
    marks = [state_of(model)[: len(model.variables)]]

    def note(batch: int, logs: Any) -> None:
        if cycle._running.keep:
            marks.append(state_of(model)[: len(model.variables)])

    noting = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    options: dict[str, Any] = {"epochs": 99, "shuffle": False, "verbose": 0}
    told = model.fit(Harder(at=-1), callbacks=[cycle, noting], **options)
    # It went back after the last batch, too; what Keras logs is the mean since the time before.
    since = max(STEPS - 10, cycle.found["repairs"][-1]["step"])
    assert told.history["loss"][-1] == pytest.approx(np.mean(cycle.history["loss"][since:]))
    assert np.mean(cycle.history["loss"][-20:]) > np.mean(cycle.history["loss"][:20])
    assert cycle.found["given_back"]
    assert "the last good state was put in its place" in cycle.verdict
    assert state_of(model)[: len(model.variables)] == marks[-1]


class OfBatches(keras.Sequential):
    """A train_step of one's own that tells each batch's own loss."""

    told = "loss"

    def train_step(self, *given: Any) -> Any:
        if BACKEND == "jax":
            return self._step_on_jax(*given)
        x, y = given[0]
        if BACKEND == "torch":
            import torch

            self.zero_grad()
            (loss := self.compute_loss(x, y, self(x, training=True))).backward()
            with torch.no_grad():
                gradients = [v.value.grad for v in self.trainable_variables]
                self.optimizer.apply(gradients, self.trainable_variables)
            return {self.told: loss.detach()}
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {self.told: loss}

    def _step_on_jax(self, state: Any, batch: Any) -> Any:
        import jax

        trainable, others, optimizer, metrics = state
        x, y = batch

        def loss_of(weights: Any) -> Any:
            output, new = self.stateless_call(weights, others, x, training=True)
            return self.compute_loss(x, y, output), new

        (loss, others), grads = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
        return {self.told: loss}, (trainable, others, optimizer, metrics)


class UnderAnotherName(OfBatches):
    told = "total"


class MeansOfItsOwn(keras.Sequential):
    """Keras's own step: the means are those of a step that nobody knows."""

    def train_step(self, *given: Any) -> Any:
        return super().train_step(*given)


def fitted_as(kind: type, *callbacks: Any) -> Any:
    model = new_model(dropout=0)
    own = kind([keras.Input((4,)), *model.layers])
    own.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    return fit(own, *callbacks, epochs=STEPS // 10)


@pytest.mark.parametrize("kind", [OfBatches, MeansOfItsOwn])
def test_a_train_step_may_tell_the_loss_of_each_batch_or_their_mean(kind: type):
    usual, cycle = ck.SelfFindingCycle(STEPS), ck.SelfFindingCycle(STEPS)
    fitted_as(keras.Sequential, usual)
    fitted_as(kind, cycle)
    np.testing.assert_allclose(cycle.history["loss"], usual.history["loss"], rtol=1e-3)
    assert cycle.found["top"] == pytest.approx(usual.found["top"], rel=1e-3)


def test_a_guard_knows_the_loss_of_each_batch_too():
    explosions = []
    for kind in (keras.Sequential, OfBatches):
        guard = ck.DivergenceGuard()
        with pytest.warns(UserWarning, match="The loss exploded"):
            fitted_as(kind, ck.ScheduleCallback(Linear(1e-3, 1.0, STEPS)), guard)
        explosions.append(guard.explosion)
    assert explosions[0].step == explosions[1].step
    assert explosions[0].loss == pytest.approx(explosions[1].loss, rel=1e-3)


@pytest.mark.parametrize(
    "callbacks",
    [
        [ck.SelfFindingCycle(STEPS)],
        [ck.ScheduleCallback(Linear(1e-3, 1.0, STEPS)), ck.DivergenceGuard()],
    ],
    ids=["cycle", "guard"],
)
def test_a_train_step_without_a_loss_is_named(callbacks: Any):
    with pytest.raises(ValueError, match=r'train_step must be one that returns a "loss".*total'):
        fitted_as(UnderAnotherName, *callbacks)


def test_the_recipe_says_that_a_training_ended_as_its_last_mark():
    model = new_model()
    history = ck.fit_one_cycle(model, Harder(at=-1), total_steps=STEPS, shuffle=False, verbose=0)
    assert history.finding["given_back"]


def test_rate_and_momentum_are_those_of_the_history():
    model = one_weight(keras.optimizers.SGD(momentum=0.9))
    weights, cycle = Weights(), ck.SelfFindingCycle(STEPS)
    fit_steps(model, STEPS, weights, cycle)
    up = len(cycle.found["sweep"]["lrs"])
    rates, momenta = cycle.history["learning_rate"], cycle.history["momentum"]
    by_hand = SGDByHand(rates.__getitem__, momenta.__getitem__)  # type: ignore[arg-type]
    weight, expected = 1.0, []
    for step in range(up - 1):
        weight = by_hand(weight, 2.0 * weight, step)
        expected.append(weight)
    assert cycle.found["clipped_steps"] == 0
    np.testing.assert_allclose(weights.seen[: up - 1], expected, rtol=1e-4)
    assert (max(momenta), min(momenta)) == (pytest.approx(0.95), pytest.approx(0.85))
    assert momenta[-1] > 0.94


def test_a_gradient_far_above_the_median_is_clipped():
    x = np.ones((4 * 60, 1), "float32")
    x[4 * 50 : 4 * 51] = 100.0  # the gradient of (w x)**2 is 2 w x**2
    model = one_weight(keras.optimizers.SGD())
    weights, cycle = Weights(), ck.SelfFindingCycle(60)
    model.fit(x, 0 * x, batch_size=4, shuffle=False, callbacks=[weights, cycle], verbose=0)
    assert cycle.found["clipped_steps"] == 1
    before, after = weights.seen[49:51]
    rate = cycle.history["learning_rate"][50]
    limit = 3 * np.median([2 * w for w in [1.0, *weights.seen[:49]][-50:]])
    assert before - after == pytest.approx(rate * limit, rel=1e-2)


@pytest.mark.parametrize("epochs", [1, 4], ids=["on the way up", "on the way down"])
def test_a_resumed_training_is_the_same_to_the_last_bit(epochs: int, tmp_path: Path):
    whole, cycle = new_model(), ck.SelfFindingCycle(STEPS)
    fit(whole, cycle)
    first, begun = new_model(), ck.SelfFindingCycle(STEPS)
    fit(first, begun, epochs=epochs)
    first.save(tmp_path / "half.keras")
    begun.save(tmp_path / "cycle.npz")
    del first, begun
    again = keras.saving.load_model(tmp_path / "half.keras")
    ck.SelfFindingCycle.load(tmp_path / "cycle.npz").save(tmp_path / "cycle.npz")
    resumed = ck.SelfFindingCycle.load(tmp_path / "cycle.npz")
    keras.utils.set_random_seed(1)  # the numbers of dropout go on from the file
    fit(again, resumed, initial_epoch=epochs)
    assert resumed.history == cycle.history
    assert resumed.found == cycle.found
    assert state_of(again) == state_of(whole)
    (tmp_path / "cycle.npz").write_bytes(b"nothing of ours")
    with pytest.raises(ValueError, match="path must be a file that"):
        ck.SelfFindingCycle.load(tmp_path / "cycle.npz")


def test_a_state_that_is_restored_after_it_is_no_other_owner_of_the_rate(tmp_path: Path):
    """Warnings are errors: a rate that came back with the model is not one that another sets."""
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    whole, begun = new_model(), ck.SelfFindingCycle(STEPS)
    fit(whole, begun, backup, epochs=4)
    begun.save(tmp_path / "cycle.npz")
    again, resumed = new_model(), ck.SelfFindingCycle.load(tmp_path / "cycle.npz")
    fit(again, resumed, backup, epochs=5)
    fit(whole, begun, epochs=5, initial_epoch=4)
    assert resumed.history == begun.history
    assert len(resumed.history["loss"]) == 50
    assert state_of(again) == state_of(whole)


@pytest.mark.parametrize("eager", [False, True])
def test_first_batches_that_the_loss_scale_skips_ask_for_no_rate_and_are_no_steps(eager: bool):
    inner = keras.optimizers.SGD(momentum=0.9)
    model, cycle = new_model(dropout=0.0), ck.SelfFindingCycle(total_steps=12)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127)
    model.compile(scaled, "mse", run_eagerly=eager)
    first = np.full((80, 1), 2.0, "float32")  # its gradients overflow under that scale
    model.fit(X, first, batch_size=8, epochs=9, shuffle=False, callbacks=[cycle], verbose=0)
    assert len(cycle.history["loss"]) == int(inner.iterations) == 12
    assert float(scaled.dynamic_scale) < 2.0**127


def test_updates_are_counted_where_gradients_accumulate():
    model = new_model(keras.optimizers.SGD(momentum=0.9, gradient_accumulation_steps=2))
    cycle = ck.SelfFindingCycle()
    fit(model, cycle, epochs=5)
    assert len(cycle.history["learning_rate"]) == 25


class Read(keras.utils.PyDataset):
    """Tells what is read, and when an epoch is over; fails at a batch, if asked to."""

    def __init__(self, told: list[Any], fails_at: int = -1) -> None:
        super().__init__()
        self.told, self.fails_at = told, fails_at

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        if len(self.told) == self.fails_at:
            raise OSError("the disk is gone")
        self.told.append(index)
        return X[8 * index : 8 * index + 8], Y[8 * index : 8 * index + 8]

    def on_epoch_end(self) -> None:
        self.told.append("over")


class Steps(keras.callbacks.Callback):
    """Tells the steps beside what is read."""

    def __init__(self, told: list[Any]) -> None:
        super().__init__()
        self.told = told

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.told.append("step")


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere nothing is read ahead")
def test_a_batch_is_read_while_the_one_before_it_is_trained_on_and_none_too_many():
    plain: list[Any] = []
    options: dict[str, Any] = {"epochs": 2, "verbose": 0, "shuffle": False}
    new_model().fit(Read(plain), callbacks=[Steps(plain)], **options)
    told: list[Any] = []
    short: list[Any] = []
    for events, steps in ((told, 100), (short, 7)):
        cycle = ck.SelfFindingCycle(total_steps=steps, batch_size=8)
        new_model().fit(Read(events), callbacks=[cycle, Steps(events)], **options)
    step, over = "step", "over"
    assert short[-5:] == [over, 0, 1, step, step]
    assert [one for one in told if one != step] == [one for one in plain if one != step]
    assert plain[-11:] == [0, step, 1, step, 2, step, 3, step, 4, step, over]
    assert told[-11:] == [0, 1, step, 2, step, 3, step, 4, step, step, over]


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere nothing is read ahead")
def test_an_error_of_the_data_comes_where_the_batch_is_needed():
    plain, told = new_model(), new_model()
    cycle = ck.SelfFindingCycle(total_steps=100, batch_size=8)
    for model, callbacks in ((plain, []), (told, [cycle])):
        with pytest.raises(OSError, match="the disk is gone"):
            model.fit(Read([], fails_at=5), verbose=0, callbacks=callbacks, shuffle=False)
    assert len(cycle.history["loss"]) == int(told.optimizer.iterations)
    assert int(told.optimizer.iterations) == int(plain.optimizer.iterations) == 3


@pytest.mark.parametrize("first", [True, False])
def test_layers_keep_rates_of_their_own(first: bool):
    model, cycle = new_model(), ck.SelfFindingCycle(20)
    callbacks = [cycle, ck.LayerRates(1e-9)]
    before = value(model.weights[0])
    fit(model, *(callbacks if first else callbacks[::-1]))
    np.testing.assert_allclose(value(model.weights[0]), before, atol=1e-5)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, keras.optimizers.RMSprop])
@pytest.mark.parametrize("how", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_other_optimizers_and_ways_to_run(optimizer: Any, how: dict[str, Any]):
    if BACKEND == "torch" and "jit_compile" in how:
        pytest.skip("takes a C++ compiler")
    model = new_model(optimizer())
    model.compile(optimizer(), "mse", **how)
    cycle = ck.SelfFindingCycle(30)
    fit(model, cycle)
    assert len(cycle.history["learning_rate"]) == 30
    assert np.isfinite(model.evaluate(X, Y, verbose=0))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"total_steps": 0}, "total_steps must be"),
            ({"momentum": 0.9}, "momentum must be"),
            ({"momentum": (0.9, 0.8)}, "low must be"),
            ({"batch_size": 0}, "batch_size must be"),
            ({"fine_tuned": "yes"}, "fine_tuned must be"),
        ],
        ids=str,
    )
    def test_wrong_arguments(self, options: dict[str, Any], message: str):
        with pytest.raises(ValueError, match=message):
            ck.SelfFindingCycle(**options)

    def test_another_fit_when_all_steps_are_taken(self):
        model, cycle = one_weight(keras.optimizers.SGD()), ck.SelfFindingCycle(3)
        fit_steps(model, 3, cycle)
        with pytest.raises(ValueError, match="taken all its steps"):
            fit_steps(model, 3, cycle)
        model.fit(ONES, ZEROS, verbose=0)

    def test_a_schedule_in_the_optimizer_or_beside(self):
        import cyclerate as cr

        scheduled = one_weight(keras.optimizers.SGD(ck.as_schedule(cr.Constant(0.1))))
        with pytest.raises(ValueError, match="learning_rate is a number"):
            fit_steps(scheduled, 3, ck.SelfFindingCycle())
        model = one_weight(keras.optimizers.SGD())
        beside = ck.ScheduleCallback(cr.Constant(0.1))
        with pytest.raises(ValueError, match="schedule different things"):
            fit_steps(model, 3, beside, ck.SelfFindingCycle())
