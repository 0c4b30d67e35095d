"""`cyclerate range-test`: the user's own network and data, without editing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cyclerate._errors import check_count
from cyclerate._files import write_bytes
from cyclerate.cli.backend import choose_backend, prefer_backend
from cyclerate.cli.folder import check_folder
from cyclerate.cli.mistakes import Mistake, asking
from cyclerate.cli.options import Json, Quiet
from cyclerate.cli.talk import Talk
from cyclerate.cli.user_file import call_function

if TYPE_CHECKING:
    from cyclerate.finder import RangeTestResult

RESULT_FILE, PICTURE_FILE = "range_test.json", "range_test.png"
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
    talk = Talk(as_json=as_json, quiet=quiet)
    check_folder(out)
    prefer_backend()
    model, data = _check(call_function(place), place)
    choose_backend()
    from cyclerate.keras import range_test as run

    settings: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    with asking(), talk.bar("range test"):
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
    write_bytes(out / PICTURE_FILE, _picture(result))
    talk.result(str(result))
    talk.say(f"Picture: {out / PICTURE_FILE}   Result: {out / RESULT_FILE}")
    talk.document(result.to_dict())


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


def _picture(result: RangeTestResult) -> bytes:
    from cyclerate.compare._drawing import new_figure, png
    from cyclerate.compare._theme import LIGHT

    figure = new_figure(3.0, LIGHT)
    result.plot(figure.subplots())
    return png(figure)
