"""Trains a Keras model, compiled by its user, by any schedule."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError
from cyclerate.compare._learner import Start, call, framework_versions, spelled
from cyclerate.compare._plain import digest
from cyclerate.keras import as_schedule, range_test
from cyclerate.keras._data import borrow
from cyclerate.keras._finder import check_model
from cyclerate.keras._internals import innermost, rate_of
from cyclerate.keras._state import remember_all_randomness, seed_all_randomness
from cyclerate.keras._step import build
from cyclerate.schedules import Schedule

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

_CHUNK_ROWS = 1024


@dataclass
class KerasLearner:
    """Trains what `make_model` returns; a `cyclerate.compare._learner.Learner`.

    The rate is part of the compiled step. A schedule is compiled once and serves all its seeds: the
    model is rewound to the variables that the seed's own model begins with.

    Attributes:
        make_model: Returns a compiled model.
        batch_size: Rows in a step.
    """

    make_model: Callable[..., Any]
    batch_size: int
    _ready: tuple[Schedule, Any, list[Any]] | None = field(default=None, init=False, repr=False)
    _initial: dict[int, list[Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def model(self) -> Any:
        """The model of the run begun last.

        Raises:
            CyclerateError: None has been begun.
        """
        if self._ready is None:
            raise CyclerateError("no cell has been trained yet, so there is no network to save.")
        return self._ready[1]

    @contextmanager
    def seeded(self, seed: int) -> Generator[None]:
        """Seeds the global generators for a run, and gives them back after it."""
        put_back = remember_all_randomness()
        try:
            seed_all_randomness(seed)
            yield
        finally:
            put_back()

    def start(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Start:
        """Says what a seed starts from."""
        with self.seeded(seed):
            model = self._made(seed, x, y)
        description = {
            "network": digest([spelled(layer).encode() for layer in model.layers]),
            "optimizer": spelled(model.optimizer),
            "loss": spelled(model.loss),
            "metrics": spelled([metric.name for metric in model.metrics]),
        }
        rate = rate_of(innermost(model.optimizer))
        scheduled = not isinstance(rate, keras.Variable)
        # The optimizer keeps it as a float32; the seven digits it has are what was written.
        default = None if scheduled else float(f"{float(_numpy(rate)):.7g}")
        weights = digest(map(_numpy, model.variables))
        return Start(
            description, weights, default, framework_versions("keras", keras.backend.backend())
        )

    def range_test(
        self, seed: int, x: NDArray[Any], y: NDArray[Any], **options: Any
    ) -> RangeTestResult:
        """Runs a range test on rows, with the network of a seed."""
        with self.seeded(seed):
            model = self._made(seed, x, y)
        settings: dict[str, Any] = {"batch_size": self.batch_size, "verbose": 0, "seed": seed}
        return range_test(model, x, y, **{**settings, **options})

    def begin(self, seed: int, schedule: Schedule, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Begins a run; compiles the step, outside the time that is measured."""
        if seed not in self._initial or self._ready is None or self._ready[0] != schedule:
            model = self._made(seed, x, y)
            self._initial[seed] = [_numpy(variable) for variable in model.variables]
            if self._ready is None or self._ready[0] != schedule:
                innermost(model.optimizer).learning_rate = as_schedule(schedule)
                fresh = [_numpy(variable) for variable in model.optimizer.variables]
                self._ready = (schedule, model, fresh)
                self.fit(x, y)
        _, model, fresh = self._ready
        for variable, value in zip(model.variables, self._initial[seed], strict=True):
            variable.assign(value)
        for variable, value in zip(model.optimizer.variables, fresh, strict=True):
            variable.assign(value)
        seed_all_randomness(seed)

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """Trains on rows in the order given, a step for each batch; returns the mean loss."""
        history = self.model.fit(x, y, batch_size=self.batch_size, shuffle=False, verbose=0)
        return float(history.history["loss"][-1])

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """The outputs for rows, in evaluation mode."""
        rows = self._chunk_rows(len(x))
        chunks = [x[i : i + rows] for i in range(0, len(x), rows)]
        parts = [_numpy(self.model.predict_on_batch(chunk)) for chunk in chunks]
        return np.concatenate(parts).astype(np.float64)

    def evaluate(self, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """The loss of rows and the metrics that the model was compiled with."""
        rows = self._chunk_rows(len(x))
        values = self.model.evaluate(x, y, batch_size=rows, verbose=0, return_dict=True)
        return {name: float(value) for name, value in values.items()}

    def save(self, path: Path) -> None:
        """Saves the model as Keras does, in one step."""
        temporary = path.with_name(f".{path.stem}.part.keras")
        self.model.save(temporary)
        temporary.replace(path)

    def _chunk_rows(self, rows: int) -> int:
        """Chunks of equal size, if it can be: another size is compiled anew."""
        most = max(self.batch_size, _CHUNK_ROWS)
        return -(-rows // -(-rows // most))

    def _made(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Any:
        model = call(self.make_model, seed)
        check_model(model)
        build(model, borrow(x, y, batch_size=self.batch_size))
        return model


def _numpy(variable: Any) -> NDArray[Any]:
    """A copy: on some backends a plain view would change with the variable."""
    return np.array(keras.ops.convert_to_numpy(variable))
