"""Does a training that is killed, and begun again, lose anything? SIGKILL at random moments.

Each work is killed again and again at a random moment, and begun again by the same call in its
folder, until it comes to its end. What it then says, rates and weights to the last bit, must be
what it says when it was never killed, and nothing but its own files may lie in its folders.

    python benchmarks/kills.py [--kills 200] [--work torch] [--write]

The answers are kept in benchmarks/kills.json: the same call again adds what is missing to them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._page import write_generated
from cyclerate._files import read_json, replacing, write_json

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
KEPT = Path(__file__).with_name("kills.json")
END, TOTAL_STEPS, EVERY = "end.json", 60, 4
FEW = 2


def in_torch(folder: Path) -> dict[str, Any]:
    """A range test with its copy on disk; then a cycle that finds its own top, with checkpoints."""
    import torch

    import cyclerate.torch as ct

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    y, loss_fn, file = x.sum(1, keepdim=True), torch.nn.MSELoss(), folder / "training.pt"
    if not file.exists():
        options: dict[str, Any] = {"method": "range", "steps": 40, "snapshot": "disk"}
        ct.range_test(model, optimizer, loss_fn, (x, y), **options)
    cycle = ct.SelfFindingCycle(model, optimizer, TOTAL_STEPS)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "cycle": cycle}
    rates: list[float] = []
    if file.exists():
        state = torch.load(file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        rates = state["rates"]
    while not cycle.done:
        rates.append(optimizer.param_groups[0]["lr"])
        rows = torch.randperm(64)[:16]
        optimizer.zero_grad()
        loss = loss_fn(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        cycle.step(loss)
        if not cycle.done and cycle.steps % EVERY == 0:
            state = {name: part.state_dict() for name, part in parts.items()}
            with replacing(file) as temporary:
                state |= {"random": torch.get_rng_state(), "rates": rates}
                torch.save(state, temporary)
    weights = [p.detach().numpy().tobytes().hex() for p in model.parameters()]
    return {"rates": rates, "weights": weights}


def in_keras(folder: Path) -> dict[str, Any]:
    """The same in Keras: at the end of an epoch the model is saved, and then the callback."""
    import keras
    import numpy as np

    import cyclerate.keras as ck

    x = np.random.default_rng(1).normal(size=(64, 8)).astype("float32")
    y = x.sum(1, keepdims=True)
    cycles = sorted(folder.glob("*.npz"))
    if cycles:  # the latest: its model was saved before
        epoch = int(cycles[-1].stem)
        model: Any = keras.saving.load_model(cycles[-1].with_suffix(".keras"))
        cycle = ck.SelfFindingCycle.load(cycles[-1])
    else:
        epoch = 0
        keras.utils.set_random_seed(0)
        stack = [keras.layers.Dense(16), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((8,)), *stack])
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        ck.range_test(model, x, y, batch_size=16, method="range", steps=40)
        cycle = ck.SelfFindingCycle(TOTAL_STEPS)

    def save(epoch: int, _logs: Any) -> None:
        model.save(folder / f"{epoch + 1:03}.keras")
        cycle.save(folder / f"{epoch + 1:03}.npz")

    saving = keras.callbacks.LambdaCallback(on_epoch_end=save)
    options: dict[str, Any] = {"batch_size": 16, "shuffle": False, "verbose": 0}
    if len(cycle.history.get("learning_rate", [])) < TOTAL_STEPS:
        model.fit(x, y, initial_epoch=epoch, epochs=99, callbacks=[cycle, saving], **options)
    weights = [np.asarray(w).tobytes().hex() for w in model.get_weights()]
    return {"rates": cycle.history["learning_rate"], "weights": weights}


def in_optax(folder: Path) -> dict[str, Any]:
    """The same in JAX: the arrays of the state with the plain part of it, in one file."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import cyclerate.optax as co

    x = np.random.default_rng(1).normal(size=(64, 8)).astype("float32")
    y, file = x.sum(1), folder / "training.npz"

    def loss_fn(params: Any, batch: Any) -> Any:
        return jnp.mean((jnp.tanh(batch[0] @ params["hidden"]) @ params["out"] - batch[1]) ** 2)

    def sgd(rate: Any, momentum: Any = 0.9) -> Any:
        return optax.sgd(rate, momentum)

    hidden = np.random.default_rng(2).normal(size=(8, 16)).astype("float32")
    params = {"hidden": hidden, "out": np.ones(16, "float32") / 16}
    if not file.exists():
        co.range_test(loss_fn, params, sgd, (x, y), batch_size=16, method="range", steps=40)
    training = co.CycleTraining(loss_fn, params, sgd, TOTAL_STEPS)
    if file.exists():
        with np.load(file) as kept:
            plain = json.loads(str(kept["plain"]))
            leaves = [kept[f"a{i}"] for i in range(len(kept.files) - 1)]
        arrays = training.state()["arrays"]
        if plain["has_mark"]:
            arrays["mark"] = arrays["training"]
        structure = jax.tree.structure(arrays)
        training.load_state({"arrays": structure.unflatten(leaves), "plain": plain["of"]})
    while not training.done:
        rows = np.random.default_rng(training.step_number).permutation(64)[:16]
        training.step((x[rows], y[rows]))
        if not training.done and training.step_number % EVERY == 0:
            state = training.state()
            leaves = {f"a{i}": leaf for i, leaf in enumerate(jax.tree.leaves(state["arrays"]))}
            plain = {"of": state["plain"], "has_mark": state["arrays"]["mark"] is not None}
            with replacing(file) as temporary, temporary.open("wb") as opened:
                np.savez(opened, plain=np.array(json.dumps(plain)), **leaves)
    weights = [np.asarray(leaf).tobytes().hex() for leaf in jax.tree.leaves(training.params)]
    return {"rates": training.history["learning_rate"], "weights": weights}


def in_numpy(folder: Path) -> dict[str, Any]:
    """A range test whose answer is kept; then such a cycle, its state and its marks in one file."""
    import numpy as np

    from cyclerate.finder import FunctionTrainee, RangeTestResult, RangeTestSettings, range_test
    from cyclerate.finder._prior import prior_lr
    from cyclerate.finder._warmup import FindingCycle

    x = np.random.default_rng(1).normal(size=(64, 8))
    y, file, tested = x.sum(1), folder / "training.json", folder / "result.json"
    weights = np.zeros(8)

    def step(lr: float, rows: Any = slice(None)) -> float:
        nonlocal weights
        error = x[rows] @ weights - y[rows]
        weights = weights - lr * 2 * x[rows].T @ error / len(error)
        return float(np.mean(error**2))

    if not tested.exists():
        trainee = FunctionTrainee(lambda: weights.fill(0.0), step, lambda: step(0.0))
        range_test(trainee, RangeTestSettings(seed=1)).save(tested)
        weights = np.zeros(8)
    found = RangeTestResult.load(tested)
    cycle = FindingCycle(TOTAL_STEPS, prior_lr("sgd", batch_size=16, total_steps=TOTAL_STEPS))
    mark, rates = weights, list[float]()
    if file.exists():
        kept = read_json(file, "training", dict)
        cycle, rates = FindingCycle.from_state(kept["cycle"]), kept["rates"]
        weights, mark = np.array(kept["weights"]), np.array(kept["mark"])
    while not cycle.done:
        mark = weights if cycle.keep else mark
        rates.append(cycle.lr)
        cycle.tell(step(cycle.lr, np.random.default_rng(cycle.step).permutation(64)[:16]))
        weights = mark if cycle.go_back else weights
        if cycle.step % EVERY == 0:
            kept = {"weights": weights.tolist(), "mark": mark.tolist(), "rates": rates}
            write_json(file, {**kept, "cycle": cycle.state()})
    return {"rates": rates, "weights": weights.tolist(), "max_lr": found.max_lr}


def in_compare(folder: Path) -> dict[str, Any]:
    """A comparison: cells of three policies and two seeds, and the record of them."""
    from tests.compare.small import compared

    comparison = compared(out=folder / "kept")
    return {"rows": json.loads(comparison.to_frame().drop(columns="seconds").to_json())}


def in_report(folder: Path) -> dict[str, Any]:
    """The page of a comparison."""
    from cyclerate.compare._page import write_report
    from tests.compare.small import compared

    page = write_report(compared(out=folder / "kept"), folder)
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    return in_compare(folder)


WORKS: dict[str, tuple[Callable[[Path], dict[str, Any]], str, str]] = {
    "PyTorch": (in_torch, "cyclerate.torch torch._dynamo", "training.pt"),
    "Keras on JAX": (in_keras, "cyclerate.keras", "*.keras *.npz"),
    "Optax": (in_optax, "cyclerate.optax", "training.npz"),
    "NumPy": (in_numpy, "cyclerate.finder", "training.json result.json"),
    "a comparison": (in_compare, "tests.compare.small torch._dynamo", "kept"),
    "a report": (in_report, "tests.compare.small torch._dynamo jinja2", "kept report.html *.png"),
}
"""Each with what is imported before the clock starts, and the files that it may leave."""
NOT_OURS = {"Keras on JAX": "tmp*"}
"""Temporary files of others: a `model.save` that is killed leaves the folder that Keras made."""


def begin(work: str, folder: Path, before: float | None) -> bool:
    """Does the work in a process of its own, killed after some seconds; says whether it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            tempfile.tempdir = str(folder / "tmp")
            (folder / "tmp").mkdir(exist_ok=True)
            function = WORKS[work][0]
            write_json(folder / END, function(folder / "work"))
            code = 0
        except BaseException:  # noqa: BLE001 - told, and counted
            (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        finally:
            os._exit(code)
    ends = None if before is None else time.monotonic() + before
    while ends is None or time.monotonic() < ends:
        done, status = os.waitpid(child, 0 if ends is None else os.WNOHANG)
        if done:
            if status:
                raise RuntimeError((folder / "error.txt").read_text(encoding="utf-8"))
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def fresh(place: Path, name: str) -> Path:
    (place / name / "work").mkdir(parents=True)
    return place / name


def trial(
    work: str, place: Path, name: str, seconds: tuple[float, float], draw: random.Random
) -> tuple[int, str]:
    """A work killed at least once, until it ends; the kills, and what was wrong: "" for nothing.

    Half of the kills come after the seconds when the first file was there, since a training may be
    short beside what is imported and compiled before.
    """
    folder, kills = fresh(place, name), 0
    first, last = seconds
    try:
        while not begin(
            work, folder, draw.uniform(draw.choice((0.0, first)), last) if kills < 4 else None
        ):
            kills += 1
    except RuntimeError as error:
        return kills, str(error)
    whole = json.loads((place / "whole" / END).read_text(encoding="utf-8"))
    if json.loads((folder / END).read_text(encoding="utf-8")) != whole:
        return kills, "the answer is another one"
    expected = {
        path for pattern in WORKS[work][2].split() for path in (folder / "work").glob(pattern)
    }
    others = NOT_OURS.get(work, "")
    temporary = [path for path in (folder / "tmp").iterdir() if not fnmatch(path.name, others)]
    left = [*({*(folder / "work").iterdir()} - expected), *temporary]
    left += [*(folder / "work").rglob(".*.tmp*")]
    return kills, f"left behind: {left}" if left else ""


def measure(work: str, kills: int, seed: int) -> dict[str, Any]:
    """So many kills of a work."""
    for name in WORKS[work][1].split():
        importlib.import_module(name)
    told: dict[str, Any] = {"kills": 0, "trainings": 0, "wrong": []}
    draw = random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        place, started = Path(scratch), time.time()
        begin(work, fresh(place, "whole"), None)
        written = sorted(file.stat().st_mtime for file in (place / "whole/work").rglob("*"))
        # Of one that is written again and again, only the last time is known.
        first = written[0] - started if len(written) > FEW else 0.0
        seconds = max(first, 0.0), time.time() - started
        while told["kills"] < kills:
            count, wrong = trial(work, place, str(told["trainings"]), seconds, draw)
            told["kills"] += count
            told["trainings"] += 1
            told["wrong"] += [wrong] if wrong else []
    return told


def table(kept: dict[str, Any]) -> str:
    rows = ["| what was killed | kills | until it ended, times | wrong |", "|---|---:|---:|---:|"]
    for work, told in kept.items():
        rows.append(f"| {work} | {told['kills']} | {told['trainings']} | {len(told['wrong'])} |")
    total = sum(told["kills"] for told in kept.values())
    wrong = sum(len(told["wrong"]) for told in kept.values())
    return "\n".join([f"{total} kills, {wrong} wrong.", "", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--work", choices=WORKS)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    none: dict[str, Any] = {"kills": 0, "trainings": 0, "wrong": []}
    for work in [arguments.work] if arguments.work else WORKS:
        before = kept.get(work, none)
        while before["kills"] < -(-arguments.kills // len(WORKS)):
            now = measure(work, 8, seed=before["kills"])
            before = kept[work] = {name: before[name] + now[name] for name in none}
            write_json(KEPT, kept)
            print(work, before, flush=True)
    print(table(kept))
    if arguments.write:
        write_generated(PAGE, table(kept), "kills")


if __name__ == "__main__":
    main()
