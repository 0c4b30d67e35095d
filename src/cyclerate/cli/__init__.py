"""The command `cyclerate`: thin over `compare` and `tables`."""

from __future__ import annotations

import sys

from cyclerate._errors import MissingExtra, require


def main() -> None:
    """Runs the command with the arguments of the process, and exits."""
    try:
        for module in ("typer", "rich"):
            require(module, "cli")
    except MissingExtra as error:
        sys.exit(f"cyclerate: {error}")
    from cyclerate.cli._app import app

    app()
