"""The range test of a Keras model."""

from __future__ import annotations

import time
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.keras.batches import Data, borrow
from cyclerate.keras.hyper import innermost
from cyclerate.keras.lending import lent
from cyclerate.keras.randomness import seed_all_randomness
from cyclerate.keras.sweeping import sweep
from cyclerate.keras.watching import VALIDATION
from cyclerate.range_test import RangeTest, RangeTestResult, Sweep, combine
from cyclerate.range_test.metric import direction
from cyclerate.range_test.progress import Progress

_HIGHEST_SEED = 2**32  # NumPy's global generator takes no higher one


def range_test(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    steps: int = 100,
    spacing: str = "exponential",
    method: str = "range",
    metric: str = "loss",
    mode: str = "auto",
    validation_data: Any = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    horizon_steps: int | None = None,
    seed: int | None = None,
    repeats: int = 1,
    stop_early: bool = True,
    verbose: str | int = "auto",
) -> RangeTestResult:
    """Trains some steps at rising rates, reads the curve, and gives the model back as it was.

    Step i is a step of the model's own fit (its `train_step`, loss, metrics, callbacks aside) at
    the rate `start_lr * (end_lr / start_lr) ** (i / (steps - 1))`. What is recorded for it is the
    loss of its own batch, taken before its update, as everywhere in the field; a validation metric
    is taken after it.

    Given back, to the last bit, also after an exception and after Ctrl-C: weights, statistics of
    normalisation, the optimizer's state, iteration count and rate, the seeds of layers, metrics,
    `model.history`, `stop_training`, the compiled functions, and the random generators of Python,
    NumPy, Keras, TensorFlow and PyTorch. What was not built is built, in the state in which the
    first fit would find it; a following fit gives what it would have given without the test.
    Memory: one copy of the weights and of the optimizer's state.

    Args:
        model: A compiled Keras model.
        x: Whatever `fit` takes: arrays (also nested, or pandas), a `tf.data.Dataset`, a
            `PyDataset`, a PyTorch `DataLoader`; or any iterable of batches; or a function of no
            arguments that returns one. It begins again when it runs out. Of an iterator, the
            batches drawn are gone afterwards: pass a function that makes one instead. Of a
            `PyDataset`, `on_epoch_begin` and `on_epoch_end` are not called. A shuffled
            `tf.data.Dataset` of over 256 MB, or one that cannot be copied, is itself passed over,
            which moves its order on.
        y: Targets, where `x` is arrays.
        batch_size: As in `fit`, where `x` is arrays. Default 32.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        steps: How many rates, one update of the weights each. Default 100.
        spacing: "exponential" (default) or "linear".
        method: "range", the single sweep.
        metric: What to record: "loss", or a metric that the model was compiled with. With
            `validation_data`, or a name that begins with "val_", it is measured on those data after
            every step.
        mode: "min" or "max", whichever is better. Default "auto": by the metric's name.
        validation_data: (x, y), (x, y, sample_weight), or a data set; all of it is evaluated after
            every step, so let it be small.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        horizon_steps: The length of the training to come; the single sweep has no use for it.
        seed: For the order of the data. Default 0. The same seed gives the same curve.
        repeats: How many sweeps, each with another order of the data; the answer is the middle of
            theirs. Default 1.
        stop_early: Whether to stop when the loss diverges. NaN always stops the sweep.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.

    Returns:
        The curve, `base_lr`, `max_lr` and an interval for it, or None where there is no clear
        answer; `print` it for the verdict.

    Raises:
        ValueError: A wrong argument, a model that is not compiled, data without a batch.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> import keras
    >>> import numpy as np
    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.normal(size=(64, 4))
    >>> y = x @ np.array([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> result = range_test(model, x, y, batch_size=16, steps=60)
    >>> 0.01 < result.max_lr < 1.0, int(model.optimizer.iterations)
    (True, 0)
    """
    started = time.perf_counter()
    plan = Sweep(start_lr, end_lr, steps, spacing)
    metric = _metric_name(metric, validation_data)
    mode = direction(metric, mode)
    repeats = check_count("repeats", repeats)
    seed = 0 if seed is None else check_count("seed", seed, low=0)
    check_number("seed", seed, high=_HIGHEST_SEED - repeats)
    if horizon_steps is not None:
        check_count("horizon_steps", horizon_steps)
    check_choice("stop_early", stop_early, (True, False))
    _check_method(method)
    check_model(model)
    progress = Progress(verbose, repeats)
    data = borrow(
        x, y, batch_size=batch_size, sample_weight=sample_weight, class_weight=class_weight
    )
    validation = _validation(validation_data, batch_size)
    results: list[RangeTestResult] = []
    with lent(model, data, *([validation] if validation else [])) as snapshot:
        for run in range(repeats):
            if run:
                snapshot.put_back(again=True)
            progress.sweep = run + 1
            seed_all_randomness(seed + run)
            test = RangeTest(plan, metric=metric, mode=mode, stop_early=stop_early)
            sweep(model, test, data, validation, progress)
            results.append(test.result(seconds=time.perf_counter() - started))
    progress.close()
    return results[0] if repeats == 1 else combine(results)


def _metric_name(metric: Any, validation_data: Any) -> str:
    if not isinstance(metric, str) or not metric:
        raise bad_argument("metric", "the name of a metric", metric)
    validated = metric.startswith(VALIDATION)
    if validated and validation_data is None:
        raise bad_argument("validation_data", f"given for the metric {metric!r}", None)
    return metric if validated or validation_data is None else VALIDATION + metric


def _check_method(method: Any) -> None:
    if method == "probe":
        raise bad_argument("method", '"range"; "probe" is not available yet', method)
    check_choice("method", method, ("range",))


def check_model(model: Any) -> None:
    """Checks that a model can be trained.

    Raises:
        ValueError: It is no Keras model, not compiled, or has several optimizers.
    """
    if not isinstance(model, keras.Model):
        raise bad_argument("model", "a Keras model", model)
    if not model.compiled or model.optimizer is None:
        raise bad_argument("model", "compiled: call model.compile(optimizer, loss) first", model)
    innermost(model.optimizer)


def _validation(validation_data: Any, batch_size: int | None) -> Data | None:
    if validation_data is None:
        return None
    allowed = "(x, y), (x, y, sample_weight) or a data set that ends"
    parts = validation_data if isinstance(validation_data, tuple) else (validation_data,)
    if len(parts) > 3:
        raise bad_argument("validation_data", allowed, validation_data)
    x, y, sample_weight = (*parts, None, None)[:3]
    size = batch_size if y is not None else None
    data = borrow(x, y, batch_size=size, sample_weight=sample_weight)
    if data.endless:
        raise bad_argument("validation_data", allowed, validation_data)
    return data
