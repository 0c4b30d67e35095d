"""What a command says, and where: results on stdout, progress on stderr, JSON alone on stdout."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cyclerate.cli.interrupts import let_through

COLUMNS = 80


class Bar(Protocol):
    """A progress bar, or nothing that looks like one."""

    def __call__(self, done: int, label: str = "") -> None:
        """Shows that `done` of the whole is done."""
        ...


class Talk:
    """The voice of one command.

    Args:
        as_json: One JSON document goes to stdout, and nothing else; what is said goes to stderr.
        quiet: Only the result is said.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self._out = _console(stderr=as_json)
        self._err = _console(stderr=True)

    def say(self, text: str, *, point: bool = False) -> None:
        """Says something on the way, as a point of a list if asked; not when quiet."""
        if not self.quiet:
            self._out.print(wrapped(text, point=point), soft_wrap=True)

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


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.width = min(console.width, COLUMNS)
    return console
