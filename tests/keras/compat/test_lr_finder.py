"""LRFinder and ExponentialLearningRate: each batch's own loss, and what is given back."""

from __future__ import annotations

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import BACKEND, Weights, one_weight, value

STEPS = 24


def two_batches_a_step() -> tuple[np.ndarray, np.ndarray]:
    """Batches of one row, whose inputs differ, so that a running mean is not a batch's loss."""
    x = np.where(np.arange(STEPS) % 2, 1.0, 0.5).astype("float32")[:, None]
    return x, np.zeros_like(x)


def losses_by_hand(rates: np.ndarray) -> np.ndarray:
    """Gradient descent of (w x)**2 from w = 1, the loss of each batch before its step."""
    weight, losses = 1.0, []
    for rate, x in zip(rates, two_batches_a_step()[0][:, 0], strict=False):
        losses.append((weight * x) ** 2)
        weight -= rate * 2 * weight * x * x
    return np.array(losses)


def fit(model, *callbacks, **options):
    x, y = two_batches_a_step()
    options = {"batch_size": 1, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, callbacks=list(callbacks), **options)


def state_of(model) -> list[np.ndarray]:
    """Weights and optimizer; every fit begins its metrics anew in any case."""
    return [value(variable) for variable in [*model.weights, *model.optimizer.variables]]


def assert_given_back(model, before: list[np.ndarray]) -> None:
    after = state_of(model)
    assert len(after) == len(before)
    for now, then in zip(after, before, strict=True):
        np.testing.assert_array_equal(now, then)


def trained(optimizer=None, **options):
    """A model in the midst of a training, so that its optimizer has a state to lose."""
    model = one_weight(optimizer or keras.optimizers.Adam(0.125), **options)
    fit(model, epochs=1)
    return model


class Breaks(keras.callbacks.Callback):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if batch == 5:
            raise self.error


class TestLRFinder:
    def test_each_rate_has_its_own_batch_s_loss(self):
        finder = ck.LRFinder(1e-3, 0.1, mom=0.0, show=False)
        fit(one_weight(keras.optimizers.SGD(0.125)), finder)
        rates = cr.Exponential(1e-3, 0.1, STEPS - 1)(np.arange(STEPS))
        np.testing.assert_array_equal(finder.learning_rates, rates)
        np.testing.assert_allclose(finder.result.losses, losses_by_hand(rates), rtol=1e-5)
        np.testing.assert_array_equal(finder.losses, finder.result.losses)

    def test_losses_are_smoothed_as_the_original_does(self):
        finder = ck.LRFinder(1e-3, 0.1, mom=0.9, show=False)
        fit(one_weight(keras.optimizers.SGD(0.125)), finder)
        raw = finder.result.losses
        expected = [raw[0]]
        for loss in raw[1:]:
            expected.append(0.9 * expected[-1] + 0.1 * loss)
        np.testing.assert_allclose(finder.losses, expected, rtol=1e-12)

    def test_the_model_comes_back_after_several_epochs(self):
        model = trained()
        before = state_of(model)
        finder = ck.LRFinder(1e-4, 10.0, show=False)
        fit(model, finder, epochs=3)
        assert_given_back(model, before)
        assert float(model.optimizer.learning_rate) == 0.125
        assert len(finder.learning_rates) <= 3 * STEPS

    def test_a_new_model_trains_afterwards_as_if_nothing_had_been(self):
        tested, other = (one_weight(keras.optimizers.Adam(0.1)) for _ in range(2))
        fit(tested, ck.LRFinder(1e-4, 10.0, show=False))
        fit(tested)
        fit(other)
        assert_given_back(tested, state_of(other))

    def test_it_can_leave_the_model_where_the_sweep_ended(self):
        model = one_weight(keras.optimizers.SGD(0.125))
        finder = ck.LRFinder(1e-3, 0.1, reload_weights=False, show=False)
        weights = Weights()
        fit(model, finder, weights)
        assert float(value(model.trainable_variables[0])[0, 0]) == weights.seen[-1] < 0.9

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_a_fit_that_broke_off_between_steps_is_undone_when_the_next_begins(self, error):
        model, other = trained(keras.optimizers.SGD(0.125)), trained(keras.optimizers.SGD(0.125))
        with pytest.raises(error):
            fit(model, ck.LRFinder(1e-3, 0.1, show=False), Breaks(error))
        fit(model)
        fit(other)
        assert_given_back(model, state_of(other))

    def test_it_stops_where_training_diverges(self):
        model = trained(keras.optimizers.SGD(0.125))
        finder = ck.LRFinder(1e-2, 1e4, show=False)
        fit(model, finder, epochs=4)
        assert finder.result.stop_reason is cr.StopReason.DIVERGED
        assert len(finder.learning_rates) < 4 * STEPS

    def test_a_stop_multiplier_of_ones_own(self):
        finder = ck.LRFinder(1e-2, 1e4, stop_multiplier=3.0, show=False)
        fit(one_weight(keras.optimizers.SGD(0.125)), finder, epochs=4)
        above = np.array(finder.losses) > 3 * np.minimum.accumulate(finder.losses)
        assert above.tolist() == [False] * (len(above) - 1) + [True]

    def test_several_batches_at_each_rate(self):
        finder = ck.LRFinder(1e-3, 0.1, mom=0.0, batches_lr_update=2, show=False)
        fit(one_weight(keras.optimizers.SGD(0.125)), finder)
        rates = cr.Exponential(1e-3, 0.1, STEPS // 2 - 1)(np.arange(STEPS // 2))
        np.testing.assert_array_equal(finder.learning_rates, rates)
        means = losses_by_hand(np.repeat(rates, 2)).reshape(-1, 2).mean(axis=1)
        np.testing.assert_allclose(finder.losses, means, rtol=1e-5)

    def test_it_prints_the_answer_and_draws_the_curve(self, capsys):
        finder = ck.LRFinder(1e-3, 0.1)
        before = plt.get_fignums()
        fit(one_weight(keras.optimizers.SGD(0.125)), finder)
        assert str(finder.result) in capsys.readouterr().out
        drawn = set(plt.get_fignums()) - set(before)
        assert len(drawn) == 1
        assert plt.figure(drawn.pop()).axes[0].get_xlabel() == "learning rate"
        plt.close("all")

    def test_a_number_of_batches_that_the_fit_does_not_know(self):
        def rows():
            yield from zip(
                *(part.reshape(STEPS, 1, 1) for part in two_batches_a_step()), strict=True
            )

        model = one_weight(keras.optimizers.SGD(0.125))
        with pytest.raises(ValueError, match=r"steps_per_epoch must be given .*Received: None"):
            model.fit(
                rows(), callbacks=[ck.LRFinder(1e-3, 0.1, show=False)], shuffle=False, verbose=0
            )
        finder = ck.LRFinder(1e-3, 0.1, steps_per_epoch=STEPS, show=False)
        model.fit(rows(), callbacks=[finder], shuffle=False, verbose=0)
        assert len(finder.learning_rates) == STEPS
        assert float(value(model.trainable_variables[0])[0, 0]) == 1.0

    def test_together_with_another_callback_that_sets_the_rate(self):
        model = one_weight(keras.optimizers.SGD(0.125))
        finder, cycle = ck.LRFinder(1e-3, 0.1, show=False), ck.ScheduleCallback(lr=cr.Constant(1.0))
        for callbacks in ([finder, cycle], [cycle, finder]):
            with pytest.raises(ValueError, match="callbacks must be one that sets the rate"):
                fit(model, *callbacks)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"min_lr": 0.0}, "min_lr must be"),
            ({"max_lr": 1e-4}, "max_lr must be"),
            ({"mom": 1.0}, "mom must be"),
            ({"stop_multiplier": 0.5}, "stop_multiplier must be"),
            ({"batches_lr_update": 0}, "batches_lr_update must be"),
            ({"reload_weights": "yes"}, "reload_weights must be"),
        ],
    )
    def test_wrong_arguments_are_named(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            ck.LRFinder(**{"min_lr": 1e-3, "max_lr": 0.1, "show": False, **wrong})

    def test_too_few_batches_and_a_scheduled_optimizer_are_refused(self):
        with pytest.raises(ValueError, match="steps must be a whole number >= 10"):
            fit(
                one_weight(keras.optimizers.SGD()), ck.LRFinder(1e-3, 0.1, show=False), batch_size=4
            )
        scheduled = keras.optimizers.SGD(ck.as_schedule(cr.Constant(0.1)))
        with pytest.raises(ValueError, match="learning_rate is a number"):
            fit(one_weight(scheduled), ck.LRFinder(1e-3, 0.1, show=False))

    def test_the_script_of_an_article_with_only_the_import_changed(self):
        """The bounds of a convnet for digits are read from a range test over some epochs."""
        generator = np.random.default_rng(0)
        digits = generator.integers(0, 3, size=300)
        images = generator.normal(size=(300, 8, 8, 1)).astype("float32")
        images[np.arange(300), digits * 2] += 3.0
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Conv2D(4, kernel_size=(3, 3), activation="relu"),
                keras.layers.MaxPooling2D(pool_size=(2, 2)),
                keras.layers.Flatten(),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
        model.compile(
            loss=keras.losses.sparse_categorical_crossentropy,
            optimizer=keras.optimizers.Adam(),
            metrics=["accuracy"],
        )
        lr_finder = ck.LRFinder(min_lr=1e-4, max_lr=1e0)
        model.fit(images, digits, batch_size=10, callbacks=[lr_finder], epochs=4, verbose=0)
        plt.close("all")
        assert 1e-3 < lr_finder.result.max_lr < 0.5


class TestExponentialLearningRate:
    def test_rates_and_each_batch_s_own_loss(self):
        grow = ck.ExponentialLearningRate(factor=1.1)
        model = one_weight(keras.optimizers.SGD(1e-3))
        fit(model, grow)
        rates = 1e-3 * 1.1 ** np.arange(STEPS)
        np.testing.assert_allclose(grow.rates, rates, rtol=1e-6)
        np.testing.assert_allclose(grow.losses, losses_by_hand(rates), rtol=1e-5)
        assert float(value(model.trainable_variables[0])[0, 0]) < 0.99

    def test_a_function_of_the_book_with_only_the_import_changed(self):
        """Weights and rate are put back by hand there, around the fit."""
        model = one_weight(keras.optimizers.SGD(0.125))
        first_weights = model.get_weights()
        factor = np.exp(np.log(10.0 / 1e-4) / STEPS)
        first_rate = float(model.optimizer.learning_rate)
        model.optimizer.learning_rate = 1e-4
        grow = ck.ExponentialLearningRate(factor)
        fit(model, grow)
        model.optimizer.learning_rate = first_rate
        model.set_weights(first_weights)
        assert grow.rates[0] == pytest.approx(1e-4)
        assert grow.rates[-1] == pytest.approx(10.0 / factor, rel=1e-5)

    @pytest.mark.parametrize("factor", [0, -1.0, float("nan")])
    def test_wrong_factors_are_named(self, factor):
        with pytest.raises(ValueError, match="factor must be"):
            ck.ExponentialLearningRate(factor)


def test_lr_find_is_the_single_sweep_in_fastai_s_words(capsys):
    model = one_weight(keras.optimizers.SGD(0.125))
    x, y = two_batches_a_step()
    found = ck.lr_find(model, x, y, start_lr=1e-3, end_lr=1.0, num_it=30, batch_size=4, verbose=0)
    same = ck.range_test(
        model, x, y, start_lr=1e-3, end_lr=1.0, steps=30, batch_size=4, method="range", verbose=0
    )
    np.testing.assert_array_equal(found.losses, same.losses)
    assert (found.method, found.lrs[0], found.planned_steps) == ("range", 1e-3, 30)
    assert str(found) in capsys.readouterr().out
    plt.close("all")


def test_steps_per_execution_is_refused():
    if BACKEND == "torch":
        pytest.skip("Keras on PyTorch has none")
    model = one_weight(keras.optimizers.SGD(0.125), steps_per_execution=2)
    with pytest.raises(ValueError, match=r"steps_per_execution must be 1\. Received: 2"):
        fit(model, ck.LRFinder(1e-3, 0.1, show=False))
