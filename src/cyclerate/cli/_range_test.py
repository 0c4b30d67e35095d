"""`cyclerate range-test`: the user's own network and data, without editing them."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cyclerate._errors import bad_argument, check_count, listed, near_names
from cyclerate.cli._console import (
    Console,
    Json,
    Mistake,
    Quiet,
    asking,
    check_folder,
    choose_backend,
    let_through,
    prefer_backend,
)
from cyclerate.finder._probe import ASSUMED_HORIZON_STEPS

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

RESULT_FILE, PAGE_FILE = "range_test.json", "range_test.html"
_RETURNS = (
    "a compiled Keras model and its data: (model, x, y) or (model, dataset); or of PyTorch: "
    "(model, optimizer, loss_fn, data); or a LightningModule and its data: (module, data)"
)

Run = Callable[[dict[str, Any]], tuple["RangeTestResult", dict[str, Any]]]
"""Runs a range test with these settings; gives its result, and what its optimizer is."""


def range_test(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:function", help=f"It returns {_RETURNS}.", show_default=False
        ),
    ],
    *,
    method: Annotated[
        str, typer.Option(help='"probe", a sweep and short races, or "range", the sweep alone.')
    ] = "probe",
    policy: Annotated[
        str, typer.Option(help="What the rate is for: one_cycle, constant or triangular.")
    ] = "one_cycle",
    horizon_steps: Annotated[
        int | None,
        typer.Option(help="Optimizer steps of the training to come.", show_default="1000"),
    ] = None,
    metric: Annotated[str, typer.Option(help="The loss, or a compiled metric.")] = "loss",
    start_lr: Annotated[float, typer.Option(help="The first rate.")] = 1e-7,
    end_lr: Annotated[float, typer.Option(help="The last rate.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Optimizer steps of the sweep.")] = 100,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows in a step.", show_default="as in fit")
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often; more give a steadier answer.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Seed of the data order.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("range_test"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the learning rate of your own network."""
    console = Console(as_json=as_json, quiet=quiet)
    check_folder(out)
    prefer_backend()
    with console.others():
        run = _way_to_run(call_function(place), place)
    settings: dict[str, Any] = {
        "method": method,
        "policy": policy,
        "horizon_steps": horizon_steps,
        "metric": metric,
        "start_lr": start_lr,
        "end_lr": end_lr,
        "seed": seed,
        "verbose": 0,
    }
    if batch_size is not None:
        settings["batch_size"] = batch_size
    with asking(), console.bar("range test"), console.others():
        settings["steps"] = check_count("--steps", steps)
        settings["repeats"] = check_count("--repeats", repeats)
        result, optimizer = run(settings)
    result.save(out / RESULT_FILE)
    page = _write_page(result, out / PAGE_FILE, optimizer, horizon_steps)
    console.result(str(result))
    console.say(f"Page: {page}   Result: {out / RESULT_FILE}")
    console.document(result.to_dict())


def _way_to_run(returned: Any, place: str) -> Run:
    """Looks at what the function returned: of which framework it is, and whether it is whole."""
    expected = f"{place} must return {_RETURNS}."
    parts = returned if isinstance(returned, tuple) else (returned,)
    model, *data = parts or (None,)
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(model).__mro__}
    if hasattr(model, "train_on_batch"):
        if len(data) not in {1, 2}:
            raise Mistake(f"{expected} It returned {len(data)} values beside the model.")
        if getattr(model, "optimizer", None) is None:
            raise Mistake(f"{expected} The model has no optimizer: call model.compile(...) first.")
        return partial(_of_keras, model, data)
    if "pytorch_lightning.LightningModule" in kinds:
        raise Mistake(f"{place}: import Lightning as lightning.pytorch, not pytorch_lightning.")
    if "lightning.LightningModule" in kinds:
        if len(data) > 1:
            raise Mistake(f"{expected} It returned {len(data)} values beside the module.")
        return partial(_of_lightning, model, *data)
    if "torch.Module" in kinds:
        if len(data) != 3:
            count = f"It returned {len(data)} values beside the model"
            raise Mistake(f"{expected} {count}, and PyTorch needs three.")
        return partial(_of_torch, model, *data)
    if returned is None:
        raise Mistake(f"{expected} It returned nothing: does it end with `return`?")
    what = "value" if isinstance(returned, tuple) else "and only value"
    raise Mistake(f"{expected} The first {what} is {type(model).__name__}, not a model.")


def _of_keras(
    model: Any, data: list[Any], settings: dict[str, Any]
) -> tuple[RangeTestResult, dict[str, Any]]:
    choose_backend()
    from cyclerate.compare._keras_learner import optimizer_config
    from cyclerate.keras import range_test as run

    return run(model, *data, **settings), optimizer_config(model.optimizer)


def _of_torch(
    model: Any, optimizer: Any, loss_fn: Any, data: Any, settings: dict[str, Any]
) -> tuple[RangeTestResult, dict[str, Any]]:
    from cyclerate.compare._torch_learner import optimizer_config
    from cyclerate.torch import range_test as run

    return run(model, optimizer, loss_fn, data, **settings), optimizer_config(optimizer)


def _of_lightning(module: Any, *given: Any) -> tuple[RangeTestResult, dict[str, Any]]:
    """Begins a training, and ends it where its first batch would come."""
    import lightning.pytorch as pl

    from cyclerate.compare._torch_learner import optimizer_config
    from cyclerate.lightning import RangeTestCallback

    *data, settings = given
    if "batch_size" in settings:
        allowed = "left out: the module's data have one"
        raise bad_argument("--batch-size", allowed, settings["batch_size"])
    steps = settings["horizon_steps"] or ASSUMED_HORIZON_STEPS
    finder = RangeTestCallback(apply=False, **settings)
    found: dict[str, Any] = {}

    class Found(Exception):
        """There is nothing more to do."""

    class End(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            found.update(optimizer_config(trainer.optimizers[0]))
            raise Found

    trainer = pl.Trainer(
        max_steps=steps,
        callbacks=[finder, End()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        devices=1,
    )
    with suppress(Found):
        trainer.fit(module, *data)
    if finder.result is None:
        raise bad_argument("the data", "at least one batch", data)
    return finder.result, found


def _write_page(
    result: RangeTestResult, path: Path, optimizer: dict[str, Any], horizon_steps: int | None
) -> Path:
    from cyclerate.compare._page import write_range_test

    steps = horizon_steps or ASSUMED_HORIZON_STEPS
    return write_range_test(result, path, steps=steps, optimizer=optimizer)


_GIVEN = (  # the kinds of arguments that have to be given where they have no default
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def call_function(place: str) -> Any:
    """Runs `FILE.py:function` and returns what the function returned.

    Raises:
        Mistake: There is no such file or function, or it failed; the message names the line.
    """
    name, _, function = place.rpartition(":")
    if not name or not function or not name.endswith(".py"):
        raise Mistake(f"name a function in a file, as my_net.py:make. Received: {place}")
    file = Path(name)
    if not file.is_file():
        beside = sorted(path.name for path in file.parent.glob("*.py"))
        near = near_names(file.name, beside)
        hint = f" Did you mean {' or '.join(near)}?" if near else " Check the path."
        raise Mistake(f"there is no file {file}.{hint}")
    module = _run(file, lambda: _load(file))
    chosen = getattr(module, function, None)
    if not callable(chosen):
        ours = [n for n, v in vars(module).items() if _is_own_function(v, module)]
        held = f"It has {listed(ours)}." if ours else "It has no functions."
        raise Mistake(f"{file} has no function {function!r}. {held}")
    with suppress(ValueError):  # it does not say what it takes
        parameters = inspect.signature(chosen).parameters.values()
        wanted = [p.name for p in parameters if p.default is p.empty and p.kind in _GIVEN]
        if wanted:
            which = ", ".join(wanted)
            raise Mistake(f"{place} is called without arguments, but wants {which}: give defaults.")
    return _run(file, chosen)


def _is_own_function(value: Any, module: Any) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _load(file: Path) -> Any:
    name = f"_cyclerate_user_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise Mistake(f"{file} cannot be loaded as Python.")
    module = importlib.util.module_from_spec(spec)
    # As `python FILE.py` does it: modules beside the file can be imported, and the module is known
    # by name, which dataclasses and Keras's registered classes rely on.
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _run(file: Path, step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Mistake:
        raise
    except (Exception, SystemExit) as error:
        let_through()
        # Whatever the user's own code raises is theirs to see: where, and what.
        lines = [
            f"line {frame.lineno}: {frame.line}"
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == file.resolve()
        ]
        where = f" at {lines[-1]}" if lines else ""
        raise Mistake(f"{file} failed{where}\n{type(error).__name__}: {error}") from error
