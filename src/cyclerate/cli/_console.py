"""How a command speaks and ends, and what several of them share: options, folder, backend.

Results go to stdout, progress to stderr, a mistake is one message. A user's mistake ends it with 2,
our own failure with 1, Ctrl-C with 130, SIGTERM with 143.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import textwrap
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Protocol

import rich.console
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from cyclerate._errors import CyclerateError, MissingExtra, bad_argument, check_count, require

COLUMNS = 80
MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130


class Mistake(CyclerateError):
    """The user can put it right; the message says how."""


@contextmanager
def asking() -> Generator[None]:
    """While what the user gave is read, a refused value is the user's mistake, not ours."""
    try:
        yield
    except ValueError as error:
        raise Mistake(str(error)) from error


class Bar(Protocol):
    """A progress bar, or nothing that looks like one."""

    def __call__(self, done: int, label: str = "") -> None:
        """Shows that `done` of the whole is done."""
        ...


class Console:
    """The voice of one command."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self._out = _terminal(stderr=as_json)
        self._err = _terminal(stderr=True)

    def say(self, text: str, *, point: bool = False) -> None:
        """Says something on the way, as a point of a list if asked; not when quiet."""
        self.lines(wrapped(text, point=point))

    def lines(self, *lines: str) -> None:
        """Says lines that are to be copied: as they are, however long; not when quiet."""
        if not self.quiet:
            self._out.print(_shown("\n".join(lines)), soft_wrap=True)

    def result(self, text: str) -> None:
        """Says the result, as it is laid out."""
        if not self.as_json:
            self._out.print(_shown(text), soft_wrap=True)

    def document(self, value: Any) -> None:
        """Prints the JSON document, if that was asked for."""
        if self.as_json:  # in ASCII: whatever the encoding of stdout, it is valid JSON
            sys.stdout.write(json.dumps(value, indent=1, allow_nan=False))
            sys.stdout.write("\n")

    @contextmanager
    def others(self) -> Generator[None]:
        """While code of the user's runs: what it prints is no part of the JSON document."""
        with redirect_stdout(sys.stderr) if self.as_json else nullcontext():
            yield

    @contextmanager
    def bar(self, label: str, total: int | None = None) -> Generator[Bar]:
        """Shows a progress bar on a terminal, and nothing when piped or quiet."""
        columns = (TextColumn("{task.description:<24}"), BarColumn(28), TimeRemainingColumn())
        shown = self._err.is_terminal and not self.quiet
        with Progress(*columns, console=self._err, transient=True, disable=not shown) as progress:
            task = progress.add_task(label, total=total)

            def update(done: int, label: str = label) -> None:
                let_through()
                progress.update(task, completed=done, description=label)

            yield update


def wrapped(text: str, *, point: bool = False, indent: int = 0) -> str:
    """Breaks a text into lines of less than 80 columns, as a point of a list if asked."""
    first, rest = ("- ", "  ") if point else (indent * " ", indent * " ")
    return textwrap.fill(
        text,
        COLUMNS - 1,
        initial_indent=first,
        subsequent_indent=rest,
        # A path that is broken cannot be copied.
        break_long_words=False,
        break_on_hyphens=False,
    )


# Control characters but the tab and the line end, those that turn the direction of a line, halves.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _shown(text: str) -> str:
    """A text without what would move a cursor or turn the line, as names in a table may hold."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _terminal(*, stderr: bool) -> rich.console.Console:
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):  # what the encoding of a pipe lacks, ends no command
        stream.reconfigure(errors="backslashreplace")
    terminal = rich.console.Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    terminal.width = min(terminal.width, COLUMNS)
    return terminal


_asked: list[int] = []
# What the system does by itself; a handler of somebody else's stays.
_USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def heard() -> Generator[None]:
    """Notes Ctrl-C and SIGTERM meanwhile; both raise, and `let_through` raises once more.

    Code that a framework calls back from C++ may lose an exception, and the command would go on.
    SIGTERM alone would end the command before it has ended its workers.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = [number for number, usual in _USUAL.items() if signal.getsignal(number) == usual]

    usual_hook = sys.unraisablehook

    def note(number: int, _frame: Any) -> None:
        _asked.append(number)
        let_through()

    def lost(what: Any) -> None:  # in a destructor, or a callback of the garbage collector
        if not (_asked and isinstance(what.exc_value, (KeyboardInterrupt, SystemExit))):
            usual_hook(what)

    for number in ours if in_main else ():
        signal.signal(number, note)
    sys.unraisablehook = lost
    try:
        yield
    finally:
        sys.unraisablehook = usual_hook
        for number in ours if in_main else ():
            signal.signal(number, _USUAL[number])
        _asked.clear()


def let_through() -> None:
    """Ends what goes on although Ctrl-C was pressed, or SIGTERM sent.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        SystemExit: SIGTERM was sent.
    """
    if signal.SIGINT in _asked:
        raise KeyboardInterrupt
    if _asked:
        sys.exit(128 + _asked[0])


class Boundary(TyperGroup):
    """Turns what went wrong into one message and an exit code; no traceback for a mistake."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            with heard():
                return super().invoke(ctx)
        except CyclerateError as error:
            _end(str(error), MISTAKE, error)
        except KeyboardInterrupt as error:
            _end("interrupted; what was finished is kept.", INTERRUPTED, error)
        except BrokenPipeError:
            raise
        except OSError as error:
            _end(f"{error.filename or 'a file'}: {error.strerror or error}.", FAILURE, error)
        except Exception as error:
            # The last line of defence: whatever is left is a fault of ours, and is shown whole.
            if isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "exit_code"):
                raise
            sys.stderr.write(traceback.format_exc())
            message = "this is a fault in cyclerate. Please report it with the lines above."
            _end(message, FAILURE, error)


_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def _end(message: str, code: int, error: BaseException) -> None:
    plain = _COLOURS.sub("", message)  # those of another library are none of ours
    _terminal(stderr=True).print(_shown(f"cyclerate: {plain}"), style="red")
    raise typer.Exit(code) from error


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]
BACKENDS = ("jax", "tensorflow", "torch")


def parts(text: str) -> list[str]:
    """Splits a comma-separated list.

    >>> parts("fixed, one_cycle")
    ['fixed', 'one_cycle']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def widths(text: str) -> tuple[int, ...]:
    """Reads the widths of hidden layers.

    >>> widths("64,32")
    (64, 32)
    """
    read = parts(text)
    if not read or not all(part.isdigit() for part in read):
        raise bad_argument("--hidden", "whole numbers with commas, as 64,32", text)
    return tuple(check_count("--hidden", int(part)) for part in read)


def seed_range(first: int, number: int) -> tuple[int, ...]:
    """The seeds of a comparison: `number` of them from `first` on.

    >>> seed_range(5, 3)
    (5, 6, 7)
    """
    first = check_count("--seed", first, low=0)
    return tuple(range(first, first + check_count("--seeds", number)))


def command_line(context: typer.Context) -> str:
    """The command that does this again: what was given and is not the default, in one order."""
    words = ["cyclerate", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if parameter.name in {"as_json", "quiet"} or value in (None, (), parameter.default):
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
            continue
        if value is True:
            words.append(parameter.opts[0])
            continue
        for part in value if isinstance(value, (list, tuple)) else [value]:
            words += [parameter.opts[0], str(part)]
    return shlex.join(words)


def folder_name(data: Path, target: str) -> str:
    """A folder name for a comparison, of the file's name and the target's.

    >>> folder_name(Path("data/cardio_train.csv.gz"), "cardio")
    'cardio_train-cardio'
    """
    stem = data.name.removesuffix(".gz").removesuffix(".csv")
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{stem}-{target}")
    return safe.lstrip(".")


def check_folder(out: Path, option: str = "--out") -> Path:
    """Makes the folder if need be and checks that files can be written there.

    It is found unusable before an hour of work, not after.

    Raises:
        Mistake: It is a file, or cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise Mistake(f"{option}: {out} is a file: name a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise Mistake(
            f"{option}: {out} cannot be written to ({error.strerror}): name another folder."
        ) from error
    return out


def prefer_backend(first: str = "jax") -> None:
    """Sets Keras's backend unless `KERAS_BACKEND` does: the first that is installed.

    Raises:
        MissingExtra: None is installed.
    """
    if not os.environ.get("KERAS_BACKEND"):
        order = sorted(BACKENDS, key=lambda name: name != first)
        installed = [name for name in order if importlib.util.find_spec(name)]
        if not installed:
            raise MissingExtra(
                "this needs Keras with a backend, and neither jax, tensorflow nor torch is "
                "installed. Run: pip install 'cyclerate[cli]'"
            )
        os.environ["KERAS_BACKEND"] = installed[0]
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        # Keras imports TensorFlow, if it is there, to save a model; keep it from chatting.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def choose_backend(first: str = "jax") -> str:
    """Loads Keras with the preferred backend and returns the backend's name.

    Raises:
        MissingExtra: Keras or its backend is not installed.
    """
    prefer_backend(first)
    keras = require("keras", "cli")
    return str(keras.backend.backend())
