"""`cyclerate range-test`: the user's own network and data, without editing them."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cyclerate._errors import check_count, listed, near_names
from cyclerate.cli._console import Console, Mistake, asking
from cyclerate.cli._options import Json, Quiet, check_folder, choose_backend, prefer_backend
from cyclerate.finder._probe import ASSUMED_HORIZON_STEPS

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

RESULT_FILE, PAGE_FILE = "range_test.json", "range_test.html"
_RETURNS = "a compiled Keras model and its data: (model, x, y) or (model, dataset)"


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
    model, data = _check(call_function(place), place)
    choose_backend()
    from cyclerate.keras import range_test as run

    settings: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    with asking(), console.bar("range test"):
        result = run(
            model,
            *data,
            method=method,
            policy=policy,
            horizon_steps=horizon_steps,
            metric=metric,
            start_lr=start_lr,
            end_lr=end_lr,
            steps=check_count("--steps", steps),
            repeats=check_count("--repeats", repeats),
            seed=seed,
            verbose=0,
            **settings,
        )
    result.save(out / RESULT_FILE)
    page = _write_page(result, out / PAGE_FILE, model.optimizer, horizon_steps)
    console.result(str(result))
    console.say(f"Page: {page}   Result: {out / RESULT_FILE}")
    console.document(result.to_dict())


def _check(returned: Any, place: str) -> tuple[Any, tuple[Any, ...]]:
    expected = f"{place} must return {_RETURNS}."
    if not isinstance(returned, tuple) or len(returned) not in {2, 3}:
        raise Mistake(f"{expected} It returned {type(returned).__name__}.")
    model, *data = returned
    if not hasattr(model, "train_on_batch"):
        raise Mistake(f"{expected} The first value is {type(model).__name__}, not a Keras model.")
    if getattr(model, "optimizer", None) is None:
        raise Mistake(f"{expected} The model has no optimizer: call model.compile(...) first.")
    return model, tuple(data)


def _write_page(
    result: RangeTestResult, path: Path, optimizer: Any, horizon_steps: int | None
) -> Path:
    from cyclerate.compare._keras_learner import optimizer_config
    from cyclerate.compare._page import write_range_test

    steps = horizon_steps or ASSUMED_HORIZON_STEPS
    return write_range_test(result, path, steps=steps, optimizer=optimizer_config(optimizer))


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
        # Whatever the user's own code raises is theirs to see: where, and what.
        lines = [
            f"line {frame.lineno}: {frame.line}"
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == file.resolve()
        ]
        where = f" at {lines[-1]}" if lines else ""
        raise Mistake(f"{file} failed{where}\n{type(error).__name__}: {error}") from error
