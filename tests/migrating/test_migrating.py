"""Every row of docs/from-*.md is run: theirs beside ours, and each fact of the last column.

A cell of code is Python. What is installed (PyTorch, Keras, Optax) is run itself; of the others
`formulas` has what they do, under their names. docs/migrating.md says how the last column is to be
read, and has the numbers that the rows use.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from tests.migrating import formulas
from tests.one_thread import one_thread
from tests.pages import blocks
from tests.source import ROOT

pytest.importorskip("torch")
pytest.importorskip("optax")

NUMBERS = ROOT / "docs" / "migrating.md"
PAGES = sorted((ROOT / "docs").glob("from-*.md"))
STEPS = 401  # twice the training of the page, and its end
CODE = re.compile(r"`([^`]+)`")
VERDICT = re.compile(
    r"(?P<same>nothing)(?P<training> within the training)?"
    r"|from step (?P<step>\d+) on"
    r"|up to (?P<percent>[\d.]+) %"
)
MODULES = {
    "optax": "optax",
    "ck": "cyclerate.keras",
    "cl": "cyclerate.lightning",
    "ctr": "cyclerate.transformers",
}
STATEFUL = ("optimizer", "three_groups", "model", "model_optimizer", "test")


@dataclass(frozen=True)
class Row:
    """One row: the code of theirs, the code of ours (None: there is none), and the last cell."""

    section: str
    line: int
    theirs: str
    ours: str | None
    differs: str

    @property
    def facts(self) -> list[str]:
        """The code of the last column that speaks of the two."""
        return [
            code for code in CODE.findall(self.differs) if re.search(r"\b(theirs|ours)\b", code)
        ]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def read_rows(text: str) -> list[Row]:
    """The rows of all tables that begin with a column "theirs"."""
    found, section, inside = [], "", False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            section = line.lstrip("# ")
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        inside = line.startswith("| theirs") or (inside and line.startswith("|"))
        if inside and not line.startswith(("| theirs", "|--")):
            theirs, ours, differs = cells
            code = CODE.fullmatch(ours)
            assert code or ours == "none", f"line {number}: {ours}"
            found.append(Row(section, number, theirs.strip("`"), code and code[1], differs))
    return found


ROWS = [row for page in PAGES for row in read_rows(page.read_text(encoding="utf-8"))]
WITH_OURS = [row for row in ROWS if row.ours]


@cache
def page() -> dict[str, Any]:
    """What the blocks of docs/migrating.md define; those with `>>>` only show."""
    names: dict[str, Any] = {}
    for block in blocks(NUMBERS, "python"):
        if ">>>" not in block.code:
            exec(block.code, names)
    return names


def library(section: str) -> dict[str, Any]:
    """The names of theirs, as a table uses them."""
    if section == "PyTorch":
        from torch.optim import lr_scheduler

        return dict(vars(lr_scheduler))
    if section == "Keras":
        import keras

        return vars(keras.optimizers.schedules) | {
            "LearningRateScheduler": keras.callbacks.LearningRateScheduler
        }
    return {
        "Callbacks for Keras 2": formulas.CALLBACKS_FOR_KERAS_2,
        "TensorFlow Addons": formulas.TENSORFLOW_ADDONS,
        "fastai": formulas.FASTAI,
        "fastai's finder": formulas.FASTAI,
        "Lightning": formulas.LIGHTNING,
        "torch-lr-finder": formulas.TORCH_LR_FINDER,
        "timm": formulas.TIMM,
        "Transformers": formulas.TRANSFORMERS,
    }.get(section, {})


def value(code: str, names: dict[str, Any]) -> Any:
    """What a cell gives, with optimizers and a model of its own."""
    own = copy.deepcopy({name: page()[name] for name in STATEFUL if name in code})
    modules = {name: import_module(path) for name, path in MODULES.items() if f"{name}." in code}
    return eval(code, {**page(), **modules, **names, **own})


def curve(thing: Any) -> np.ndarray:
    """What `thing` sets at steps 0 to 400, or to its own end: a column for each value."""
    if isinstance(thing, np.ndarray):
        rates = thing
    elif isinstance(thing, cr.Schedule):
        rates = thing(range(STEPS))
    elif isinstance(thing, formulas.OverShare):
        rates = thing.trained()
    elif hasattr(thing, "optimizer"):
        rates = stepped(thing)
    elif hasattr(thing, "update"):
        rates = updated(thing)
    elif hasattr(thing, "on_train_batch_begin"):
        rates = fitted(thing)
    else:
        thing = compiled(thing)
        rates = [float(thing(step)) for step in range(STEPS)]
    return np.asarray(rates, float).reshape(len(rates), -1)


def compiled(schedule: Any) -> Any:
    """A schedule of Keras or Optax as a training has it: not operation by operation."""
    import jax

    formula = schedule.__module__ == formulas.__name__
    return schedule if formula else jax.jit(schedule)


def stepped(scheduler: Any) -> list[list[float]]:
    """The rates of all groups and the momentum of the first, under a scheduler of PyTorch."""
    rates: list[list[float]] = []
    groups = scheduler.optimizer.param_groups
    for _ in range(STEPS):
        rates.append([*(group["lr"] for group in groups), groups[0]["momentum"]])
        scheduler.optimizer.step()
        try:
            scheduler.step()
        except ValueError:  # OneCycleLR, after its end
            break
    return rates


def updated(transformation: Any) -> list[float]:
    """The rates in the state of `optax.inject_hyperparams`, which knows them after an update."""
    import jax

    update = jax.jit(transformation.update)
    state, rates = transformation.init(0.0), []
    for _ in range(STEPS):
        _, state = update(0.0, state, 0.0)
        rates.append(float(state.hyperparams["learning_rate"]))
    return rates


def fitted(callback: Any) -> np.ndarray:
    """The rates of a Keras training under a callback, an epoch's mean for each of its steps.

    The gradient of the one weight is 1 at every step, so it moves by the rates that were used.
    """
    import keras

    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(1.0), lambda _target, output: keras.ops.mean(output))
    steps, ones = page()["steps_per_epoch"], np.ones((page()["steps_per_epoch"], 1), "float32")
    places = [layer.get_weights()[0].item()]

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            places.append(layer.get_weights()[0].item())

    options = {"batch_size": 1, "epochs": page()["epochs"], "verbose": 0}
    model.fit(ones, ones, callbacks=[callback, Watch()], **options)
    return np.repeat(-np.diff(places) / steps, steps)


def together(theirs: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns that both have; where one has the rate alone, that of the highest group."""
    if theirs.shape[1] == ours.shape[1]:
        return theirs, ours
    columns = min(theirs.shape[1], ours.shape[1])
    return theirs[:, :columns], ours[:, :columns]


def check(verdict: re.Match[str], theirs: np.ndarray, ours: np.ndarray) -> None:
    """Compares the two curves as the last column says that they compare."""
    steps = min(len(theirs), len(ours))
    difference = np.abs(theirs[:steps] - ours[:steps]).max(axis=1)
    peak = ours.max()
    unequal = np.flatnonzero(difference > 2e-6 * peak)  # Keras and Optax compute in float32
    if verdict["same"]:
        assert verdict["training"] or steps in (STEPS, page()["total_steps"])
        assert unequal.tolist() == []
    elif verdict["step"]:
        step = int(verdict["step"])
        assert unequal.min(initial=STEPS) == step or (len(unequal) == 0 and steps <= step + 1)
    else:
        training = difference[: page()["total_steps"]]
        assert f"{100 * training.max() / peak:.1f}" == verdict["percent"]


def columns_as_read(values: np.ndarray) -> np.ndarray:
    return values[:, 0] if values.shape[1] == 1 else values


@pytest.mark.parametrize("row", WITH_OURS, ids=lambda row: f"{row.section} line {row.line}")
def test_a_row_does_what_it_says(row: Row):
    assert row.ours
    verdict = VERDICT.match(row.differs)
    assert verdict or row.facts, "nothing that could be checked"
    names = library(row.section)
    ours = value(row.ours, {})
    theirs = None
    if verdict or any("theirs" in fact for fact in row.facts):
        theirs = value(row.theirs, names)
    if verdict:
        theirs, ours = together(curve(theirs), curve(ours))
        check(verdict, theirs, ours)
        theirs, ours = columns_as_read(theirs), columns_as_read(ours)
    for fact in row.facts:
        assert eval(fact, {**page(), "theirs": theirs, "ours": ours}), fact
