"""A model saved at the end of each cycle; the mean of their predictions, or of their weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_count, check_flag
from cyclerate._files import check_path
from cyclerate.cycles._members import (
    Member,
    MemberFolder,
    Members,
    Outputs,
    mean_of,
    probabilities_from,
    running_mean,
)
from cyclerate.keras._clock import CycleCallback, CycleEnd, up_to_date
from cyclerate.keras._internals import data_adapter, layers_of, without_optimizer
from cyclerate.schedules import Schedule

_SUFFIX = ".keras"


class SnapshotEnsemble(CycleCallback):
    """Saves the model at the end of every cycle; the saved models predict together.

    A member is the model right after the update with the cycle's lowest rate, also where that is
    in the middle of an epoch. Members are `.keras` files without the optimizer's state, beside a
    manifest, `ensemble.json`; a training that is killed leaves a folder that can be read.

    Used beside what sets the rate: `ScheduleCallback(lr=schedule)`, or an optimizer made with
    `as_schedule(schedule)`, which counts batches where gradients accumulate. A callback that is
    used in several fits goes on.

    Args:
        folder: Where the members are kept.
        schedule: The schedule of the rate: cycles as `WarmRestarts` or `fge_schedule`. Default:
            that of the fit's `ScheduleCallback` or `as_schedule`.
        keep: How many members are kept, the latest. Default: all.
        start_cycle: The first cycle to save, counted from 1. Default 1.
        total_steps: Optimizer steps of the training, from the schedule's step 0: its last step ends
            a cycle too. Default: what this fit reaches.
        overwrite: Remove the members of a previous run in the folder. Default False: an error.
        resume: Go on with the members of a previous run of the same schedule. Members of the steps
            that are taken again are replaced. Default False.

    Attributes:
        members: What has been saved and kept.

    Raises:
        ValueError: The folder holds a previous run; `schedule` is none, or cannot be written (all
            this when the fit begins, where `schedule` is left out). When the fit begins: its rate
            is not set by `schedule`; its length is unknown; a cycle ends inside of several steps
            that `steps_per_execution` makes one.

    Source: Huang et al. 2017, arXiv 1704.00109, section 3.

    >>> import cyclerate as cr
    >>> import cyclerate.keras as ck
    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> x, y = np.ones((8, 2)), np.zeros(8)
    >>> lr = cr.WarmRestarts(max_lr=0.1, cycle_steps=2)
    >>> callbacks = [ck.ScheduleCallback(lr=lr), SnapshotEnsemble("members")]
    >>> _ = model.fit(x, y, batch_size=4, epochs=3, callbacks=callbacks, verbose=0)
    >>> ensemble = SnapshotEnsemble.load("members")
    >>> [member.step for member in ensemble.members], ensemble.predict(x).shape
    ([1, 3, 5], (8, 3))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        schedule: Schedule | None = None,
        *,
        keep: int | None = None,
        start_cycle: int = 1,
        total_steps: int | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        check_path("folder", folder)  # the folder itself is made when the schedule is known
        super().__init__(schedule, start_cycle, total_steps)
        self._make_folder = partial(
            MemberFolder, folder, suffix=_SUFFIX, keep=keep, overwrite=overwrite, resume=resume
        )
        self._folder: MemberFolder | None = None
        if schedule is not None:
            self.on_schedule(schedule)

    @property
    def members(self) -> tuple[Member, ...]:
        """The members there are, by their step."""
        return () if self._folder is None else self._folder.members

    @staticmethod
    def load(
        folder: str | os.PathLike[str],
        *,
        outputs: Outputs = "probabilities",
        last: int | None = None,
        custom_objects: Mapping[str, Any] | None = None,
    ) -> KerasEnsemble:
        """Opens the members of a folder.

        Args:
            folder: What a training has filled.
            outputs: What the model gives: "probabilities"; "logits", which become probabilities
                first (softmax, or sigmoid where there is one); "values", as in regression; or a
                function of an array that gives what is to be averaged.
            last: Use only so many members, the latest. Default: all.
            custom_objects: As in `keras.saving.load_model`.

        Raises:
            NoMembersError: There is none, or none that can be used.
            ValueError: The manifest is not one of this version, or names other files.
        """
        return KerasEnsemble(folder, outputs=outputs, last=last, custom_objects=custom_objects)

    def on_schedule(self, schedule: Schedule) -> None:
        """Looks at the folder, once it is known by which schedule the members are made."""
        if self._folder is None:
            self._folder = self._make_folder(schedule=schedule)
            self.schedule = schedule

    def on_cycle_end(self, end: CycleEnd) -> None:
        """Saves a member."""
        assert self._folder is not None  # noqa: S101 - the fit has a schedule
        assert self.schedule is not None  # noqa: S101
        self._folder.add(end.step, end.cycle, self.schedule(end.step), self._save)

    def _save(self, path: Path) -> None:
        with without_optimizer(self.model):
            self.model.save(path)


class KerasEnsemble(Members):
    """The members of a folder, predicting together; made by `SnapshotEnsemble.load`.

    Attributes:
        members: Those that can be used, by their step.
        lost: Why the others cannot, by the name of the file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        outputs: Outputs = "probabilities",
        last: int | None = None,
        custom_objects: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(folder, _SUFFIX, last=last)
        self._convert = probabilities_from(outputs)
        self._custom_objects = None if custom_objects is None else dict(custom_objects)

    def models(self) -> Iterator[tuple[Member, Any]]:
        """Gives each member as a model: one object, which takes on one member after another.

        So it is compiled once. It is the iterator's own: read from it before going on.
        """
        model: Any = None
        for member, path in self.each():
            if model is None:
                model = keras.saving.load_model(
                    path, custom_objects=self._custom_objects, compile=False, safe_mode=True
                )
            else:
                model.load_weights(path)
            yield member, model

    def predictions(
        self, x: Any, batch_size: int | None = None, **options: Any
    ) -> Iterator[tuple[Member, Any]]:
        """Gives what each member predicts: probabilities or values, in float64.

        Args:
            x: As in `Model.predict`; each pass must give the same rows in the same order.
            batch_size: As there.
            **options: Further options of `Model.predict`.
        """
        options = {"verbose": 0, **options}
        for member, model in self.models():
            yield member, self._convert(model.predict(x, batch_size=batch_size, **options))

    def predict(self, x: Any, batch_size: int | None = None, **options: Any) -> Any:
        """The mean of what the members predict, in float64; one model in memory at a time.

        Args:
            x: As in `Model.predict`; each pass must give the same rows in the same order.
            batch_size: As there.
            **options: Further options of `Model.predict`.

        Raises:
            ValueError: The outputs cannot be what `outputs` said they are.
            NoMembersError: No member can be read any more.
        """
        return mean_of(prediction for _, prediction in self.predictions(x, batch_size, **options))


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
