"""`cyclerate report`: pictures and page anew from a record; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cyclerate.cli.folder import check_folder
from cyclerate.cli.mistakes import Mistake, asking
from cyclerate.cli.talk import Talk
from cyclerate.compare._record import FILE_NAME, Record


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help=f"A folder with {FILE_NAME}.", show_default=False),
    ],
) -> None:
    """Draw report.html and its pictures again from record.json."""
    if not folder.exists():
        raise Mistake(f"there is no folder {folder}. Check the path.")
    try:
        with asking():
            record = Record.load(folder)
    except FileNotFoundError as error:
        raise Mistake(
            f"{folder} holds no {FILE_NAME}: name the --out folder of a comparison."
        ) from error
    out = check_folder(folder if folder.is_dir() else folder.parent)
    talk = Talk()
    from cyclerate.compare._page import write_report
    from cyclerate.compare._table import text_table

    with talk.bar("drawing the report"):
        page = write_report(record, out)
    talk.result(f"{text_table(record)}\n\nReport: {page}")
