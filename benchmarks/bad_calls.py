"""Wrong values for every argument of every public name: refused by that name, or right.

    python -m benchmarks.bad_calls [--only torch keras] [--calls N] [--seed 0] [--page]

Each call is one that works, with one argument replaced. `--page` writes the counts into
docs/reliability.md: those of all groups, or of some on the backend that is set.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import functools
import importlib
import inspect
import io
import os
import re
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cyclerate as cr
from benchmarks._page import counted, write_generated
from cyclerate._errors import CyclerateError

SLOW_SECONDS, MUCH_MIB, MOST_SECONDS = 2.0, 200, 120
_OURS = re.compile(r" must be |^keys of |holds no ")
OUTCOMES = ("refused", "right", "model's own", "wrong name", "foreign", "changed", "slow", "large")
_BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
SCHEDULE = cr.Triangular(0.01, 0.08, 10)


class Odd:
    """An object that nobody expects."""

    def __repr__(self) -> str:
        return "Odd()"


class Unhashable:
    """Equal to nothing, and not to be looked up."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


def hostile() -> dict[str, Any]:
    """The wrong values, by what they are called."""
    values: dict[str, Any] = {
        "None": None, "NaN": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "-1": -1,
        "0": 0, "0.5": 0.5, "10**400": 10**400, "1e308": 1e308, "2**63": 2**63, "2**32": 2**32,
        "''": "", "'nope'": "nope", "b'x'": b"x", "set": {1, 2}, "dict": {"a": 1}, "[]": [],
        "['a']": ["a"], "array": np.arange(6.0).reshape(2, 3), "empty array": np.array([]),
        "mask": np.array([True, False]), "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
        "text array": np.array(["a", "b"]), "object array": np.array([None, {}], dtype=object),
        "complex": 1 + 2j, "True": True, "False": False, "dtype": np.dtype("float32"),
        "type": int, "lambda": lambda: None, "Odd": Odd(), "unhashable": Unhashable(),
        "np.float32": np.float32(0.5), "np.bool": np.bool_(True), "datetime": np.datetime64("now"),
        "range": range(3), "schedule": cr.Constant(0.1), "module": np,
    }  # fmt: skip
    with contextlib.suppress(ImportError):
        import pandas as pd

        frame = pd.DataFrame({"a": [1.0, None], "b": ["x", "y"]})
        values |= {"frame": frame, "series": frame["a"], "NA": pd.NA, "NaT": pd.NaT}
    with contextlib.suppress(ImportError):
        import torch

        values |= {"tensor": torch.ones(2, 2), "torch dtype": torch.float32}
    return values


@dataclass(frozen=True)
class Entry:
    """A public name, and the arguments of a call that works."""

    name: str
    function: Callable[..., Any]
    good: Callable[[], dict[str, Any]]
    watched: Callable[[dict[str, Any]], Any] = lambda arguments: None
    """What of the arguments of a call must be as before if it is refused."""

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters, and of those of its good call that `**kwargs` takes."""
        kinds = inspect.Parameter
        parameters = inspect.signature(self.function).parameters.values()
        variable = (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        named = [p.name for p in parameters if p.kind not in variable]
        return list(dict.fromkeys([*named, *self.good()]))


def _core() -> Iterator[Entry]:
    with contextlib.suppress(ImportError):
        importlib.import_module("matplotlib.pyplot")  # its own time is not a call's
    cycle = {"base_lr": 0.1, "max_lr": 1.0, "step_size": 5}
    ramp = {"start": 0.1, "end": 1.0, "steps": 5}
    goods: dict[str, dict[str, Any]] = {
        "Constant": {"value": 0.1},
        **dict.fromkeys(("Linear", "Exponential", "Cosine", "Polynomial"), ramp),
        **dict.fromkeys(("Triangular", "Triangular2", "Cyclic"), cycle),
        "ExpRange": {**cycle, "gamma": 0.9},
        "OneCycle": {"max_lr": 1.0, "total_steps": 20},
        "CosLog": {"max_lr": 1.0, "total_steps": 20},
        "WarmRestarts": {"max_lr": 1.0, "cycle_steps": 20},
        "WarmupStableDecay": {"max_lr": 1.0, "total_steps": 20},
        "Sequence": {"schedules": [cr.Constant(0.1), cr.Constant(0.2)], "boundaries": [5]},
        "from_dict": {"values": SCHEDULE.to_dict()},
        "fge_schedule": {"max_lr": 1.0, "min_lr": 0.1, "cycle_steps": 20},
        "RangeTest": {},
        "Sweep": {},
        "scale_lr": {"lr": 0.1, "batch_size": 32, "new_batch_size": 64, "rule": "linear"},
    }
    for name, good in goods.items():
        yield Entry(f"cyclerate.{name}", getattr(cr, name), lambda good=good: dict(good))
    methods = {"__call__": {"step": 3}, "mirrored": {"low": 0.8, "high": 0.9}, "plot": {"steps": 9}}
    for name, good in methods.items():
        method = getattr(SCHEDULE, name)
        yield Entry(f"cyclerate.Schedule.{name}", method, lambda good=good: dict(good))


def _finder() -> Iterator[Entry]:
    from cyclerate import finder

    goods: dict[str, dict[str, Any]] = {
        "RangeTestSettings": {},
        "RecommendationSettings": {"budget_steps": 1000},
        "Race": {"lrs": [0.1, 0.2]},
        "Probe": {},
        "PolicyRace": {"policy": "constant", "max_lr": 0.1, "score": 0.5},
    }
    for name, good in goods.items():
        yield Entry(f"cyclerate.finder.{name}", getattr(finder, name), lambda good=good: dict(good))


def _torch() -> Iterator[Entry]:
    import torch
    from torch import nn

    import cyclerate.torch as ct

    folder = tempfile.mkdtemp()
    torch.manual_seed(0)
    x = torch.randn(32, 3)
    data = (x, x.sum(1, keepdim=True))

    def training() -> dict[str, Any]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        told = {"data": data, "loss_fn": nn.functional.mse_loss}
        return {"model": model, "optimizer": optimizer, **told}

    def grouped() -> torch.optim.Optimizer:
        model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        return torch.optim.SGD(ct.layer_groups(model, lr=0.1), lr=0.1)

    def only(*names: str, **more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {name: training()[name] for name in names} | copy.copy(more)

    def of(**more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {**training(), "batch_size": 8, "verbose": 0, **more}

    def weights(arguments: dict[str, Any]) -> Any:
        kept = (arguments.get(name) for name in ("model", "optimizer"))
        return [str(part.state_dict()) for part in kept if hasattr(part, "state_dict")]

    def stepping(name: str, **more: Any) -> Callable[..., Any]:
        made = getattr(ct, name)
        names = ("model", "optimizer") if name == "SelfFindingCycle" else ("optimizer",)
        given = training()
        return made(**{n: given[n] for n in names}, **more).step

    cycles = {"schedule": SCHEDULE, "total_steps": 60}
    options = dict.fromkeys(
        ("forward", "scaler", "autocast", "clip_grad_norm", "device", "score_fn"), None
    )
    options |= {"accumulation_steps": 1}
    goods: dict[str, Callable[[], dict[str, Any]]] = {
        "range_test": of(method="range", steps=10),
        "recommend": of(budget_steps=80),
        "fit_one_cycle": of(epochs=1, max_lr=0.1, **options),
        "fit_cycles": of(cycles=3, max_lr=0.1),
        "ScheduledLR": only("optimizer", lr=SCHEDULE),
        "SelfFindingCycle": only("model", "optimizer", total_steps=100),
        "CycleEarlyStopping": only("model", **cycles),
        "DivergenceGuard": lambda: {"states": [training()["model"]], **cycles},
        "layer_groups": only("model", lr=0.1),
        "GradualUnfreezing": lambda: {"optimizer": grouped(), "every_steps": 5},
        "SnapshotEnsemble": lambda: {
            "folder": tempfile.mkdtemp(dir=folder),
            "model": training()["model"],
            **cycles,
        },
        "WeightAveraging": only("model", **cycles),
    }
    for name, good in goods.items():
        yield Entry(f"cyclerate.torch.{name}", getattr(ct, name), good, weights)
    step = stepping("ScheduledLR", lr=SCHEDULE)
    yield Entry("cyclerate.torch.ScheduledLR.step", step, lambda: {"epoch": None})
    loss = stepping("SelfFindingCycle", total_steps=10**6)
    yield Entry("cyclerate.torch.SelfFindingCycle.step", loss, lambda: {"loss": 1.0})


def _keras() -> Iterator[Entry]:
    import keras

    import cyclerate.keras as ck

    keras.config.disable_traceback_filtering()  # it hides who raised an error
    keras.utils.set_random_seed(0)
    folder = tempfile.mkdtemp()
    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    start = model.get_weights()

    def of(**more: Any) -> Callable[[], dict[str, Any]]:
        def good() -> dict[str, Any]:
            model.set_weights(start)
            return {"model": model, "x": x, "y": x.sum(1), **more}

        return good

    def weights(_: dict[str, Any]) -> Any:
        return [weight.tobytes() for weight in model.get_weights()]

    quiet = {"batch_size": 8, "verbose": 0}
    trained: dict[str, Callable[[], dict[str, Any]]] = {
        "range_test": of(method="range", steps=10, **quiet),
        "recommend": of(budget_steps=80, **quiet),
        "fit_one_cycle": of(epochs=1, max_lr=0.1, **quiet),
        "fit_cycles": of(cycles=3, max_lr=0.1, **quiet),
        "lr_find": of(num_it=10, batch_size=8),
        "update_batch_norm": lambda: {"model": model, "x": x},
    }
    for name, good in trained.items():
        yield Entry(f"cyclerate.keras.{name}", getattr(ck, name), good, weights)
    old = {"initial_learning_rate": 0.1, "maximal_learning_rate": 0.4, "step_size": 5}
    goods: dict[str, dict[str, Any]] = {
        "as_schedule": {"schedule": SCHEDULE},
        "ScheduleCallback": {"lr": SCHEDULE},
        "SelfFindingCycle": {"total_steps": 100},
        "CycleEarlyStopping": {},
        "CycleCheckpoint": {"path": f"{folder}/best.keras"},
        "DivergenceGuard": {},
        "LayerRates": {},
        "SnapshotEnsemble": {"folder": f"{folder}/ensemble"},
        "WeightAveraging": {},
        "CyclicLR": {},
        "LRFinder": {"min_lr": 1e-5, "max_lr": 1.0},
        "ExponentialLearningRate": {"factor": 1.1},
        "OneCycleScheduler": {"iterations": 20, "max_rate": 0.1},
        "CyclicalLearningRate": {**old, "scale_fn": lambda cycle: 1.0},
        "TriangularCyclicalLearningRate": old,
        "Triangular2CyclicalLearningRate": old,
        "ExponentialCyclicalLearningRate": old,
    }
    for name, good in goods.items():
        yield Entry(f"cyclerate.keras.{name}", getattr(ck, name), lambda good=good: dict(good))


def _optax() -> Iterator[Entry]:
    import optax

    import cyclerate.optax as co

    x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
    params = np.zeros(3, "float32")

    def loss_fn(params: Any, batch: Any) -> Any:
        return ((batch[0] @ params - batch[1]) ** 2).mean()

    given = {"loss_fn": loss_fn, "params": params, "make_optimizer": optax.sgd}
    full = {**given, "data": (x, x.sum(1)), "batch_size": 8, "verbose": 0}
    goods: dict[str, dict[str, Any]] = {
        "range_test": {**full, "method": "range", "steps": 10},
        "recommend": {**full, "budget_steps": 80},
        "fit_one_cycle": {**full, "epochs": 1, "max_lr": 0.1},
        "CycleTraining": {**given, "total_steps": 20},
    }
    for name, good in goods.items():
        made = getattr(co, name)
        watched = lambda arguments: params.tobytes()  # noqa: E731
        yield Entry(f"cyclerate.optax.{name}", made, lambda good=good: dict(good), watched)


def _trainers() -> Iterator[Entry]:
    for module in ("lightning", "transformers"):
        with contextlib.suppress(ImportError):
            part = importlib.import_module(f"cyclerate.{module}")
            for name in ("RangeTestCallback", "SelfFindingCycle"):
                yield Entry(f"cyclerate.{module}.{name}", getattr(part, name), dict)


def _tables() -> Iterator[Entry]:
    import pandas as pd

    import cyclerate.sklearn as cs
    from cyclerate import compare, tables
    from tests.compare.small import compared, make_model

    rows = pd.DataFrame({"hours": [1.0, 7.0, 5.0, 3.0] * 8, "passed": ["no", "yes"] * 16})
    path = Path(tempfile.mkdtemp()) / "exams.csv"
    rows.to_csv(path, index=False)
    frame = {"frame": rows, "target": "passed", "name": "exams"}
    yield Entry("cyclerate.tables.prepare", tables.prepare, lambda: dict(frame))
    kept = {"path": path, "target": "passed"}
    yield Entry("cyclerate.tables.load_csv", tables.load_csv, lambda: dict(kept))
    ready = tables.prepare(**frame).preprocessing
    yield Entry("cyclerate.tables.Preprocessing.features", ready.features, lambda: {"rows": rows})
    load = tables.Preprocessing.load
    saved = ready.save(path.with_name("preprocessing.json"))
    yield Entry("cyclerate.tables.Preprocessing.load", load, lambda: {"path": saved})

    x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
    y = (x.sum(1) > 0).astype("int64")
    whole = {"make_model": make_model, "x": x, "y": y, "epochs": 3, "batch_size": 4}
    whole |= {"seeds": 1, "max_lr": 0.3, "verbose": 0}
    fixed = {**whole, "policies": ["fixed"]}
    yield Entry("cyclerate.compare.compare", compare.compare, lambda: dict(fixed))
    folded = {**whole, "folds": 2}
    yield Entry("cyclerate.compare.cross_validate", compare.cross_validate, lambda: dict(folded))
    result = compared(seeds=1)
    asked = {"policy": "cycle"}
    yield Entry("cyclerate.compare.Comparison.difference", result.difference, lambda: dict(asked))
    for name in ("CyclicClassifier", "CyclicRegressor"):
        fit = _fitting(getattr(cs, name), x, y)
        good = {"epochs": 1, "max_lr": 0.1, "hidden": (2,), "verbose": 0, "random_state": 0}
        parameters = [*inspect.signature(getattr(cs, name)).parameters]
        told = {k: getattr(getattr(cs, name)(), k) for k in parameters} | good
        yield Entry(f"cyclerate.sklearn.{name}", fit, lambda told=told: dict(told))


def _fitting(kind: Callable[..., Any], x: Any, y: Any) -> Callable[..., Any]:
    """Estimators look at their arguments when they are fitted, as scikit-learn wants it."""

    def fit(**arguments: Any) -> Any:
        return kind(**arguments).fit(x, y)

    return fit


GROUPS = {
    "core": _core, "finder": _finder, "torch": _torch, "keras": _keras, "optax": _optax,
    "trainers": _trainers, "tables": _tables,
}  # fmt: skip

_LENGTHS = {"epochs", "total_steps", "cycles", "steps_per_epoch", "accumulation_steps"}
_TRAINS = ("fit_one_cycle", "fit_cycles", "range_test", "recommend")
"""A training of 2**32 epochs is one: it goes on."""

_RUNS_THE_MODEL = {
    ("_step.py", "_called"), ("_step.py", "_accumulate"), ("_step.py", "_outcome"),
    ("_step.py", "build"), ("_trainee.py", "train"), ("_trainee.py", "score"),
    ("_trainee.py", "evaluated"), ("_fit.py", "_run"), ("_internals.py", "tensorflow_pipeline"),
}  # fmt: skip
"""Where data go into a model of the user's: what the framework then says passes unchanged."""

# An argument is named by what it is made of, too: `max_lr` in a settings object, say.
_KIN = {
    "validation_data": {"data"}, "unfreeze_epochs": {"optimizer"}, "frame": {"column"}, "x": {"y"},
    "min_lr": {"max_lr"}, "initial_learning_rate": {"maximal_learning_rate"},
    "monitor": {"metric"}, "cycles": {"epochs"}, "accumulation_steps": {"epochs"},
    "target": {"column"}, "drop": {"column"}, "values": {"type"}, "path": {"folder", "file"},
    "start_step": {"schedule"}, "rows": {"column"},
    "lr": {"max_lr", "lr", "schedule"}, "data": {"x", "y", "data", "batch_size", "steps"},
    "states": {"states", "model"}, "base_lr": {"max_lr"}, "start_lr": {"end_lr"},
}  # fmt: skip


def classified(entry: Entry, parameter: str, value: Any) -> tuple[str, str]:
    """What came of a call: "refused", "right", or what is wrong with it; and the words."""
    usual, good = usual_seconds(entry), entry.good()
    watched = entry.watched(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()  # others may use the machine
    with warnings.catch_warnings(), contextlib.ExitStack() as quiet:
        for redirected in (contextlib.redirect_stdout, contextlib.redirect_stderr):
            quiet.enter_context(redirected(io.StringIO()))
        warnings.simplefilter("ignore")
        came, words = _called(entry, parameter, {**good, parameter: value})
    seconds = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if seconds > SLOW_SECONDS + usual:
        return "slow", f"{seconds:.1f} s"
    if grown > MUCH_MIB:
        return "large", f"{grown:.0f} MiB"
    if came != "right" and entry.watched(good) != watched:
        return "changed", words
    return came, words


@functools.cache
def usual_seconds(entry: Entry) -> float:
    """How long a good call takes, warmed up; what it compiles counts twice."""
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry.function(**entry.good())
    return 2 * (time.process_time() - began)


def _called(entry: Entry, parameter: str, arguments: dict[str, Any]) -> tuple[str, str]:
    try:
        # Text is a folder's name for some: it is not made here.
        folder = tempfile.TemporaryDirectory()
        with folder as name, contextlib.chdir(name), _alarm(MOST_SECONDS):
            entry.function(**arguments)
    except (ValueError, CyclerateError) as error:
        words = " ".join(str(error).split())
        if _of_the_model(error):
            return "model's own", words
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        ours = "/cyclerate/" in last.replace("\\", "/")
        if not ours or not (isinstance(error, CyclerateError) or _OURS.search(words)):
            return "foreign", f"{type(error).__name__}: {words}"
        said = words.partition(" Received:")[0]
        named = set(re.findall(r"\w+", said))
        kin = {parameter} | _KIN.get(parameter, set())
        return ("refused" if named & kin else "wrong name"), words
    except TimeoutError as error:
        return "slow", str(error)
    except OSError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001
        if _of_the_model(error):
            return "model's own", str(error)
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(at.filename).name}:{at.lineno}"
        return "foreign", f"{type(error).__name__}: {' '.join(str(error).split())} ({place})"
    return "right", ""


def _of_the_model(error: BaseException) -> bool:
    """Whether the user's own function, or the framework that trains a model, raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.filename == __file__ for frame in frames[2:]):
        return True  # a function of this file
    ours = [(Path(f.filename).name, f.name) for f in frames if "/cyclerate/" in f.filename]
    theirs = "/cyclerate/" not in frames[-1].filename
    return theirs and any(place in _RUNS_THE_MODEL for place in ours)


@contextlib.contextmanager
def _alarm(seconds: int) -> Generator[None]:
    """Ends what hangs."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def calls(groups: list[str], most: int | None, seed: int) -> Iterator[tuple[Entry, str, str, Any]]:
    """The calls: a name, its parameter, what the value is called, and the value."""
    values = hostile()
    entries = [entry for group in groups for entry in GROUPS[group]()]
    every = [
        (e, p, v, values[v])
        for e in entries
        for p in e.parameters
        for v in values
        if not (v == "2**32" and p in _LENGTHS and e.name.endswith(_TRAINS))
    ]
    for place in np.random.default_rng(seed).permutation(len(every))[:most]:
        yield every[place]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--calls", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for entry, parameter, kind, value in calls(asked.only, asked.calls, asked.seed):
        came, words = classified(entry, parameter, value)
        counts[".".join(entry.name.split(".")[: 2 if entry.name.count(".") > 1 else 1])][came] += 1
        if came not in {"refused", "right", "model's own"}:
            print(f"{came}: {entry.name}({parameter}={kind}): {words[:200]}", flush=True)
    named = {f"`{name}`": count for name, count in counts.items()}
    table = counted("of", {outcome: outcome for outcome in OUTCOMES}, named, total=True)
    print(table)
    if asked.page:
        backend = os.environ.get("KERAS_BACKEND", "jax")
        whole = asked.only == [*GROUPS]
        only = "" if whole else f" --only {' '.join(asked.only)}"
        most = "" if asked.calls is None else f" --calls {asked.calls}"
        command = f"python -m benchmarks.bad_calls{only}{most} --seed {asked.seed} --page"
        text = f"`{command}`, on Keras with {_BACKENDS[backend]}:\n\n{table}"
        part = "calls" if whole else f"calls {backend}"
        write_generated(Path("docs/reliability.md"), text, part)


if __name__ == "__main__":
    main()
