"""The page of a comparison: one HTML file that needs nothing else, and its figures as PNG."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import keyword
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclerate.schedules
from cyclerate._errors import require
from cyclerate._files import write_bytes, write_text
from cyclerate.compare._answer import Answer, page_legend, rows
from cyclerate.compare._comparison import Comparison
from cyclerate.compare._theme import DARK, LIGHT, styles
from cyclerate.compare._wording import rate, seconds, whole
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Constant, Schedule

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
# Classes that both frameworks, or Keras alone, have by these names.
OPTIMIZERS = {
    *("SGD", "Adam", "AdamW", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Lion", "Ftrl", "Lamb"),
    *("Muon", "Nadam", "NAdam", "RAdam", "Rprop"),
}


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


def write_report(comparison: Comparison, out_dir: str | os.PathLike[str]) -> Path:
    """Writes the report of a comparison; returns the path of the page.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    answer = Answer(comparison)
    pictures = draw(answer)
    page = render(answer, pictures)
    for name, picture in pictures.items():
        write_bytes(Path(out_dir) / f"{name}.png", picture.light)
    return write_text(Path(out_dir) / FILE_NAME, page)


def draw(answer: Answer) -> dict[str, Picture]:
    """Draws every figure of a comparison, for light pages and for dark ones."""
    require("matplotlib", "cli")
    from cyclerate.compare._drawing import png
    from cyclerate.compare._figures import describe_all, draw_all

    light, dark, words = draw_all(answer, LIGHT), draw_all(answer, DARK), describe_all(answer)
    return {
        name: Picture(png(figure), png(dark[name]), words[name].text, words[name].alt)
        for name, figure in light.items()
    }


def render(answer: Answer, pictures: dict[str, Picture]) -> str:
    """Returns the page as HTML; whatever the comparison says is escaped."""
    comparison, about = answer.comparison, answer.comparison.about
    found = next(iter(comparison.range_tests.values()), None)
    made = comparison.schedules
    codes = {name: schedule_code(schedule) for name, schedule in made.items()}
    return fill(
        "report.html.j2",
        about=about,
        answer=answer,
        pictures=pictures,
        rows=rows(answer),
        legend=page_legend(answer),
        range_test=found,
        found_by=method(found) if found else "",
        cost=cost(found, about.total_steps) if found else "",
        codes=codes,
        swatches=_swatches(comparison),
        use=use(answer),
        when=when(about.created),
    )


def fill(template: str | Path, **values: Any) -> str:
    """Returns a template with values put in, each of them escaped.

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
        "whole": whole,
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


def when(created: str) -> str:
    """Returns a time stamp as a person writes it, or as it is if it is none."""
    try:
        moment = dt.datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()


def _swatches(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """How the figures draw each policy, for the pieces of line in the table."""
    names = comparison.policies
    light, dark = (styles(names, comparison.reference, theme) for theme in (LIGHT, DARK))
    dashes = {name: line.dashes for name, line in light.items() if line.dashes != "solid"}
    return {
        name: {
            "light": light[name].color,
            "dark": dark[name].color,
            "dashes": " ".join(f"{2 * size:g}" for size in dashes.get(name, (0, ()))[1]),
        }
        for name in names
    }


def method(result: RangeTestResult) -> str:
    """Says what a range test did: its sweeps and its races."""
    times = len(result.runs)
    swept = f"a sweep of {whole(len(result.lrs))} steps"
    if result.method != "probe":
        return f"{swept}, {times} times" if times else swept
    races = len(result.races)
    if times:
        return f"{times} probes, with {races} races in all"
    raced = "one race" if races == 1 else f"{races or 'no'} races"
    return f"a probe: {swept}, then {raced}"


def cost(result: RangeTestResult, total_steps: int) -> str:
    """Says what a range test took, beside one run."""
    share = result.steps / max(total_steps, 1)
    time = "" if result.seconds is None else f", {seconds(result.seconds)} s"
    return f"{whole(result.steps)} optimizer steps, {100 * share:.0f} % of one run{time}"


@dataclass(frozen=True)
class Use:
    """Code to copy."""

    label: str
    code: str  # makes the optimizer; runnable as it is
    how: str
    call: str
    remark: str  # what to change for a training of another length
    load: str  # loads the best model of the comparison, or ""
    load_label: str  # the policy that trained that one


def use(answer: Answer) -> Use | None:
    """Returns the code for the best policy of a comparison, or None if there is no best one."""
    about, row = answer.comparison.about, answer.best
    schedule = answer.comparison.schedules.get(row.policy) if row else None
    if row is None or schedule is None or not schedule_code(schedule):
        return None
    best, config = about.best, about.model.optimizer_config
    constant, torch = isinstance(schedule, Constant), config.get("framework") == "torch"
    how, call = "Compile your model with it", "model.compile(optimizer=optimizer, ...)"
    if torch:
        how, call = "After every optimizer.step()", "" if constant else "rates.step()"
    remark = (
        f"Its lengths count optimizer steps: this training had {whole(about.total_steps)} "
        f"({whole(about.epochs)} epochs of {whole(about.steps_per_epoch)}). "
        "With another batch size or number of epochs, change them in proportion."
    )
    # repr makes a literal of any text, so a file's name cannot leave its quotes.
    load = "import keras\nimport cyclerate.keras\n\nmodel = keras.saving.load_model({!r})"
    return Use(
        label=answer.name(row.policy),
        code=optimizer_code(schedule, config),
        how=how,
        call=call,
        remark="" if constant else remark,
        load=load.format(best.file) if best and best.file else "",
        load_label=answer.name(best.policy) if best else "",
    )


def optimizer_code(schedule: Schedule, config: dict[str, Any]) -> str:
    """Returns Python that makes a recorded optimizer with a schedule's rates.

    What is no optimizer of Keras or PyTorch with plain settings becomes an SGD with a remark.
    """
    known = _is_plain(config)
    name, settings = (config["class"], config["settings"]) if known else ("SGD", {})
    constant = isinstance(schedule, Constant)
    torch = config.get("framework") == "torch"
    given = [f"{key}={value!r}" for key, value in settings.items()]
    if torch:
        start = repr(schedule.value) if constant else "schedule(0)"
        call = f"torch.optim.{name}({', '.join(['model.parameters()', f'lr={start}', *given])})"
        lines, adapter = ["import torch"], "import cyclerate.torch as ct"
    else:
        rates = repr(schedule.value) if constant else "ck.as_schedule(schedule)"
        call = f"keras.optimizers.{name}({', '.join([f'learning_rate={rates}', *given])})"
        lines, adapter = ["import keras"], "import cyclerate.keras as ck"
    if not constant:
        lines += ["import cyclerate as cr", adapter]
    lines.append("")
    if not known:
        lines.append("# Put your own optimizer here: the comparison had another one.")
    if not constant:
        lines.append(f"schedule = {schedule_code(schedule)}")
    lines.append(f"optimizer = {call}")
    if torch and not constant:
        lines.append("rates = ct.ScheduledLR(optimizer, schedule)")
    return "\n".join(lines)


def _is_plain(config: dict[str, Any]) -> bool:
    """Whether code can be made of it: a known class, names, and values that repr as literals."""
    settings = config.get("settings")
    return (
        config.get("class") in OPTIMIZERS
        and isinstance(settings, dict)
        and all(
            str(name).isidentifier()
            and not keyword.iskeyword(str(name))
            and isinstance(value, (bool, int, float, str, type(None)))
            for name, value in settings.items()
        )
    )


def schedule_code(schedule: Schedule) -> str:
    """Returns a schedule as Python, without the arguments that have their default.

    "" where it has a function of the user's own that cannot be imported.

    >>> import cyclerate as cr
    >>> schedule_code(cr.OneCycle(max_lr=0.1, total_steps=500, up_frac=0.2))
    'cr.OneCycle(max_lr=0.1, total_steps=500, up_frac=0.2)'
    """
    name = type(schedule).__name__
    fields = dataclasses.fields(schedule)  # type: ignore[arg-type]
    values = {field.name: getattr(schedule, field.name) for field in fields}
    plain = all(isinstance(value, (int, float, str, type(None))) for value in values.values())
    if not plain or not hasattr(cyclerate.schedules, name):
        try:
            return f"cr.from_dict({schedule.to_dict()!r})"
        except ValueError:
            return ""
    shown = [f.name for f in fields if f.default != values[f.name]]
    return f"cr.{name}({', '.join(f'{field}={values[field]!r}' for field in shown)})"
