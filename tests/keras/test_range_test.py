"""range_test: what it records, of which data, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import BACKEND, ONES, ZEROS, mean_of_output, one_weight, value

SGD = keras.optimizers.SGD
SWEEP: dict[str, Any] = {"method": "range", "steps": 10, "start_lr": 1e-3, "end_lr": 0.5}
LRS = cr.Sweep(1e-3, 0.5, 10).lrs()

WEIGHTS_BEFORE = 1.0 - np.concatenate([[0.0], np.cumsum(LRS)[:-1]])
"""A weight of 1 under a gradient of 1: what each step's own batch sees, before its update."""

WEIGHTS_AFTER = 1.0 - np.cumsum(LRS)


MANY_ONES = np.concatenate([ONES] * 12)
MANY_ZEROS = np.concatenate([ZEROS] * 12)


def swept(model: Any, **options: Any) -> cr.RangeTestResult:
    """A sweep over twelve batches of ones."""
    return swept_on(model, MANY_ONES, MANY_ZEROS, batch_size=4, **options)


def swept_on(model: Any, x: Any, y: Any = None, **options: Any) -> cr.RangeTestResult:
    return ck.range_test(model, x, y, stop_early=False, **{**SWEEP, **options})


def assert_sees(result: cr.RangeTestResult, expected: np.ndarray) -> None:
    np.testing.assert_allclose(result.losses, expected, rtol=1e-5, atol=1e-6)


class TestWhatIsRecorded:
    def test_the_loss_of_each_batch_at_the_rate_of_its_step(self):
        model = one_weight(SGD(0.25), mean_of_output)
        assert_sees(swept(model), WEIGHTS_BEFORE)
        assert float(model.optimizer.learning_rate) == 0.25

    def test_of_an_optimizer_with_a_schedule(self):
        rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
        model = one_weight(SGD(rate), mean_of_output)
        assert_sees(swept(model), WEIGHTS_BEFORE)
        assert_sees(swept(model, repeats=2).runs[1], WEIGHTS_BEFORE)
        assert model.optimizer._learning_rate is rate

    def test_of_a_model_built_by_it(self):
        assert_sees(swept(one_weight(SGD(), mean_of_output, built=False)), WEIGHTS_BEFORE)

    def test_run_eagerly(self):
        assert_sees(swept(one_weight(SGD(), mean_of_output, run_eagerly=True)), WEIGHTS_BEFORE)

    @pytest.mark.skipif(BACKEND == "torch", reason="not supported by Keras there")
    def test_with_several_steps_per_execution(self):
        model = one_weight(SGD(), mean_of_output, steps_per_execution=4)
        assert_sees(swept(model), WEIGHTS_BEFORE)
        assert model.steps_per_execution == 4

    def test_of_updates_that_take_several_batches(self):
        model = one_weight(SGD(gradient_accumulation_steps=3), mean_of_output)
        assert_sees(swept(model), WEIGHTS_BEFORE)

    def test_steps_that_the_loss_scale_skips_are_made_again(self):
        inner = SGD()
        model = one_weight(
            keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127, name="scale"),
            lambda y, y_pred: 4.0 * keras.ops.mean(y_pred, axis=-1),
        )
        expected = 4.0 - 16.0 * np.concatenate([[0.0], np.cumsum(LRS)[:-1]])
        assert_sees(swept(model), expected)
        assert int(inner.iterations) == 0

    def test_a_step_that_is_always_skipped_ends_it(self):
        inner = keras.optimizers.LossScaleOptimizer(SGD(), initial_scale=2.0)
        model = one_weight(inner, "mse")
        result = swept_on(model, MANY_ONES * np.float32(1e30), MANY_ZEROS, batch_size=4)
        assert result.stop_reason is cr.StopReason.NON_FINITE
        assert np.isnan(result.losses).all()

    def test_a_metric_for_which_higher_is_better(self):
        model = one_weight(SGD(), mean_of_output, metrics=["binary_accuracy"])
        result = swept(model, metric="binary_accuracy")
        assert result.mode == "max"
        expected = np.where(WEIGHTS_BEFORE > 0.5, 0.0, 1.0)
        np.testing.assert_array_equal(result.losses, expected)

    @pytest.mark.parametrize("metric", ["loss", "val_loss"])
    def test_validation_data_are_evaluated_after_each_step(self, metric: str):
        model = one_weight(SGD(), mean_of_output)
        result = swept(model, metric=metric, validation_data=(2 * ONES, ZEROS))
        assert result.metric == "val_loss"
        assert_sees(result, 2 * WEIGHTS_AFTER)

    def test_validation_data_in_batches_of_their_own(self):
        model = one_weight(SGD(), mean_of_output)
        assert_sees(swept(model, validation_data=OnesByIndex()), WEIGHTS_AFTER)

    def test_a_mode_can_be_given(self):
        model = one_weight(SGD(), mean_of_output)
        assert swept(model, mode="max").mode == "max"


class Tripled(keras.Model):
    """A model that computes its loss itself."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3.0 * keras.ops.mean(y_pred)


def test_a_loss_that_the_model_computes_itself():
    model = Tripled()
    model.compile(SGD())
    steps_of_three = 3.0 - 9.0 * np.concatenate([[0.0], np.cumsum(LRS)[:-1]])
    assert_sees(swept(model), steps_of_three)


class OnesEndlessly:
    """An iterable that is no iterator."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(ONES, ZEROS)] * 3)


class OnesByIndex(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return ONES, ZEROS


def batches(count: int) -> Iterator[Any]:
    return ((ONES, ZEROS) for _ in range(count))


class TestData:
    @pytest.mark.parametrize("built", [True, False])
    @pytest.mark.parametrize(
        "make",
        [
            OnesByIndex,
            lambda: OnesByIndex(workers=2),
            lambda: batches(3),
            lambda: batches(30),
            lambda: lambda: batches(3),
            OnesEndlessly,
        ],
        ids=["PyDataset", "with workers", "short generator", "generator", "function", "iterable"],
    )
    def test_batches_in_many_forms(self, make, built: bool):
        if built is False and BACKEND == "tensorflow":
            pytest.skip("builds in the same way whatever the data")
        model = one_weight(SGD(), mean_of_output, built=built)
        assert_sees(swept_on(model, make(), repeats=2).runs[1], WEIGHTS_BEFORE)

    def test_a_generator_goes_on_after_the_batches_that_were_drawn(self):
        drawn: list[int] = []

        def counted() -> Iterator[Any]:
            for i in range(100):
                drawn.append(i)
                yield ONES, ZEROS

        source = counted()
        swept_on(one_weight(SGD(), mean_of_output), source)
        next(source)
        assert 10 < len(drawn) < 40

    def test_nested_inputs(self):
        a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        model = keras.Model({"a": a, "b": b}, layer(a + b))
        model.compile(SGD(), mean_of_output)
        halves = {"a": ONES / 2, "b": ONES / 2}
        assert_sees(swept_on(model, halves, ZEROS), WEIGHTS_BEFORE)

    def test_pandas(self):
        pandas = pytest.importorskip("pandas")
        model = one_weight(SGD(), mean_of_output)
        frame = pandas.DataFrame({"x": ONES[:, 0]})
        assert_sees(swept_on(model, frame, pandas.Series(ZEROS[:, 0])), WEIGHTS_BEFORE)

    @pytest.mark.parametrize(
        "weights",
        [{"sample_weight": np.full(48, 2.0)}, {"class_weight": {0: 2.0}}],
        ids=["sample_weight", "class_weight"],
    )
    def test_weights(self, weights: dict[str, Any]):
        model = one_weight(SGD(), mean_of_output)
        doubled = 2.0 - 4.0 * np.concatenate([[0.0], np.cumsum(LRS)[:-1]])
        assert_sees(swept(model, **weights), doubled)

    def test_a_data_set_of_unknown_length(self):
        tf = pytest.importorskip("tensorflow")
        data = tf.data.Dataset.from_tensor_slices((ONES, ZEROS)).batch(2).filter(lambda *_: True)
        assert_sees(swept_on(one_weight(SGD(), mean_of_output), data), WEIGHTS_BEFORE)

    def test_an_epoch_of_a_py_dataset_is_not_announced(self):
        calls: list[str] = []

        class Announced(OnesByIndex):
            def on_epoch_begin(self) -> None:
                calls.append("begin")

            def on_epoch_end(self) -> None:
                calls.append("end")

        model = one_weight(SGD(), mean_of_output)
        model.fit(ONES, ZEROS, verbose=0)
        swept_on(model, Announced())
        assert calls == []


class TestRefusals:
    def refused(self, message: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(ValueError, match=message):
            ck.range_test(*arguments, **options)

    @pytest.fixture
    def model(self) -> Any:
        return one_weight(SGD())

    def test_a_model_that_is_not_compiled(self):
        self.refused("model must be compiled", keras.Sequential([keras.Input((1,))]), ONES)

    def test_something_that_is_no_model(self):
        self.refused("model must be a Keras model", "model", ONES)

    def test_several_optimizers(self):
        several = keras.optimizers.MultiOptimizer(lambda variable: SGD())
        self.refused("single Keras optimizer", one_weight(several), ONES, ZEROS)

    @pytest.mark.parametrize(
        "empty",
        [
            ONES[:0],
            iter(()),
            lambda: iter(()),
            type("Empty", (OnesByIndex,), {"__len__": lambda self: 0})(),
        ],
        ids=["array", "iterator", "function", "PyDataset"],
    )
    def test_no_data(self, model, empty):
        y = ZEROS[:0] if isinstance(empty, np.ndarray) else None
        self.refused("x must be at least one batch", model, empty, y)

    @pytest.mark.parametrize("x", [3.0, None, [1, 2], "x"], ids=repr)
    def test_data_of_no_kind(self, model, x):
        self.refused("x must be arrays", model, x)

    @pytest.mark.parametrize("name", ["y", "sample_weight", "batch_size"])
    def test_what_does_not_go_with_batches(self, model, name: str):
        self.refused(f"{name} must be None", model, OnesByIndex(), **{name: 2})

    def test_class_weight_with_a_generator(self, model):
        self.refused("class_weight must be None", model, batches(3), class_weight={0: 1.0})

    def test_an_unknown_metric_names_those_that_there_are(self):
        model = one_weight(SGD(), metrics=["mae"])
        self.refused("loss, mae", model, ONES, ZEROS, metric="accuracy")
        assert value(model.trainable_variables[0])[0, 0] == 1.0

    def test_a_validation_metric_without_data(self, model):
        self.refused("validation_data must be given", model, ONES, ZEROS, metric="val_loss")

    @pytest.mark.parametrize(
        "validation_data", [(ONES, ZEROS, None, None), batches(3), lambda: batches(3)]
    )
    def test_validation_data_of_no_form_or_without_end(self, model, validation_data):
        options = {"validation_data": validation_data}
        self.refused("validation_data must be", model, ONES, ZEROS, **options)

    def test_a_seed_that_numpy_would_not_take(self, model):
        self.refused("seed must be", model, ONES, ZEROS, seed=2**32)

    def test_from_a_callback_of_a_scheduled_fit(self, model):
        nested = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: ck.range_test(model, ONES, ZEROS)
        )
        cycle = ck.ScheduleCallback(cr.Constant(0.1))
        with pytest.raises(ValueError, match="not in a fit"):
            model.fit(ONES, ZEROS, callbacks=[cycle, nested], verbose=0)


class TestProgress:
    def test_verbose_shows_a_line(self, capsys: pytest.CaptureFixture[str]):
        swept(one_weight(SGD(), mean_of_output), verbose=1)
        shown = capsys.readouterr().err
        assert "range test: step 1/10, rate 0.001, loss 1" in shown
        assert shown.endswith("\r")

    def test_nothing_where_nobody_looks(self, capsys: pytest.CaptureFixture[str]):
        swept(one_weight(SGD(), mean_of_output))
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "")
