"""What trains one network for any recipe, in Keras or in PyTorch."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from cyclerate._errors import bad_argument
from cyclerate.schedules import Schedule

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

MakeModel = Callable[..., Any]
"""Returns a new model: with its seed as argument, or with none."""

_ALLOWED = "a function that returns a compiled Keras model, or PyTorch's (model, optimizer, loss)"


@dataclass(frozen=True)
class Start:
    """What a seed starts from.

    Attributes:
        description: Network, optimizer and loss, as texts that are the same in every process.
        weights: A hash of the initial weights.
        default_lr: The rate that the optimizer was made with; None if it is itself scheduled.
        versions: Of the frameworks that compute.
    """

    description: dict[str, str]
    weights: str
    default_lr: float | None
    versions: dict[str, str]


class Learner(Protocol):
    """Trains one network at a time; the seed decides its weights and all else that is random."""

    def seeded(self, seed: int) -> AbstractContextManager[None]:
        """Seeds the global generators for a run, and gives them back after it."""
        ...

    def start(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Start:
        """Says what a seed starts from; `x` and `y` are rows to build the network for."""
        ...

    def range_test(
        self, seed: int, x: NDArray[Any], y: NDArray[Any], **options: Any
    ) -> RangeTestResult:
        """Runs a range test on rows, with the network of a seed."""
        ...

    def begin(self, seed: int, schedule: Schedule, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Begins a run: the seed's own weights, a new optimizer, the schedule at step 0.

        Called inside `seeded`. Rows of one batch are given to compile the step with.
        """
        ...

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """Trains on rows in the order given, a step for each batch; returns the mean loss."""
        ...

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """The outputs for rows, as the network is used: in evaluation mode."""
        ...

    def evaluate(self, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """The loss of rows, as "loss" and first, and the metrics by their names."""
        ...

    def save(self, path: Path) -> None:
        """Saves the network of the run begun last."""
        ...


def make_learner(make_model: MakeModel, batch_size: int) -> Learner:
    """Chooses the framework by what `make_model` returns; the model made for it is let go.

    Raises:
        ValueError: It is no function, or returns neither a compiled Keras model nor
            `(model, optimizer, loss)` of PyTorch.
    """
    if not callable(make_model):
        raise bad_argument("make_model", _ALLOWED, make_model)
    from cyclerate._randomness import remember_global_randomness

    put_back = remember_global_randomness()
    try:
        made = call(make_model, 0)
    finally:
        put_back()
    if is_torch(made):
        from cyclerate.compare._torch_learner import TorchLearner

        return TorchLearner(make_model, batch_size)
    if "keras" in sys.modules:
        from cyclerate.compare._keras_learner import KerasLearner

        if isinstance(made, sys.modules["keras"].Model):
            return KerasLearner(make_model, batch_size)
    raise bad_argument("make_model", _ALLOWED, made)


def is_torch(made: Any) -> bool:
    """Whether this is `(model, optimizer, loss)` of PyTorch."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(made, tuple) or len(made) != 3:
        return False
    module, optimizer, loss = made
    return (
        isinstance(module, torch.nn.Module)
        and isinstance(optimizer, torch.optim.Optimizer)
        and callable(loss)
    )


def call(make_model: MakeModel, seed: int) -> Any:
    """Calls it with the seed if it takes an argument that has no default, or one named `seed`."""
    try:
        parameters = inspect.signature(make_model).parameters.values()
    except (TypeError, ValueError):
        return make_model()
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [p for p in parameters if p.name == "seed" or p.default is p.empty]
    if not any(p.name == "seed" or p.kind in by_place for p in wanted):
        return make_model()
    return make_model(seed=seed) if any(p.name == "seed" for p in wanted) else make_model(seed)


def spelled(thing: Any) -> str:
    """A text for a loss, a metric or a layer that is the same in every process.

    >>> spelled("mse"), spelled(sum), spelled([None, "mae"])
    ('mse', 'builtins.sum', "['none', 'mae']")
    """
    if thing is None or isinstance(thing, str):
        return thing or "none"
    if isinstance(thing, (list, tuple)):
        return str([spelled(part) for part in thing])
    if isinstance(thing, dict):
        return str({str(key): spelled(part) for key, part in thing.items()})
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}"
    if callable(getattr(thing, "get_config", None)):
        return f"{kind}{_config(thing)}"
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}.{thing.__qualname__}"
    text = repr(thing)
    return kind if " at 0x" in text else text


def _config(thing: Any) -> str:
    try:
        config = thing.get_config()
    except (NotImplementedError, TypeError, ValueError):
        return ""
    return str(_nameless(config))


def _nameless(value: Any) -> Any:
    """Keras numbers its names within a process: they say nothing about the thing itself."""
    if isinstance(value, dict):
        # Of a layer in a layer: what it was built with holds its name, too.
        kept = {k: v for k, v in value.items() if k not in ("name", "build_config")}
        return {str(key): _nameless(part) for key, part in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_nameless(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else spelled(value)


def framework_versions(*names: str) -> dict[str, str]:
    """Versions of the frameworks that compute."""
    return {name: str(sys.modules[name].__version__) for name in names}
