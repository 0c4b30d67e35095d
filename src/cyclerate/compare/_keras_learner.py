"""Trains a Keras model by any schedule: as its user compiled it, or for an objective of ours."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError, check_choice
from cyclerate._files import replacing
from cyclerate._plain import digest, versions_of
from cyclerate.compare._learner import Start, call, in_words, spelled
from cyclerate.compare._networks import OPTIMIZERS, Objective, keras_loss, make_optimizer
from cyclerate.compare._record import ModelInfo
from cyclerate.cycles._how_long import HowLong
from cyclerate.keras import as_schedule, how_long, range_test
from cyclerate.keras._data import borrow, in_a_pipeline
from cyclerate.keras._internals import check_model, innermost, rate_of
from cyclerate.keras._state import remember_all_randomness, seed_all_randomness
from cyclerate.keras._step import build
from cyclerate.schedules import Schedule

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

_CHUNK_ROWS = 1024


@dataclass
class KerasLearner:
    """Trains what `make_model` returns; a `Learner`.

    The rate is part of the compiled step. A schedule is compiled once and serves all its seeds: the
    model is rewound to the variables that the seed's own model begins with.
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
        put_back = remember_all_randomness()
        try:
            seed_all_randomness(seed)
            yield
        finally:
            put_back()

    def fresh(self) -> KerasLearner:
        return replace(self)

    def start(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Start:
        with self.seeded(seed):
            model = self._made(seed, x, y)
        weights = digest(map(_numpy, model.variables))
        versions = versions_of("keras", keras.backend.backend())
        return Start(
            self.settings(model), weights, default_rate(model), versions, self.describe(model)
        )

    def settings(self, model: Any) -> dict[str, Any]:
        """All of a model that decides its training, but for its weights."""
        return {
            "network": digest([spelled(layer).encode() for layer in model.layers]),
            "optimizer": spelled(model.optimizer),
            "loss": spelled(model.loss),
            "metrics": spelled([metric.name for metric in model.metrics]),
        }

    def describe(self, model: Any) -> ModelInfo:
        layers, config = len(model.layers), optimizer_config(model.optimizer)
        return ModelInfo(
            description=f"{type(model).__name__} of {layers} layer{'' if layers == 1 else 's'}",
            parameters=int(model.count_params()),
            optimizer=in_words(config),
            loss=_loss_name(model.loss),
            batch_size=self.batch_size,
            optimizer_config=config,
        )

    def range_test(
        self, seed: int, x: NDArray[Any], y: NDArray[Any], **options: Any
    ) -> RangeTestResult:
        with self.seeded(seed):
            model = self._made(seed, x, y)
        settings: dict[str, Any] = {"batch_size": self.batch_size, "verbose": 0, "seed": seed}
        return range_test(model, x, self.targets(y), **{**settings, **options})

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

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """The targets as the model takes them."""
        return y

    def fit(
        self, x: NDArray[Any], y: NDArray[Any], after: Callable[[int], None] | None = None
    ) -> float:
        data = in_a_pipeline({"x": x, "y": self.targets(y), "batch_size": self.batch_size})
        history = self.model.fit(
            **data,
            shuffle=False,
            verbose=0,
            callbacks=None if after is None else [_After(after)],
        )
        return float(history.history["loss"][-1])

    def predict(self, x: NDArray[Any]) -> NDArray[np.float64]:
        return self._outputs(self.model, x)

    def _outputs(self, model: Any, x: NDArray[Any]) -> NDArray[np.float64]:
        rows = self._chunk_rows(len(x))
        chunks = [x[i : i + rows] for i in range(0, len(x), rows)]
        parts = [_numpy(model.predict_on_batch(chunk)) for chunk in chunks]
        return np.concatenate(parts).astype(np.float64)

    def evaluate(self, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """The loss of rows and the metrics that the model was compiled with."""
        rows = self._chunk_rows(len(x))
        data = in_a_pipeline({"x": x, "y": y, "batch_size": rows})
        values = self.model.evaluate(**data, verbose=0, return_dict=True)
        return {name: float(value) for name, value in values.items()}

    def save(self, path: Path) -> None:
        """Saves the model as Keras does, in one step."""
        with replacing(path) as temporary:
            self.model.save(temporary)

    def _chunk_rows(self, rows: int) -> int:
        """Chunks of equal size, if it can be: another size is compiled again."""
        most = max(self.batch_size, _CHUNK_ROWS)
        return -(-rows // -(-rows // most))

    def _made(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Any:
        model = call(self.make_model, seed)
        check_model(model)
        build(model, borrow(x, self.targets(y), batch_size=self.batch_size))
        return model


class _After(keras.callbacks.Callback):
    """Tells of each step; the step does not wait for that."""

    async_safe = True

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._tell = tell

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._tell(batch + 1)


def _numpy(variable: Any) -> NDArray[Any]:
    """A copy: on some backends a plain view would change with the variable."""
    return np.array(keras.ops.convert_to_numpy(variable))


@dataclass
class ObjectiveLearner(KerasLearner):
    """Trains networks with logits for outputs, judged in float64 by an objective of ours."""

    objective: Objective = field(kw_only=True)
    words: str = field(default="", kw_only=True)
    _start: Start | None = field(default=None, init=False, repr=False)

    def start(self, seed: int, x: NDArray[Any], y: NDArray[Any]) -> Start:
        """Says what a seed starts from; the network of seed 0 stands for all, built by one rule."""
        if self._start is None:
            self._start = super().start(0, x, y)
        return self._start

    def settings(self, model: Any) -> dict[str, Any]:
        """All that decides its training and its judgement, but for its weights."""
        judged = [self.objective.loss_name, self.objective.metric, self.objective.scale]
        return {**super().settings(model), "objective": judged}

    def describe(self, model: Any) -> ModelInfo:
        made = super().describe(model)
        words = self.words or made.description
        return replace(made, description=words, loss=self.objective.loss_name)

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """Classes as they are, one number for each row as a column."""
        return y if self.objective.outputs > 1 else y.astype(np.float32)[:, None]

    def evaluate(self, x: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """The objective's loss of rows, and its metric."""
        outputs, goal = self.predict(x), self.objective
        return {"loss": goal.loss(outputs, y), goal.metric: goal.score(outputs, y)}

    def how_long(
        self,
        seed: int,
        train: tuple[NDArray[Any], NDArray[Any]],
        heldout: tuple[NDArray[Any], NDArray[Any]],
        watch: Callable[[], None],
        **options: Any,
    ) -> HowLong:
        """Trains a seed's network in cycles that double, and measures the objective's metric.

        Args:
            seed: Of the weights, and of all else that is random.
            train: Rows to train on.
            heldout: Rows that the curve is about.
            watch: Called after every step.
            **options: Of `cyclerate.keras.how_long`.
        """
        with self.seeded(seed):
            model, name = self._made(seed, *train), f"val_{self.objective.metric}"

        def judge(epoch: int, logs: dict[str, float]) -> None:  # noqa: ARG001 - as Keras calls it
            logs[name] = self.objective.score(self._outputs(model, heldout[0]), heldout[1])

        def count(batch: int, logs: Any) -> None:  # noqa: ARG001
            watch()

        watching = keras.callbacks.LambdaCallback(on_epoch_end=judge, on_train_batch_end=count)
        return how_long(
            model,
            train[0],
            self.targets(train[1]),
            batch_size=self.batch_size,
            validation_data=(heldout[0], self.targets(heldout[1])),
            metric=name,
            seed=seed,
            callbacks=[watching],
            verbose=0,
            **options,
        )

    def save(self, path: Path) -> None:
        """Saves the network trained last, giving probabilities (or the standardised number).

        It is saved without its optimizer, so that Keras alone can load it.
        """
        layers = [keras.Input(self.model.input_shape[1:]), *self.model.layers]
        last = {"binary_crossentropy": "sigmoid", "sparse_categorical_crossentropy": "softmax"}
        if activation := last.get(self.objective.loss_name):
            layers.append(keras.layers.Activation(activation))
        with replacing(path) as temporary:
            keras.Sequential(layers).save(temporary)


def objective_learner(
    build: Callable[[int], Any],
    objective: Objective,
    batch_size: int,
    *,
    optimizer: str = "sgd",
    metrics: tuple[str, ...] = (),
    words: str = "",
) -> ObjectiveLearner:
    """Makes the learner of networks that `build` builds from a seed.

    Args:
        build: Gives the network the seed's weights, and leaves global random state alone.
        objective: Loss and metric; the network's outputs are those that it names.
        batch_size: Rows in a step.
        optimizer: A name in `OPTIMIZERS`.
        metrics: What Keras measures in training besides the loss; a range test can record it.
        words: The network, for people.
    """
    check_choice("optimizer", optimizer, OPTIMIZERS)

    def compiled(seed: int) -> Any:
        model = build(seed)
        loss = keras_loss(objective.loss_name)
        model.compile(make_optimizer(optimizer), loss=loss, metrics=list(metrics))
        return model

    return ObjectiveLearner(compiled, batch_size, objective=objective, words=words)


def default_rate(model: Any) -> float | None:
    """Returns the rate that its optimizer came with; None if that is itself scheduled."""
    rate = rate_of(innermost(model.optimizer))
    if not isinstance(rate, keras.Variable):
        return None
    # The optimizer keeps it as a float32; the seven digits it has are what was written.
    return float(f"{float(_numpy(rate)):.7g}")


def optimizer_config(optimizer: Any) -> dict[str, Any]:
    """The class, and its plain settings that are not its defaults."""
    inner = innermost(optimizer)
    kind = type(inner)
    config: dict[str, Any] = {"framework": "keras", "class": kind.__name__, "settings": {}}
    if getattr(keras.optimizers, kind.__name__, None) is kind:
        usual, own = kind().get_config(), inner.get_config()
        config["settings"] = {
            key: value
            for key, value in own.items()
            if key not in ("name", "learning_rate") and value != usual.get(key)
        }
    return config


def _loss_name(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or spelled(loss))
