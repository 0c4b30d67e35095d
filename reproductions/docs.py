"""Writes docs/reproductions.md and one picture for each experiment."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks._page import write_generated
from cyclerate._files import write_bytes
from cyclerate.compare._page import when
from reproductions import EXPERIMENTS, Experiment, Reproduction, stored
from reproductions._charts import Chart
from reproductions._page import picture, warnings

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "reproductions.md"


def write() -> Path:
    """Writes the page, and the pictures beside it."""
    parts: list[str] = []
    for experiment in EXPERIMENTS.values():
        record = stored.load(experiment.name)
        if record is not None:
            parts.append(section(experiment, record))
    write_generated(PAGE, "\n\n".join(parts))
    return PAGE


def section(experiment: Experiment, record: Reproduction) -> str:
    """Returns the part of one experiment in Markdown, and draws its picture."""
    drawn = next(chart for chart in experiment.charts(record) if chart.drawn)
    blocks = [
        f"## {experiment.title}",
        f"`python -m reproductions {experiment.name}`. {experiment.source}.",
        *(f"**{warning}**" for warning in (*warnings(record), *_unfinished(experiment, record))),
        "What the article has:",
        _points(experiment.article),
        "What is different here:",
        _points(experiment.differences),
        "What to take from it, said by the numbers below:",
        _points(experiment.lessons(record)),
    ]
    for table in experiment.tables(record):
        blocks += [f"### {table.title}", table.markdown()]
        if table.legend:
            blocks.append(table.legend)
    return "\n\n".join([*blocks, _image(experiment, drawn), _origin(record)])


def _points(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _unfinished(experiment: Experiment, record: Reproduction) -> list[str]:
    cells = experiment.cells(record.size)
    missing = [
        cell.label
        for cell in cells
        if len(record.of(cell.name)) < len(record.size.seeds[: cell.most_seeds])
    ]
    return [f"Not yet run with every seed: {', '.join(missing)}."] if missing else []


def _image(experiment: Experiment, chart: Chart) -> str:
    made = picture(chart)
    file = f"images/reproduce-{experiment.name}.png"
    write_bytes(DOCS / file, made.light)
    alt = made.alt.replace("[", "(").replace("]", ")")
    return f"![{alt}]({file})\n\n{made.text}"


def _origin(record: Reproduction) -> str:
    seeds = sorted({run.seed for run in record.runs})
    last = record.sittings[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last.versions.items())
    machine = "; ".join(f"{name}: {value}" for name, value in last.machine.items())
    notes = " ".join(record.data)
    return (
        f"Seeds {', '.join(map(str, seeds))}. {when(last.created)}, with {versions}, on {machine}. "
        f"Data: {notes}"
    )
