"""The report of a comparison: one HTML file that needs nothing else, and its figures as PNG."""

from __future__ import annotations

import base64
import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclerate._errors import require
from cyclerate._files import write_bytes, write_text
from cyclerate.compare._finding import cost, method
from cyclerate.compare._headline import headline, policy_name
from cyclerate.compare._next_steps import next_steps, schedule_code
from cyclerate.compare._rates import schedule_of
from cyclerate.compare._record import Record
from cyclerate.compare._table import page_legend, rows
from cyclerate.compare._theme import DARK, LIGHT, styles
from cyclerate.compare._wording import count, rate
from cyclerate.finder import RangeTestResult

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


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


def write_report(record: Record, out_dir: str | os.PathLike[str]) -> Path:
    """Writes the report of a comparison.

    Args:
        record: The comparison.
        out_dir: The folder for `report.html` and the figures (`range_test.png`, ...); made if it
            is not there. The page holds its own copies and can be sent on alone.

    Returns:
        The path of the page.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    pictures = draw(record)
    page = render(record, pictures)
    for name, picture in pictures.items():
        write_bytes(Path(out_dir) / f"{name}.png", picture.light)
    return write_text(Path(out_dir) / FILE_NAME, page)


def draw(record: Record) -> dict[str, Picture]:
    """Draws every figure of a record, for light pages and for dark ones."""
    require("matplotlib", "cli")
    from cyclerate.compare._captions import caption
    from cyclerate.compare._drawing import png
    from cyclerate.compare._figures import draw_all

    light, dark = draw_all(record, LIGHT), draw_all(record, DARK)
    words = {name: caption(record, name) for name in light}
    return {
        name: Picture(png(light[name]), png(dark[name]), words[name].text, words[name].alt)
        for name in light
    }


def render(record: Record, pictures: dict[str, Picture]) -> str:
    """Returns the page as HTML; whatever the record says is escaped."""
    found = RangeTestResult.from_dict(record.range_test) if record.range_test else None
    return fill(
        "report.html.j2",
        record=record,
        pictures=pictures,
        headline=headline(record),
        rows=rows(record),
        legend=page_legend(record),
        reference=policy_name(record, record.reference),
        range_test=found,
        found_by=method(found) if found else "",
        cost=cost(record) if found else "",
        policies=_policies(record),
        swatches=_swatches(record),
        next_steps=next_steps(record),
        when=when(record.created),
    )


def fill(template: str | Path, **values: Any) -> str:
    """Returns a template with values put in, each of them escaped.

    Args:
        template: One of this package, by name, or a file that may build on those of this package.
        values: What it shows.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "cli")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(template).parent, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "count": count,
        "rate": rate,
        "tied": tied,
    }
    return str(environment.get_template(Path(template).name).render(**values))


def tied(text: str) -> str:
    """Ties numbers to their units, so that no line begins with a percent sign or a spread.

    >>> tied("73.4 % ± 0.1").count(" ")
    0
    """
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace(
        " ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
    )


def _policies(record: Record) -> list[dict[str, str]]:
    made = [(policy, schedule_of(policy)) for policy in record.policies]
    return [
        {
            "name": policy.name,
            "label": policy.label,
            "why": policy.why,
            "code": "" if schedule is None else schedule_code(schedule),
        }
        for policy, schedule in made
    ]


def _swatches(record: Record) -> dict[str, dict[str, Any]]:
    """How the figures draw each policy, for the pieces of line in the table."""
    names = [policy.name for policy in record.policies]
    light, dark = (styles(names, record.reference, theme) for theme in (LIGHT, DARK))
    return {
        name: {
            "light": light[name].color,
            "dark": dark[name].color,
            "dashes": "" if light[name].dashes == "solid" else _svg(light[name].dashes),
        }
        for name in names
    }


def _svg(dashes: tuple[int, tuple[float, ...]]) -> str:
    return " ".join(f"{2 * length:g}" for length in dashes[1])


def when(created: str) -> str:
    """Returns a time stamp as a person writes it, or as it is if it is none."""
    try:
        moment = dt.datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()
