"""A fit gives the same, bit for bit, with and without a range test before it."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate.keras import _state
from cyclerate.keras._state import Snapshot, seed_all_randomness, variables_of
from tests.keras.toys import ONES, ZEROS, fit_steps, mean_of_output, one_weight, value

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 3)).astype("float32")
Y = X[:, :1] * 2 - X[:, 1:2]


class Reshuffling(keras.utils.PyDataset):
    """Reshuffles at the end of an epoch and adds noise, with a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(1)
        self.order = np.arange(48)

    @property
    def num_batches(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[16 * index : 16 * index + 16]
        return X[rows] + self.rng.normal(0, 0.01, (16, 3)).astype("float32"), Y[rows]

    def on_epoch_end(self) -> None:
        self.rng.shuffle(self.order)


def tf_dataset() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, seed=4).batch(16)


def torch_loader(seed: int | None = None) -> Any:
    import torch

    rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True, generator=generator)


DATA: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 16},
    "PyDataset": lambda: {"x": Reshuffling()},
    "tf.data": lambda: {"x": tf_dataset()},
    "DataLoader": lambda: {"x": torch_loader()},
    "DataLoader with a generator": lambda: {"x": torch_loader(seed=5)},
}

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "Adam": lambda: keras.optimizers.Adam(0.01),
    "SGD": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "scheduled": lambda: keras.optimizers.SGD(
        ck.as_schedule(cr.Triangular(0.001, 0.02, step_size=3)), momentum=0.9
    ),
}


def new_model(optimizer: str, *, built: bool) -> Any:
    layers = [
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers] if built else layers)
    model.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"])
    return model


METHODS = {
    "range": {"method": "range", "steps": 12, "end_lr": 1.0},
    "probe": {"method": "probe", "steps": 12, "end_lr": 1.0, "max_steps": 42},
}


def outcome(start: str, data: str, optimizer: str, method: str | None) -> tuple[list[bytes], dict]:
    """All state, and Keras's history, of a fit that begins in the same way each time."""
    if "DataLoader" in data:
        import torch  # noqa: F401 - its generator is seeded only where it is loaded
    if data == "tf.data":
        import tensorflow as tf  # noqa: F401
    seed_all_randomness(3)
    model, fit_data = new_model(optimizer, built=start != "unbuilt"), DATA[data]()
    shuffled = {} if data in ("arrays", "PyDataset") else {"shuffle": False}
    if start == "half-trained":
        model.fit(**fit_data, **shuffled, verbose=0)
    if method is not None:
        ck.range_test(model, **fit_data, **METHODS[method])
    history = model.fit(**fit_data, **shuffled, epochs=2, verbose=0)
    return [value(variable).tobytes() for variable in variables_of(model)], history.history


@pytest.mark.parametrize(
    ("start", "data", "optimizer", "method"),
    [
        ("new", "arrays", "Adam", "range"),
        ("half-trained", "arrays", "scheduled", "probe"),
        ("unbuilt", "arrays", "SGD", "range"),
        ("half-trained", "PyDataset", "SGD", "probe"),
        ("unbuilt", "PyDataset", "Adam", "range"),
        ("half-trained", "tf.data", "Adam", "probe"),
        ("unbuilt", "tf.data", "SGD", "range"),
        ("unbuilt", "DataLoader", "Adam", "range"),
        ("half-trained", "DataLoader with a generator", "SGD", "probe"),
    ],
)
def test_a_fit_does_not_notice_the_test(start: str, data: str, optimizer: str, method: str):
    plain, plain_history = outcome(start, data, optimizer, None)
    tested, tested_history = outcome(start, data, optimizer, method)
    assert tested_history == plain_history
    assert tested == plain


def test_a_momentum_set_after_the_test_is_used_by_the_first_fit():
    def weights(*, tested: bool) -> list[bytes]:
        seed_all_randomness(3)
        model = new_model("Adam", built=True)
        if tested:
            ck.range_test(model, X, Y, batch_size=16, method="range", steps=12)
        model.optimizer.beta_1 = 0.5
        model.fit(X, Y, batch_size=16, verbose=0)
        return [value(variable).tobytes() for variable in model.weights]

    assert weights(tested=True) == weights(tested=False)


def test_the_compiled_function_stays_that_of_the_model():
    model = new_model("SGD", built=True)
    ck.range_test(model, X, Y, batch_size=16, method="range", steps=12)
    assert model.train_function is None
    model.fit(X, Y, batch_size=16, verbose=0)
    compiled = model.train_function
    ck.range_test(model, X, Y, batch_size=16, method="range", steps=12)
    assert model.train_function is compiled


def test_after_a_fit_that_broke_off_the_test_is_plain():
    def breaks_off(epoch: int, logs: Any) -> None:
        raise KeyboardInterrupt

    model = one_weight(keras.optimizers.SGD(), mean_of_output)
    cycle = ck.ScheduleCallback(cr.Constant(0.125))
    with pytest.raises(KeyboardInterrupt):
        fit_steps(model, 1, cycle, keras.callbacks.LambdaCallback(on_epoch_end=breaks_off))
    result = ck.range_test(model, ONES, ZEROS, method="range", steps=10, start_lr=0.01, end_lr=0.1)
    before = 0.875 - np.concatenate([[0.0], np.cumsum(result.lrs)[:-1]])
    np.testing.assert_allclose(result.losses, before, rtol=1e-5)
    assert cycle.history["learning_rate"] == [0.125]
    assert "make_train_function" not in vars(model)


def test_a_broken_weight_is_given_back_as_broken():
    model = new_model("SGD", built=True)
    kernel = model.layers[-1].kernel
    kernel.assign(keras.ops.full(kernel.shape, float("nan")))
    result = ck.range_test(model, X, Y, batch_size=16, steps=12, max_steps=42)
    assert result.stop_reason is cr.StopReason.NON_FINITE
    assert np.isnan(value(kernel)).all()
    assert result.max_lr is None


def test_a_fault_while_restoring_leaves_nothing_else_undone(monkeypatch: pytest.MonkeyPatch):
    """The weights cannot be restored; rate, attributes and random numbers still are."""
    model = one_weight(keras.optimizers.SGD(ck.as_schedule(cr.Constant(0.1))))
    fit_steps(model, 1)  # builds all there is
    own, before = model.optimizer._learning_rate, dict(vars(model))
    seed_all_randomness(5)
    expected = np.random.uniform()  # noqa: NPY002
    seed_all_randomness(5)

    def fail(snapshot: Snapshot, *, again: bool = False) -> None:
        raise OSError("no more memory")

    monkeypatch.setattr(Snapshot, "put_back", fail)
    with pytest.raises(OSError, match="no more memory"):
        ck.range_test(model, ONES, ZEROS, batch_size=4, method="range", steps=10)
    assert model.optimizer._learning_rate is own
    assert sorted(vars(model)) == sorted(before)
    assert model.train_function is before["train_function"]
    assert np.random.uniform() == expected  # noqa: NPY002


class Zeroed(keras.Model):
    """Has a step of its own, which may do with the gradients of the step before what it likes."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


class FullDisk:
    """A file on a disk without room."""

    def __init__(self, **_: Any) -> None:
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def tell(self) -> int:
        return 0

    def write(self, _: Any) -> int:
        raise OSError("no room")


@pytest.mark.keras_backend
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others leave no gradients")
@pytest.mark.parametrize("method", ["range", "probe"])
@pytest.mark.parametrize("where", ["file", "full disk", "own step"])
def test_large_gradients_of_the_last_fit_wait_elsewhere(
    where: str, method: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_state, "_LARGE_BYTES", 1)
    if where == "full disk":
        monkeypatch.setattr(tempfile, "TemporaryFile", FullDisk)
    alive: list[bool] = []
    latest: list[Any] = []

    def loss_fn(target: Any, output: Any) -> Any:
        alive.extend(gradient() is not None for gradient in latest)
        return keras.ops.mean((output - target) ** 2)

    given = keras.Input((4, 4, 1))
    hidden = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(given))
    kind = Zeroed if where == "own step" else keras.Model
    model = kind(given, keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss_fn)
    x = RNG.normal(size=(32, 4, 4, 1)).astype("float32")
    model.fit(x, x.sum((1, 2, 3)), batch_size=8, verbose=0)
    parameters: list[Any] = [v.value for v in model.trainable_variables]
    weights = [p.detach().clone() for p in parameters]
    gradients = [p.grad.clone() for p in parameters]
    strides = [p.grad.stride() for p in parameters]
    latest += [weakref.ref(p.grad) for p in parameters]
    ck.range_test(model, x, x.sum((1, 2, 3)), batch_size=8, method=method, verbose=0)
    assert all(p.grad.equal(old) for p, old in zip(parameters, gradients, strict=True))
    assert all(p.equal(old) for p, old in zip(parameters, weights, strict=True))
    assert [p.grad.stride() for p in parameters] == strides
    assert len(alive) > 10
    assert any(alive) is (where != "file")
