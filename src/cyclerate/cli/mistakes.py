"""What ends a command: a user's mistake (2), our own failure (1), Ctrl-C (130)."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from cyclerate._errors import CyclerateError
from cyclerate.cli.interrupts import heard

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


class Boundary(TyperGroup):
    """Turns what went wrong into one message and an exit code; no traceback for a mistake."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            with heard():
                return super().invoke(ctx)
        except CyclerateError as error:
            _tell(str(error))
            raise typer.Exit(MISTAKE) from error
        except KeyboardInterrupt as error:
            _tell("interrupted; what was finished is kept.")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            _tell(f"{error.filename or 'a file'}: {error.strerror or error}.")
            raise typer.Exit(FAILURE) from error
        except Exception as error:
            # The last line of defence: whatever is left is a fault of ours, and is shown whole.
            if isinstance(error, (typer.Exit, typer.Abort)) or hasattr(error, "exit_code"):
                raise
            sys.stderr.write(traceback.format_exc())
            _tell("this is a fault in cyclerate. Please report it with the lines above.")
            raise typer.Exit(FAILURE) from error


def _tell(message: str) -> None:
    console = Console(stderr=True, highlight=False, markup=False)
    console.width = min(console.width, 80)
    console.print(f"cyclerate: {message}", style="red")
