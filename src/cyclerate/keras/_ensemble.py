"""Snapshot ensembles: a model saved at the end of each cycle, and the mean of what they predict."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras

from cyclerate._files import check_path
from cyclerate.cycles._combining import Outputs, mean_of, probabilities_from
from cyclerate.cycles._members import Member, MemberFolder, Members
from cyclerate.keras._clock import CycleCallback, CycleEnd
from cyclerate.keras._internals import without_optimizer
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
