"""The page of an experiment: one HTML file that needs nothing else, and its figures as PNG."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cyclerate._errors import require
from cyclerate._files import write_bytes, write_text
from cyclerate.compare._page import FILE_NAME, Picture, fill, when
from cyclerate.compare._theme import DARK, LIGHT
from reproductions._charts import Chart, draw
from reproductions._experiment import Experiment
from reproductions._record import Reproduction

_TEMPLATE = Path(__file__).parent / "templates" / "experiment.html.j2"


def write_page(experiment: Experiment, record: Reproduction, out_dir: Path) -> Path:
    """Writes the page of a reproduction, and its figures beside it; returns the page's path.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    charts = [chart for chart in experiment.charts(record) if chart.drawn]
    pictures = [picture(chart) for chart in charts]
    page = render(experiment, record, pictures)
    for chart, drawn in zip(charts, pictures, strict=True):
        write_bytes(out_dir / f"{chart.name}.png", drawn.light)
    return write_text(out_dir / FILE_NAME, page)


def picture(chart: Chart) -> Picture:
    """Draws a chart, for light pages and for dark ones."""
    require("matplotlib", "cli")
    from cyclerate.compare._drawing import png

    light, dark = (png(draw(chart, theme)) for theme in (LIGHT, DARK))
    return Picture(light, dark, chart.caption, chart.alt)


def render(experiment: Experiment, record: Reproduction, pictures: list[Picture]) -> str:
    """Returns the page as HTML; whatever the record says is escaped."""
    return fill(
        _TEMPLATE,
        experiment=experiment,
        record=_dated(record),
        warnings=warnings(record),
        lessons=experiment.lessons(record),
        tables=experiment.tables(record),
        pictures=pictures,
        cells=_cells(experiment, record),
    )


def warnings(record: Reproduction) -> list[str]:
    """What must be known before the numbers are read."""
    if record.size.quick:
        return [
            (
                "A quick run, on small or made-up data: it shows that the experiment works. Its "
                "numbers say nothing about the article."
            )
        ]
    if record.size.scale != 1.0:
        return [f"Every training was {record.size.scale:g} times as long as in the experiment."]
    return []


def _cells(experiment: Experiment, record: Reproduction) -> list[dict[str, Any]]:
    named = ((cell.label, record.of(cell.name)) for cell in experiment.cells(record.size))
    return [{"label": label, "seeds": [run.seed for run in runs]} for label, runs in named if runs]


def _dated(record: Reproduction) -> dict[str, Any]:
    sittings = [
        {**dataclasses.asdict(sitting), "when": when(sitting.created)}
        for sitting in record.sittings
    ]
    return {"data": record.data, "sittings": sittings}
