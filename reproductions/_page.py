"""The pages made of records: one HTML file for a run, and docs/reproductions.md for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._page import write_generated
from cyclerate._errors import require
from cyclerate._files import write_bytes, write_text
from cyclerate._theme import DARK, LIGHT
from cyclerate.compare._page import FILE_NAME, fill, when
from reproductions._charts import Chart, draw
from reproductions._experiment import Experiment
from reproductions._record import Reproduction, stored

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "reproductions.md"
_QUICK = (
    "A quick run, on small or made-up data: it shows that the experiment works. Its numbers say "
    "nothing about the article."
)
_TEMPLATE = Path(__file__).parent / "templates" / "experiment.html.j2"


@dataclass(frozen=True)
class Picture:
    """A figure as the page embeds it: for light and for dark, with its words."""

    light: bytes
    dark: bytes
    text: str
    alt: str

    @property
    def width(self) -> int:
        """Pixels, read from the PNG header."""
        return int.from_bytes(self.light[16:20], "big")

    @property
    def height(self) -> int:
        """Pixels, read from the PNG header."""
        return int.from_bytes(self.light[20:24], "big")


def write_page(experiment: Experiment, record: Reproduction, out_dir: Path) -> Path:
    """Writes the page of a reproduction, and its figures beside it; returns the page's path.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    charts = [chart for chart in experiment.charts(record) if chart.drawn]
    pictures = [picture(chart) for chart in charts]
    named = ((cell.label, record.of(cell.name)) for cell in experiment.cells(record.size))
    page = fill(
        _TEMPLATE,
        experiment=experiment,
        record=record,
        warnings=warnings(experiment, record),
        article=paragraphs(experiment.article),
        differences=paragraphs(experiment.differences),
        lessons=experiment.lessons(record),
        tables=[table for table in experiment.tables(record) if table.rows],
        pictures=pictures,
        runs=[(label, [run.seed for run in runs]) for label, runs in named if runs],
        origins=origins(record),
    )
    for chart, drawn in zip(charts, pictures, strict=True):
        write_bytes(out_dir / f"{chart.name}.png", drawn.light)
    return write_text(out_dir / FILE_NAME, page)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, each on one line; blank lines part them."""
    return [" ".join(part.split()) for part in text.split("\n\n")]


def picture(chart: Chart) -> Picture:
    """Draws a chart, for light pages and for dark ones."""
    require("matplotlib", "cli")
    from reproductions._drawing import png

    light, dark = (png(draw(chart, theme)) for theme in (LIGHT, DARK))
    return Picture(light, dark, chart.caption, chart.alt)


def warnings(experiment: Experiment, record: Reproduction) -> list[str]:
    """What must be known before the numbers are read."""
    if record.size.quick:
        return [_QUICK]
    told: list[str] = []
    if record.size.scale != 1.0:
        told.append(f"Every training was {record.size.scale:g} times as long as in the experiment.")
    wanted = [(cell, len(record.of(cell.name))) for cell in experiment.cells(record.size)]
    missing = [cell.label for cell, runs in wanted if not runs]
    some = [
        cell.label for cell, runs in wanted if 0 < runs < len(record.size.seeds[: cell.most_seeds])
    ]
    if missing:
        told.append(f"Not run yet: {', '.join(missing)}.")
    if some:
        told.append(f"Not yet run with every seed: {', '.join(some)}.")
    return told


def origins(record: Reproduction) -> list[dict[str, Any]]:
    """The versions and machines of the runs, each pair once, with its first and last time."""
    found: dict[str, dict[str, Any]] = {}
    for made in sorted((run.provenance for run in record.runs), key=lambda one: one["created"]):
        versions, machine = made["versions"], made["machine"]
        here = found.setdefault(f"{versions} {machine}", {**made, "when": when(made["created"])})
        if here["created"] != made["created"]:
            here["when"] = f"{when(here['created'])} to {when(made['created'])}"
    return list(found.values())


def write_docs(experiments: Iterable[Experiment]) -> Path:
    """Writes the page of all experiments that have a stored record, and a picture of each."""
    parts: list[str] = []
    for experiment in experiments:
        for place, record in enumerate(stored(experiment.name)):
            parts.append(section(experiment, record, again=place > 0))
    write_generated(PAGE, "\n\n".join(parts))
    return PAGE


def section(experiment: Experiment, record: Reproduction, *, again: bool = False) -> str:
    """Returns the part of one experiment in Markdown, and draws its picture.

    Args:
        experiment: Which one.
        record: What is stored of it.
        again: It follows another record of the same experiment, which has told what this is about.
    """
    scale = "" if record.size.scale == 1.0 else f"-scale-{record.size.scale:g}"
    of_it = f"{experiment.title}: {record.size.scale:g} of the length"
    about = [
        f"`python -m reproductions {experiment.name}`. {experiment.source}.",
        *(f"**{warning}**" for warning in warnings(experiment, record)),
        "What the article has:",
        _points(paragraphs(experiment.article)),
        "What is different here:",
        _points(paragraphs(experiment.differences)),
    ]
    blocks = [f"## {of_it if again else experiment.title}"]
    blocks += [f"**{w}**" for w in warnings(experiment, record)] if again else about
    if lessons := experiment.lessons(record):
        blocks += ["What to take from it, said by the numbers below:", _points(lessons)]
    for table in experiment.tables(record):
        if table.rows:
            blocks += [f"### {table.title}", table.markdown()]
            blocks += [table.legend] if table.legend else []
    drawn = picture(next(chart for chart in experiment.charts(record) if chart.drawn))
    file = f"images/reproduce-{experiment.name}{scale if again else ''}.png"
    write_bytes(DOCS / file, drawn.light)
    alt = drawn.alt.replace("[", "(").replace("]", ")")
    seeds = sorted({run.seed for run in record.runs})
    return "\n\n".join(
        [
            *blocks,
            f"![{alt}]({file})",
            drawn.text,
            f"Seeds {', '.join(map(str, seeds))}. {' '.join(map(_origin, origins(record)))}",
            f"Data: {' '.join(record.data)}",
        ]
    )


def _points(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _origin(made: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    machine = "; ".join(f"{name}: {value}" for name, value in made["machine"].items())
    return f"{made['when']}, with {versions}, on {machine}."
