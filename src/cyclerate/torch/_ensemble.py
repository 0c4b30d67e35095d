"""Snapshot ensembles: a model saved at the end of each cycle, and the mean of what they predict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from cyclerate._errors import bad_argument, check_count, require
from cyclerate.cycles._members import (
    Member,
    MemberFolder,
    Members,
    Outputs,
    mean_of,
    probabilities_from,
)
from cyclerate.schedules import Schedule
from cyclerate.torch._cycle_callbacks import CycleCounter
from cyclerate.torch._data import moved
from cyclerate.torch._state import Snapshot

_SUFFIX = ".safetensors"
_DATA = (
    "a tensor or an array of inputs, or an iterable of batches that gives the same rows in the "
    "same order at every pass"
)
Forward = Callable[[nn.Module, Any], Tensor]


class SnapshotEnsemble:
    """Saves the model at the end of every cycle; the saved models predict together.

    Call `step()` after every `optimizer.step()`, as that of a scheduler. A member is the model
    right after the update with the cycle's lowest rate: all parameters and buffers, as safetensors,
    beside a manifest, `ensemble.json`; a training that is killed leaves a folder that can be read.

    Args:
        folder: Where the members are kept.
        model: The model in training.
        schedule: The schedule of the rate: cycles as `WarmRestarts` or `fge_schedule`.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule; its
            last step ends a cycle too.
        keep: How many members are kept, the latest. Default: all.
        start_cycle: The first cycle to save, counted from 1. Default 1.
        start_step: The step to begin with, to go on where an earlier training stopped. Default 0.
        overwrite: Remove the members of a previous run in the folder. Default False: an error.
        resume: Go on with the members of a previous run of the same schedule. Members of the steps
            that are taken again are replaced. Default False.

    Attributes:
        members: What has been saved and kept.

    Raises:
        ValueError: The folder holds a previous run; `schedule` is none, or cannot be written.
        MissingExtra: safetensors is not installed.

    Source: Huang et al. 2017, arXiv 1704.00109, section 3.

    >>> import torch
    >>> import cyclerate as cr
    >>> import cyclerate.torch as ct
    >>> model = torch.nn.Linear(2, 3)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> lr = cr.WarmRestarts(max_lr=0.1, cycle_steps=2)
    >>> scheduler = ct.ScheduledLR(optimizer, lr)
    >>> saving = SnapshotEnsemble("members", model, lr, total_steps=6)
    >>> for _ in range(6):
    ...     optimizer.step()
    ...     _ = saving.step()
    ...     scheduler.step()
    >>> ensemble = SnapshotEnsemble.load("members", model, outputs="logits")
    >>> [member.step for member in ensemble.members], ensemble.predict(torch.ones(5, 2)).shape
    ([1, 3, 5], torch.Size([5, 3]))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: nn.Module,
        schedule: Schedule,
        total_steps: int,
        *,
        keep: int | None = None,
        start_cycle: int = 1,
        start_step: int = 0,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        require("safetensors.torch", "torch")
        self._model = checked_model(model)
        self._counter = CycleCounter(schedule, total_steps, start_step, start_cycle)
        self._folder = MemberFolder(
            folder, schedule, _SUFFIX, keep=keep, overwrite=overwrite, resume=resume
        )

    @property
    def members(self) -> tuple[Member, ...]:
        """The members there are, by their step."""
        return self._folder.members

    def step(self, metric: float | None = None) -> Member | None:
        """Goes on by one step, and saves the model if a cycle ended with it.

        Args:
            metric: What to note with a member, such as a validation accuracy.

        Returns:
            The member that was saved, if any.
        """
        end = self._counter.step()
        if end is None:
            return None
        step, cycle, lr = end
        return self._folder.add(step, cycle, lr, self._save, metric)

    @staticmethod
    def load(
        folder: str | os.PathLike[str],
        model: nn.Module,
        *,
        outputs: Outputs = "probabilities",
        last: int | None = None,
        forward: Forward | None = None,
    ) -> TorchEnsemble:
        """Opens the members of a folder.

        Args:
            folder: What a training has filled.
            model: A model of the same layers; while it predicts, it takes on one member after
                another, and gets its own weights and mode back.
            outputs: What the model gives: "probabilities"; "logits", which become probabilities
                first (softmax, or sigmoid where there is one); "values", as in regression; or a
                function of an array that gives what is to be averaged.
            last: Use only so many members, the latest. Default: all.
            forward: `forward(model, batch)` gives the outputs. Default: the model of the batch, or
                of its first part where that is a tuple or a list.

        Raises:
            NoMembersError: There is none, or none that can be used.
            ValueError: The manifest is not one of this version, or names other files.
            MissingExtra: safetensors is not installed.
        """
        return TorchEnsemble(folder, model, outputs=outputs, last=last, forward=forward)

    def _save(self, path: Path) -> None:
        require("safetensors.torch", "torch").save_model(self._model, path)


class TorchEnsemble(Members):
    """The members of a folder, predicting together; made by `SnapshotEnsemble.load`.

    Attributes:
        members: Those that can be used, by their step.
        lost: Why the others cannot, by the name of the file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: nn.Module,
        *,
        outputs: Outputs = "probabilities",
        last: int | None = None,
        forward: Forward | None = None,
    ) -> None:
        require("safetensors.torch", "torch")
        self._model = checked_model(model)
        super().__init__(folder, _SUFFIX, last=last)
        self._convert = probabilities_from(outputs)
        self._forward = forward or _outputs_for

    def predictions(self, data: Any, batch_size: int = 256) -> Iterator[tuple[Member, Tensor]]:
        """Gives what each member predicts: probabilities or values, in float64, on the host.

        Between two of them the model is its own again.

        Args:
            data: A tensor or an array of inputs; or an iterable of batches, each the inputs or a
                tuple that begins with them, in the same order at every pass.
            batch_size: Rows of a batch, where the data are one tensor. Default 256.

        Raises:
            ValueError: The data are nothing like that, or come shuffled.
        """
        batches = _batches_of(data, check_count("batch_size", batch_size))
        for member, path in self.each():
            yield member, torch.from_numpy(self._convert(self._outputs(path, batches())))

    def predict(self, data: Any, batch_size: int = 256) -> Tensor:
        """The mean of what the members predict, in float64; one member in memory at a time.

        Args:
            data: A tensor or an array of inputs; or an iterable of batches, each the inputs or a
                tuple that begins with them, in the same order at every pass.
            batch_size: Rows of a batch, where the data are one tensor. Default 256.

        Raises:
            ValueError: As in `predictions`; or the outputs cannot be what `outputs` said they are.
            NoMembersError: No member can be read any more.
        """
        return mean_of(prediction for _, prediction in self.predictions(data, batch_size))

    def _outputs(self, path: Path, batches: Iterable[Any]) -> Any:
        model = self._model
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        with ExitStack() as stack:
            stack.callback(Snapshot([model], "memory", stack).put_back)
            require("safetensors.torch", "torch").load_model(model, path, device=str(device))
            model.eval()
            with torch.no_grad():
                parts = [_on_host(self._forward(model, moved(b, device))) for b in batches]
        if not parts:
            raise bad_argument("data", "at least one batch", "none")
        return np.concatenate(parts)


def checked_model(model: Any) -> nn.Module:
    """Returns the model whose weights are a member's, or refuses what is none."""
    if not isinstance(model, nn.Module):
        raise bad_argument("model", "a torch.nn.Module", model)
    # torch.compile wraps a model; its members are those of the model itself.
    return getattr(model, "_orig_mod", model)


def _outputs_for(model: nn.Module, batch: Any) -> Tensor:
    return model(batch[0] if isinstance(batch, (tuple, list)) else batch)


def _on_host(outputs: Any) -> Any:
    if not isinstance(outputs, Tensor):
        raise bad_argument("forward", "a function that returns one tensor", outputs)
    return outputs.to("cpu", torch.float64).numpy()


def _batches_of(data: Any, batch_size: int) -> Callable[[], Iterable[Any]]:
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data)
    if isinstance(data, Tensor):
        return lambda: data.split(batch_size)
    if isinstance(data, Iterator) or not isinstance(data, Iterable):
        raise bad_argument("data", _DATA, data)
    random = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
    if isinstance(data, DataLoader) and isinstance(data.sampler, random):
        raise bad_argument("data", _DATA, "a DataLoader that shuffles")
    return lambda: data
