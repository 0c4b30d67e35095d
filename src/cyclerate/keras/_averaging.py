"""Averages of weights along a training (SWA), and the batch-norm statistics that belong to them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_count, check_flag
from cyclerate.cycles._combining import running_mean
from cyclerate.keras._clock import CycleCallback, CycleEnd, up_to_date
from cyclerate.keras._internals import data_adapter, layers_of
from cyclerate.schedules import Schedule


class WeightAveraging(CycleCallback):
    """Averages the weights at the end of every cycle, or of every epoch (SWA).

    The equal mean of the trainable weights, in float64 on the host. After the fit the model has
    the mean, and its batch normalisation the statistics of that mean over the data given. For an
    exponential average (EMA) Keras has its own: an optimizer made with `use_ema=True`.

    A callback that is used in several fits goes on averaging.

    Args:
        schedule: The schedule of the rate; weights are averaged where its cycles end, as in
            `SnapshotEnsemble`. None averages at the end of every epoch, for a constant rate.
        start_cycle: With a schedule: the first cycle that counts, from 1. Default 1.
        start_epoch: Without one: the first epoch that counts, from 0 as in `fit`. Default 0.
        total_steps: As in `SnapshotEnsemble`.
        batch_norm_data: Inputs to recompute batch-norm statistics with, as `x` of `fit`: arrays,
            data sets, or a PyDataset. Needed where the model has batch normalisation that trains;
            False leaves the statistics of the last step.
        batch_size: As in `fit`, for arrays. Default 32.
        assign: Give the model the mean when the fit ends. Default True; with False, `assign_to`
            does it later.

    Attributes:
        weights: The mean of each trainable weight, in the model's order; None so far.
        count: How many were averaged.

    Raises:
        ValueError: Arguments that do not go together. When the fit begins: as for
            `SnapshotEnsemble`, or batch normalisation without `batch_norm_data`.

    Source: Izmailov et al. 2018, arXiv 1803.05407, algorithm 1.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> mean = WeightAveraging(start_epoch=1)
    >>> _ = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=4, callbacks=[mean], verbose=0)
    >>> mean.count
    3
    >>> bool(np.allclose(model.get_weights()[0], mean.weights[0]))
    True
    """

    def __init__(
        self,
        schedule: Schedule | None = None,
        *,
        start_cycle: int = 1,
        start_epoch: int = 0,
        total_steps: int | None = None,
        batch_norm_data: Any = None,
        batch_size: int | None = None,
        assign: bool = True,
    ) -> None:
        super().__init__(schedule, start_cycle, total_steps)
        self.start_epoch = check_count("start_epoch", start_epoch, low=0)
        if schedule is not None and start_epoch:
            raise bad_argument("start_epoch", "left out with a schedule", start_epoch)
        if schedule is None and start_cycle > 1:
            raise bad_argument("start_cycle", "left out without a schedule", start_cycle)
        self.weights: list[Any] | None = None
        self.count = 0
        self._batch_norm_data, self._batch_size = batch_norm_data, batch_size
        self._assign = check_flag("assign", assign)

    def assign_to(self, model: Any) -> None:
        """Gives a model of the same layers the mean, and the statistics that belong to it.

        Raises:
            CyclerateError: Nothing has been averaged.
        """
        if self.weights is None:
            raise CyclerateError("no weights have been averaged: no cycle or epoch that counts.")
        for variable, mean in zip(model.trainable_variables, self.weights, strict=True):
            variable.assign(mean.astype(variable.dtype))
        if self._batch_norm_data is not None and self._batch_norm_data is not False:
            update_batch_norm(model, self._batch_norm_data, batch_size=self._batch_size)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._batch_norm_data is None and _batch_norms(self.model):
            allowed = "data, or False, for a model with batch normalisation"
            raise bad_argument("batch_norm_data", allowed, None)
        if self.schedule is not None:
            super().on_epoch_begin(epoch, logs)

    def on_cycle_end(self, end: CycleEnd) -> None:
        """Adds the weights to the mean."""
        self._add()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.schedule is None and epoch >= self.start_epoch:
            up_to_date(self.model)
            self._add()

    def on_train_end(self, logs: Any = None) -> None:
        if self._assign and self.count:
            self.assign_to(self.model)

    def _add(self) -> None:
        weights = [_float64(variable) for variable in self.model.trainable_variables]
        self.count += 1
        if self.weights is None:
            self.weights = weights
        else:
            self.weights = [
                running_mean(mean, new, self.count)
                for mean, new in zip(self.weights, weights, strict=True)
            ]


def update_batch_norm(model: Any, x: Any, *, batch_size: int | None = None) -> None:
    """Recomputes the moving mean and variance of batch normalisation, for weights just assigned.

    One pass over the data in training mode: each statistic becomes the plain mean of those of the
    batches, each counting by its rows. All else that such a pass changes is put back. Layers that
    are frozen keep what they have.

    Args:
        model: The model; its weights stay.
        x: Inputs as `x` of `fit`: arrays, data sets (of inputs, or of inputs and targets), or a
            PyDataset.
        batch_size: As in `fit`, for arrays. Default 32.

    Raises:
        ValueError: The data hold no batch.

    Source: Izmailov et al. 2018, arXiv 1803.05407, section 3.2.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
    >>> update_batch_norm(model, np.array([[1.0], [3.0], [2.0], [6.0]]), batch_size=2)
    >>> [round(float(weight[0]), 4) for weight in model.get_weights()[2:]]
    [3.0, 2.5]
    """
    if not isinstance(model, keras.Model):
        raise bad_argument("model", "a Keras model", model)
    if batch_size is not None:
        batch_size = check_count("batch_size", batch_size)
    layers = _batch_norms(model)
    if not layers:
        return
    try:
        adapter = data_adapter(x=x, batch_size=batch_size, shuffle=False)
    except (KeyError, ValueError) as error:
        raise bad_argument("x", "arrays, a data set of batches or a PyDataset", x) from error
    statistics = {id(v) for layer in layers for v in (layer.moving_mean, layer.moving_variance)}
    others = [v for v in model.non_trainable_variables if id(v) not in statistics]
    before = [_copy(variable) for variable in others]
    momenta = [layer.momentum for layer in layers]
    try:
        _pass_over(model, layers, adapter)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for variable, value in zip(others, before, strict=True):
            variable.assign(value)


def _pass_over(model: Any, layers: list[Any], adapter: Any) -> None:
    rows = 0
    for batch in adapter.get_numpy_iterator():
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        new = len(keras.tree.flatten(inputs)[0])
        for layer in layers:
            # What a batch leaves of the mean so far: nothing for the first, then its share.
            layer.momentum = rows / (rows + new)
        model(inputs, training=True)
        rows += new
    if not rows:
        raise bad_argument("x", "at least one batch of data", "none")


def _batch_norms(model: Any) -> list[Any]:
    kind = keras.layers.BatchNormalization
    return [layer for layer in layers_of(model) if isinstance(layer, kind) and layer.trainable]


def _copy(variable: Any) -> Any:
    """A copy: on some backends a plain view would change with the variable."""
    return np.array(keras.ops.convert_to_numpy(variable))


def _float64(variable: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype=np.float64)
