"""How a command speaks and ends: results on stdout, progress on stderr, a mistake in one message.

A user's mistake ends it with 2, our own failure with 1, Ctrl-C with 130.
"""

from __future__ import annotations

import json
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import rich.console
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperGroup

from cyclerate._errors import CyclerateError

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
            self._out.print("\n".join(lines), soft_wrap=True)

    def result(self, text: str) -> None:
        """Says the result, as it is laid out."""
        if not self.as_json:
            self._out.print(text, soft_wrap=True)

    def document(self, value: Any) -> None:
        """Prints the JSON document, if that was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False))
            sys.stdout.write("\n")

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


def _terminal(*, stderr: bool) -> rich.console.Console:
    terminal = rich.console.Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    terminal.width = min(terminal.width, COLUMNS)
    return terminal


_pressed = threading.Event()


@contextmanager
def heard() -> Generator[None]:
    """Notes Ctrl-C meanwhile; it raises as ever, and `let_through` raises once more.

    Code that a framework calls back from C++ may lose an exception, and the command would go on.
    """
    usual = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or usual is not signal.default_int_handler:
        yield
        return

    def note(number: int, frame: Any) -> None:
        _pressed.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        _pressed.clear()


def let_through() -> None:
    """Ends what goes on although Ctrl-C was pressed.

    Raises:
        KeyboardInterrupt: It was.
    """
    if _pressed.is_set():
        raise KeyboardInterrupt


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


def _end(message: str, code: int, error: BaseException) -> None:
    _terminal(stderr=True).print(f"cyclerate: {message}", style="red")
    raise typer.Exit(code) from error
