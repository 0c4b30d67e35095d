"""Is everything given back after a range test, however it ends? By value, by really running it.

What can change x how the test ends x adapter. Each ending strikes in code of the user, once in the
sweep and once in a race, of a model in the midst of a training that has all of it.

    python benchmarks/restore_matrix.py                    all, each in a process of its own
    python benchmarks/restore_matrix.py --adapter PyTorch  one
    python benchmarks/restore_matrix.py --write            writes what was found into the page

What was found is kept in benchmarks/restore_matrix.json.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

if not __package__:
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._page import write_generated
from cyclerate._files import write_json
from tests.torch.workshop import same

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
KEPT = Path(__file__).with_suffix(".json")
ADAPTERS = {
    "PyTorch": ("torch", "jax"),
    "Keras on JAX": ("keras", "jax"),
    "Keras on TensorFlow": ("keras", "tensorflow"),
    "Keras on PyTorch": ("keras", "torch"),
    "Optax": ("optax", "jax"),
}
"""Each with the folder of its workshop, and the backend of Keras."""


class Trouble(Exception):
    """What user code raises."""


def fail(error: Callable[[], BaseException]) -> Callable[[Any], Any]:
    def act(_: Any) -> Any:
        raise error()

    return act


def interrupt(value: Any) -> Any:
    signal.raise_signal(signal.SIGINT)
    return value


def terminate(value: Any) -> Any:
    signal.raise_signal(signal.SIGTERM)
    return value


def out_of_memory() -> BaseException:
    if "torch" in sys.modules and os.environ["KERAS_BACKEND"] != "tensorflow":
        return sys.modules["torch"].OutOfMemoryError("out of memory: simulated")
    return MemoryError("simulated")


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


@dataclass(frozen=True)
class Ending:
    """How a range test ends: what user code does at a place, and what then comes out of it."""

    raises: type[BaseException] | tuple[type[BaseException], ...] = ()
    place: str = ""
    act: Callable[[Any], Any] = field(default=lambda value: value)
    options: dict[str, Any] = field(default_factory=dict)
    while_restoring: bool = False


_ENDS = ("forward", "loss", "loader", "metric", "optimizer")
ENDINGS = {
    "end of range": Ending(),
    "diverged": Ending(options={"end_lr": 1e4}),
    "NaN": Ending(place="loader", act=lambda x: x * float("nan")),
    **{f"exception in {p}": Ending(Trouble, p, fail(lambda: Trouble("here"))) for p in _ENDS},
    "Ctrl-C": Ending(KeyboardInterrupt, "loader", interrupt),
    "SIGTERM": Ending(SystemExit, "loader", terminate),
    "out of memory": Ending((MemoryError, RuntimeError), "forward", fail(out_of_memory)),
    "disk full": Ending(OSError, "loader", fail(full)),
    "Ctrl-C while restoring": Ending(KeyboardInterrupt, while_restoring=True),
    "a second Ctrl-C while restoring": Ending(
        KeyboardInterrupt, "loader", interrupt, while_restoring=True
    ),
}
AT_CALL = {"range": 6, "probe": 30}
"""In the sweep of 12 steps; and after it, and the scores, in a race."""
OPTIONS: dict[str, dict[str, Any]] = {
    "range": {"method": "range", "steps": 12},
    "probe": {"method": "probe", "steps": 12, "max_steps": 72},
}


class Watch:
    """Runs at each place of the user's; there it acts once, at a call, after taking a picture."""

    def __init__(self, shop: Any, ending: Ending, call: int) -> None:
        self._shop, self._ending, self._call = shop, ending, call
        self._calls = 0
        self.midway: dict[str, Any] = {}

    def __call__(self, place: str, value: Any = None) -> Any:
        ending = self._ending
        if place != (ending.place or "loader"):
            return value
        self._calls += 1
        if self._calls != self._call:
            return value
        self.midway = self._shop.picture()
        return ending.act(value)


def cells_of(adapter: str, name: str, method: str) -> dict[str, str]:
    """What was given back: "=" if it had changed, "." if not; else what was left, "changed"."""
    ending, folder = ENDINGS[name], ADAPTERS[adapter][0]
    workshop = importlib.import_module(f"tests.{folder}.workshop")
    eager = {} if folder == "torch" else {"eager": ending.place not in ("", "loader")}
    shop = workshop.Everything(**eager)
    before = shop.picture()
    shop.at = watch = Watch(shop, ending, AT_CALL[method])
    options = {"start_lr": 1e-5, "end_lr": 1e-3, **OPTIONS[method], **ending.options}
    if name == "disk full" and folder == "torch":
        options["snapshot"] = "disk"
    raised: BaseException | None = None
    handlers = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)),
        # In the background, a shell has it ignored.
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    try:
        with mock.patch(
            "random.setstate", _interrupted() if ending.while_restoring else random.setstate
        ):
            shop.range_test(**options)
    except BaseException as error:  # noqa: BLE001 - of any kind: it is looked at
        raised = error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if not isinstance(raised, _expected(ending, adapter)):
        raise RuntimeError(f"{adapter}, {name}, {method}: it ended by {raised!r}") from raised
    if not watch.midway:
        raise RuntimeError(f"{adapter}, {name}, {method}: it never came there")
    after = shop.picture()
    return {what: _cell(before[what], watch.midway.get(what), after.get(what)) for what in before}


def _expected(ending: Ending, adapter: str) -> Any:
    """TensorFlow reads data in a thread of its own, and tells of its errors as one of its own."""
    if adapter == "Keras on TensorFlow" and ending.place == "loader" and ending.raises:
        return (ending.raises, sys.modules["tensorflow"].errors.OpError)
    return ending.raises or type(None)


def _interrupted() -> Callable[[Any], None]:
    setstate = random.setstate

    def interrupted(state: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        setstate(state)

    return interrupted


def _cell(before: Any, midway: Any, after: Any) -> str:
    if not same(_plain(after), _plain(before)):
        return "changed"
    return "." if same(_plain(midway), _plain(before)) else "="


def _plain(value: Any) -> Any:
    return [*map(_plain, value)] if isinstance(value, (list, tuple)) else value


def measure(adapter: str) -> dict[str, dict[str, str]]:
    """All cells of an adapter: by ending, then by what, for the sweep and for a race."""
    endings: dict[str, dict[str, str]] = {}
    for name in ENDINGS:
        found = [cells_of(adapter, name, method) for method in OPTIONS]
        endings[name] = {what: "".join(cells[what] for cells in found) for what in found[0]}
    return endings


def table(adapter: str, endings: dict[str, dict[str, str]]) -> str:
    """One row for what can change, one column for how the test ended."""
    head = [f"| | {' | '.join(endings)} |", f"|---|{'---|' * len(endings)}"]
    rows = [f"**{adapter}**", "", *head]
    for what in endings["end of range"]:
        marks = [_mark(cells[what]) for cells in endings.values()]
        rows.append(f"| {what} | {' | '.join(marks)} |")
    return "\n".join(rows)


def _mark(cells: str) -> str:
    if "changed" in cells:
        return "**changed**"
    return "=" if "=" in cells else "·"


def told(kept: dict[str, dict[str, dict[str, str]]]) -> str:
    """The tables, and what they come to."""
    cells = [cell for endings in kept.values() for row in endings.values() for cell in row.values()]
    wrong = sum("changed" in cell for cell in cells)
    changed = sum("=" in cell for cell in cells)
    text = (
        f"{len(cells)} cells, each in a sweep and in a race. In {changed} the test had changed the "
        "thing, and it was given back to the last bit (=); in "
        f"{len(cells) - changed - wrong} it had not by then (·); in {wrong} it was left changed."
    )
    return "\n\n".join([text, *(table(adapter, endings) for adapter, endings in kept.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapter", choices=ADAPTERS)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.adapter:
        warnings.simplefilter("ignore")
        found = measure(arguments.adapter)
        kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
        kept = {name: kept[name] for name in ADAPTERS if name in kept} | {arguments.adapter: found}
        write_json(KEPT, kept)
        print(table(arguments.adapter, found))
        return
    for adapter, (_, backend) in ADAPTERS.items():
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, __file__, "--adapter", adapter]
        if not arguments.write:
            subprocess.run(command, env=environment, check=True)  # noqa: S603 - this script
    if arguments.write:
        write_generated(PAGE, told(json.loads(KEPT.read_text(encoding="utf-8"))), "restore_matrix")


if __name__ == "__main__":
    main()
