"""A function of the user's own file, run as asked; what goes wrong in it is said in their terms."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclerate._text import listed, near_names
from cyclerate.cli.mistakes import Mistake


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
