"""Wrong values for every argument of every public name: refused by that name, or right.

    python -m benchmarks.bad_calls [--only torch keras] [--calls N] [--seed 0] [--page]

Each call is one that works, with one argument replaced. `--page` writes the counts into
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import importlib
import inspect
import io
import re
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cyclerate as cr
from benchmarks._page import write_generated
from cyclerate._errors import CyclerateError

SLOW_SECONDS, MUCH_MIB = 2.0, 200
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

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters, `*args` and `**kwargs` left out."""
        kinds = inspect.Parameter
        parameters = inspect.signature(self.function).parameters.values()
        variable = (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        return [p.name for p in parameters if p.kind not in variable]


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

    def training() -> dict[str, Any]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        x = torch.randn(32, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        data = {"data": (x, x.sum(1, keepdim=True)), "loss_fn": nn.functional.mse_loss}
        return {"model": model, "optimizer": optimizer, **data}

    def grouped() -> torch.optim.Optimizer:
        model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        return torch.optim.SGD(ct.layer_groups(model, lr=0.1), lr=0.1)

    def only(*names: str, **more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {name: training()[name] for name in names} | copy.copy(more)

    def swept() -> dict[str, Any]:
        return {**training(), "method": "range", "steps": 10, "batch_size": 8, "verbose": 0}

    cycles = {"schedule": SCHEDULE, "total_steps": 60}
    goods: dict[str, Callable[[], dict[str, Any]]] = {
        "range_test": swept,
        "fit_one_cycle": lambda: {**training(), "epochs": 1, "max_lr": 0.1, "batch_size": 8},
        "fit_cycles": lambda: {**training(), "cycles": 3, "max_lr": 0.1, "batch_size": 8},
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
        yield Entry(f"cyclerate.torch.{name}", getattr(ct, name), good)


def _keras() -> Iterator[Entry]:
    import cyclerate.keras as ck

    goods: dict[str, dict[str, Any]] = {
        "as_schedule": {"schedule": SCHEDULE},
        "ScheduleCallback": {"lr": SCHEDULE},
        "SelfFindingCycle": {"total_steps": 100},
        "CycleEarlyStopping": {},
        "CycleCheckpoint": {"path": "best.keras"},
        "DivergenceGuard": {},
        "LayerRates": {},
        "SnapshotEnsemble": {"folder": "ensemble"},
        "WeightAveraging": {},
        "CyclicLR": {},
        "LRFinder": {"min_lr": 1e-5, "max_lr": 1.0},
        "ExponentialLearningRate": {"factor": 1.1},
        "OneCycleScheduler": {"iterations": 20, "max_rate": 0.1},
    }
    for name, good in goods.items():
        yield Entry(f"cyclerate.keras.{name}", getattr(ck, name), lambda good=good: dict(good))


def _others() -> Iterator[Entry]:
    import pandas as pd

    from cyclerate import tables

    rows = pd.DataFrame({"hours": [1.0, 7.0, 5.0, 3.0] * 8, "passed": ["no", "yes"] * 16})
    frame = {"frame": rows, "target": "passed", "name": "exams"}
    yield Entry("cyclerate.tables.prepare", tables.prepare, lambda: dict(frame))
    for module in ("lightning", "transformers"):
        with contextlib.suppress(ImportError):
            made = importlib.import_module(f"cyclerate.{module}").RangeTestCallback
            yield Entry(f"cyclerate.{module}.RangeTestCallback", made, dict)


GROUPS = {"core": _core, "finder": _finder, "torch": _torch, "keras": _keras, "others": _others}

# An argument is named by what it is made of, too: `max_lr` in a settings object, say.
_KIN = {
    "lr": {"max_lr", "lr", "schedule"}, "data": {"x", "y", "data", "batch_size", "steps"},
    "states": {"states", "model"}, "base_lr": {"max_lr"}, "start_lr": {"end_lr"},
}  # fmt: skip


def classified(entry: Entry, parameter: str, value: Any) -> tuple[str, str]:
    """What came of a call: "refused", "right", or what is wrong with it; and the words."""
    arguments = {**entry.good(), parameter: value}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        came, words = _called(entry, parameter, arguments)
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if seconds > SLOW_SECONDS:
        return "slow", f"{seconds:.1f} s"
    if grown > MUCH_MIB:
        return "large", f"{grown:.0f} MiB"
    return came, words


def _called(entry: Entry, parameter: str, arguments: dict[str, Any]) -> tuple[str, str]:
    try:
        entry.function(**arguments)
    except (ValueError, CyclerateError) as error:
        words = " ".join(str(error).split())
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        if "/cyclerate/" not in last.replace("\\", "/"):
            return "foreign", f"{type(error).__name__}: {words}"
        said = words.partition(" Received:")[0]
        named = set(re.findall(r"\w+", said))
        kin = {parameter} | _KIN.get(parameter, set())
        return ("refused" if named & kin else "wrong name"), words
    except OSError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(at.filename).name}:{at.lineno}"
        return "foreign", f"{type(error).__name__}: {' '.join(str(error).split())} ({place})"
    return "right", ""


def calls(groups: list[str], most: int | None, seed: int) -> Iterator[tuple[Entry, str, str, Any]]:
    """The calls: a name, its parameter, what the value is called, and the value."""
    values = hostile()
    entries = [entry for group in groups for entry in GROUPS[group]()]
    every = [(e, p, v, values[v]) for e in entries for p in e.parameters for v in values]
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
        counts[entry.name.rpartition(".")[0].removesuffix(".Schedule")][came] += 1
        if came not in {"refused", "right"}:
            print(f"{came}: {entry.name}({parameter}={kind}): {words[:200]}", flush=True)
    outcomes = ("refused", "right", "wrong name", "foreign", "slow", "large")
    counts["all"] = sum(counts.values(), collections.Counter())
    head = f"| of | calls | {' | '.join(outcomes)} |\n|---|{'---:|' * (1 + len(outcomes))}"
    rows = [
        f"| `{name}` | {c.total()} | {' | '.join(str(c[o]) for o in outcomes)} |"
        for name, c in counts.items()
    ]
    table = "\n".join([head, *rows])
    print(table)
    if asked.page:
        command = f"python -m benchmarks.bad_calls --only {' '.join(asked.only)} --page"
        text = f"`{command}`:\n\n{table}"
        write_generated(Path("docs/reliability.md"), text, "calls")


if __name__ == "__main__":
    main()
