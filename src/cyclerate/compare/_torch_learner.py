"""Trains a PyTorch model with its user's optimizer and loss, by any schedule."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyclerate._errors import CyclerateError, bad_argument
from cyclerate._files import write_bytes
from cyclerate._plain import digest, versions_of
from cyclerate._randomness import remember_global_randomness, seed_global_randomness
from cyclerate.compare._learner import Start, call, in_words, spelled
from cyclerate.compare._record import ModelInfo
from cyclerate.schedules import Schedule
from cyclerate.torch import ScheduledLR, range_test
from cyclerate.torch._step import metric_of

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

_CHUNK_ROWS = 4096


@dataclass
class TorchLearner:
    """Trains what `make_model` returns; a `Learner`."""

    make_model: Callable[..., Any]
    batch_size: int
    _run: tuple[Any, Any, Any, ScheduledLR] | None = field(default=None, init=False, repr=False)

    @contextmanager
    def seeded(self, seed: int) -> Generator[None]:
        put_back = remember_global_randomness()
        try:
            seed_global_randomness(seed)
            yield
        finally:
            put_back()

    def fresh(self) -> TorchLearner:
        return replace(self)

    def start(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Start:
        with self.seeded(seed):
            module, optimizer, loss_fn = self._made(seed)
        defaults = {k: v for k, v in optimizer.defaults.items() if k != "lr"}
        description = {
            "network": digest([repr(module).encode()]),
            "optimizer": f"{type(optimizer).__name__}{defaults}",
            "loss": spelled(loss_fn),
        }
        weights = (tensor.cpu().numpy() for tensor in module.state_dict().values())
        rate = max(float(group["lr"]) for group in optimizer.param_groups)
        config = optimizer_config(optimizer)
        model = ModelInfo(
            description=type(module).__name__,
            parameters=sum(tensor.numel() for tensor in module.parameters()),
            optimizer=in_words(config),
            loss=_loss_name(loss_fn),
            batch_size=self.batch_size,
            optimizer_config=config,
        )
        return Start(description, digest(weights), rate, versions_of("torch"), model)

    def range_test(
        self, seed: int, x: NDArray[Any], y: NDArray[Any], **options: Any
    ) -> RangeTestResult:
        with self.seeded(seed):
            module, optimizer, loss_fn = self._made(seed)
        data = (_tensor(x), _tensor(y))
        settings: dict[str, Any] = {"batch_size": self.batch_size, "verbose": 0, "seed": seed}
        return range_test(module, optimizer, loss_fn, data, **{**settings, **options})

    def begin(self, seed: int, schedule: Schedule, x: NDArray[Any], y: NDArray[Any]) -> None:
        module, optimizer, loss_fn = self._made(seed)
        ratios = "keep" if len(optimizer.param_groups) > 1 else None
        rate = ScheduledLR(optimizer, schedule, group_scale=ratios)
        self._run = (module, optimizer, loss_fn, rate)
        seed_global_randomness(seed)

    def fit(
        self, x: NDArray[Any], y: NDArray[Any], after: Callable[[int], None] | None = None
    ) -> float:
        module, optimizer, loss_fn, rate = self._begun()
        losses: list[Tensor] = []
        for inputs, targets in self._batches(x, y, self.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_fn(module(inputs), targets)
            loss.backward()
            optimizer.step()
            rate.step()
            losses.append(loss.detach())
            if after is not None:
                after(len(losses))
        return float(torch.stack(losses).mean())

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        module = self._begun()[0]
        with _evaluating(module):
            parts = [module(inputs) for inputs, _ in self._batches(x, x, _CHUNK_ROWS)]
        return torch.cat(parts).double().cpu().numpy()

    def evaluate(self, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """The loss of rows, and the accuracy where the targets are classes."""
        module, _, loss_fn, _ = self._begun()
        _, accuracy = metric_of("accuracy", loss_fn, validated=False)
        of_two = isinstance(loss_fn, (torch.nn.BCELoss, torch.nn.BCEWithLogitsLoss))
        with_classes = accuracy is not None and (of_two or y.dtype.kind in "biu")
        sums = np.zeros(2)
        with _evaluating(module):
            for inputs, targets in self._batches(x, y, _CHUNK_ROWS):
                output = module(inputs)
                right = float(accuracy(output, targets)) if accuracy and with_classes else 0.0
                sums += len(targets) * np.array([float(loss_fn(output, targets)), right])
        loss, share = (sums / len(x)).tolist()
        return {"loss": loss, "accuracy": share} if with_classes else {"loss": loss}

    def save(self, path: Path) -> None:
        """Saves the module's state, for `torch.load(weights_only=True)`."""
        buffer = io.BytesIO()
        torch.save(self._begun()[0].state_dict(), buffer)
        write_bytes(path, buffer.getvalue())

    def _begun(self) -> tuple[Any, Any, Any, ScheduledLR]:
        if self._run is None:
            raise CyclerateError("no cell has been trained yet, so there is no network to save.")
        return self._run

    def _made(self, seed: int) -> tuple[Any, Any, Any]:
        made = call(self.make_model, seed)
        if not is_torch(made):
            raise bad_argument(
                "make_model", "a function that returns (model, optimizer, loss)", made
            )
        return made

    def _batches(
        self, x: NDArray[Any], y: NDArray[Any], rows: int
    ) -> Generator[tuple[Tensor, Tensor]]:
        module = self._begun()[0]
        device = next((tensor.device for tensor in module.parameters()), None)
        for i in range(0, len(x), rows):
            yield _tensor(x[i : i + rows]).to(device), _tensor(y[i : i + rows]).to(device)


def _tensor(array: NDArray[Any]) -> Tensor:
    """Fractions in PyTorch's usual precision, whole numbers as it wants classes."""
    kind = torch.get_default_dtype() if array.dtype.kind == "f" else torch.int64
    return torch.as_tensor(np.ascontiguousarray(array), dtype=kind)


@contextmanager
def _evaluating(module: Any) -> Generator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def _loss_name(loss_fn: Any) -> str:
    return type(loss_fn).__name__ if isinstance(loss_fn, torch.nn.Module) else spelled(loss_fn)


def optimizer_config(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The class, and its plain settings that are not its defaults."""
    kind = type(optimizer)
    config: dict[str, Any] = {"framework": "torch", "class": kind.__name__, "settings": {}}
    if getattr(torch.optim, kind.__name__, None) is kind:
        parameters = inspect.signature(kind).parameters
        config["settings"] = {
            key: value
            for key, value in optimizer.defaults.items()
            if key in parameters and key != "lr" and value != parameters[key].default
        }
    return config


def is_torch(made: Any) -> bool:
    """Whether this is `(model, optimizer, loss)` of PyTorch."""
    if not isinstance(made, tuple) or len(made) != 3:
        return False
    module, optimizer, loss = made
    return (
        isinstance(module, torch.nn.Module)
        and isinstance(optimizer, torch.optim.Optimizer)
        and callable(loss)
    )
