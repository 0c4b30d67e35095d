"""The page: one file, whole, safe, and readable without seeing it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import cyclerate as cr
from cyclerate._theme import DARK, LIGHT
from cyclerate.compare._answer import Answer
from cyclerate.compare._budgets import HOW_LONG
from cyclerate.compare._comparison import Comparison
from cyclerate.compare._page import (
    TEMPLATES,
    embedded,
    render,
    tied,
    write_design,
    write_range_test,
    write_report,
)
from cyclerate.compare._record import Best, PolicyInfo
from cyclerate.cycles._how_long import RECORD, HowLong
from tests.compare.colors import contrast
from tests.compare.records import answer, cell, raced, range_result, record, row

CODE = "{{ 7 * 7 }}"
EVIL = '<script>alert("x")</script>'
FIGURES = [
    "final",
    "learning_curves_loss",
    "learning_curves_metric",
    "range_test",
    "schedules",
    "steps_to_reference",
]
VOID = {"meta", "link", "img", "source", "br", "wbr", "input"}
SELF_CLOSED = {"line", "path", "polyline", "polygon"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; elements must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag != "wbr":
            self.words.append(" ")
        if tag not in VOID | SELF_CLOSED:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID | SELF_CLOSED:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def whole_race() -> Comparison:
    return raced(
        {"fixed": 0.35, "triangular": 5.0, "one_cycle": 2.0},
        range_test=range_result(),
        best=Best("one_cycle", 2, "best.keras"),
        title="heart & health",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "deep" / "down"
    assert write_report(whole_race(), out) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def references(page: Page) -> Iterator[str]:
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            if name in attributes:
                yield attributes[name]


def test_nothing_is_loaded_from_anywhere(page: Page):
    assert list(references(page)) == ["data:,"]
    for name in ("report.css", "report.js"):
        text = (TEMPLATES / name).read_text(encoding="utf-8")
        text = text.replace("http://www.w3.org/2000/svg", "")  # the name of SVG, not an address
        assert not re.search(r"url\(|@import|@font-face|https?:|fetch\(|XMLHttp|WebSocket", text)


def test_one_script_may_run_and_no_other(page: Page):
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    data, script = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert script == (TEMPLATES / "report.js").read_text(encoding="utf-8")
    assert "innerHTML" not in script
    assert [s.get("type") for s in page.all("script")] == ["application/json", None]
    assert set(json.loads(data)) == {"curves", "design", "frameworks", "policies", "tests"}
    handlers = [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    assert handlers == []


def test_paper_is_always_light():
    css = (TEMPLATES / "base.html.j2").read_text(encoding="utf-8")
    css += (TEMPLATES / "report.css").read_text(encoding="utf-8")
    darkening = css.count("screen and (prefers-color-scheme: dark)")
    assert css.count("prefers-color-scheme") == darkening == 2


def test_every_figure_is_in_the_page_and_the_page_is_alone(folder: Path, page: Page):
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    assert (folder / "report.html").stat().st_size < 250_000
    drawn = [figure["data-figure"] for figure in page.all("figure")]
    assert sorted(drawn) == sorted([*FIGURES, "schedule"])
    assert not page.all("img")


def test_figures_are_told_in_words_and_have_a_table_behind_them(page: Page):
    alts = {svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"}
    assert len(alts) == len(FIGURES) + 1 + 2  # three panels of schedules, and the one to change
    assert (
        "Dot chart of the final held-out accuracy: fixed 72.4 % ± 0.1; triangular 73.4 % ± 0.2; "
        "one cycle 73.3 % ± 0.1."
    ) in alts
    assert any(
        alt.startswith("Line chart of the loss over learning rates from 1e-05") for alt in alts
    )
    assert len(page.all("details")) == len(page.all("figure"))
    assert len(page.all("table")) == 2 + len(page.all("figure"))


def numbers(page: Page) -> dict[str, Any]:
    return json.loads(page.scripts[0])


def test_the_numbers_of_the_page_are_those_of_the_record(page: Page):
    made = whole_race()
    loss, metric = numbers(page)["curves"]["quantities"]
    assert (loss["percent"], metric["percent"]) == (False, True)
    for policy, name in zip(loss["policies"], made.policies, strict=True):
        for drawn, run in zip(policy["runs"], made.runs_of(name), strict=True):
            assert (drawn["seed"], drawn["fold"], drawn["diverged"]) == (run.seed, 0, False)
            assert drawn["x"] == list(run.steps)
            assert drawn["y"] == pytest.approx(run.heldout_loss, rel=1e-5)
            assert drawn["perStep"] == pytest.approx(run.seconds / 8000, rel=1e-3)
    (test,) = numbers(page)["tests"]
    result = range_result()
    assert test["lrs"] == pytest.approx(result.lrs.tolist(), rel=1e-5)
    assert test["smoothed"]["y"] == pytest.approx(result.smoothed.tolist(), rel=1e-5)
    assert test["runs"][0]["losses"] == pytest.approx(result.losses.tolist(), rel=1e-5)


def test_the_search_is_counted_for_the_policies_that_used_its_rate():
    found = range_result()
    top = float(f"{found.max_lr:.3g}")
    policies = [
        PolicyInfo("fixed", "fixed", cr.Constant(0.01).to_dict(), ""),
        PolicyInfo("one_cycle", "1cycle", cr.OneCycle(top, 8000).to_dict(), ""),
    ]
    made = raced({"fixed": 0.35, "one_cycle": 2.0}, range_test=found, policies=policies)
    page = Page(render(Answer(made)))
    searches = [one["search"] for one in numbers(page)["curves"]["quantities"][0]["policies"]]
    assert searches == [
        {"steps": 0, "seconds": 0.0},
        {"steps": found.steps, "seconds": found.seconds},
    ]


def test_the_controls_begin_at_the_schedule_that_won(page: Page):
    design = numbers(page)["design"]
    own = {name: design[name] for name in ("policy", "base_lr", "max_lr", "steps", "cycles", "up")}
    assert own == {
        "policy": "triangular",
        "base_lr": 0.001,
        "max_lr": 0.08,
        "steps": 8000,
        "cycles": 10,
        "up": 0.5,
    }


@pytest.mark.parametrize("text", ["</script>", "<!--", "&lt;", "]]>", "\u2028", '"\\'])
def test_no_text_ends_the_numbers(text: str):
    written = embedded({text: [text]})
    assert not re.search(r"[<>&\u2028]", written)
    assert json.loads(written) == {text: [text]}


def test_repeats_are_a_band_and_races_are_there(tmp_path: Path):
    found = range_result()
    higher = dataclasses.replace(found, smoothed=found.smoothed + 0.5)
    result = dataclasses.replace(found, runs=(found, higher), races=((0.05, 0.5), (0.3, None)))
    file = write_range_test(result, tmp_path / "range_test.html", steps=900)
    page = Page(file.read_text(encoding="utf-8"))
    (test,) = numbers(page)["tests"]
    assert test["band"][0] == pytest.approx(found.smoothed.tolist(), rel=1e-5)
    assert test["band"][1] == pytest.approx(higher.smoothed.tolist(), rel=1e-5)
    assert test["races"] == [[0.05, 0.5], [0.3, None]]
    assert numbers(page)["design"]["steps"] == 900
    top = float(f"{result.max_lr:.3g}")
    assert f"schedule = cr.OneCycle(max_lr={top!r}, total_steps=900)" in page.text


def test_a_range_test_without_an_answer_has_a_page(tmp_path: Path):
    file = write_range_test(range_result(flat=True), tmp_path / "range_test.html", steps=900)
    page = Page(file.read_text(encoding="utf-8"))
    assert "max_lr no clear answer" in page.text
    assert numbers(page)["design"] is None
    assert [figure["data-figure"] for figure in page.all("figure")] == ["range_test"]


def test_a_page_to_design_on_needs_no_run(tmp_path: Path):
    file = write_design(cr.WarmRestarts(0.1, 100), 700, tmp_path / "design.html")
    page = Page(file.read_text(encoding="utf-8"))
    assert file.stat().st_size < 100_000
    design = numbers(page)["design"]
    assert (design["policy"], design["cycles"], design["mult"]) == ("restarts", 7, 1)
    assert "schedule = cr.WarmRestarts(max_lr=0.1, cycle_steps=100)" in page.text


def test_the_page_has_landmarks_headings_and_table_headers(page: Page):
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("header", "main", "footer", "h1")] == [1] * 4
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[2]["content"] == "width=device-width, initial-scale=1"
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [s["aria-labelledby"] for s in page.all("section")]
    assert labels == ["comparison", "curves", "schedules", "next", "run"]
    assert set(labels) <= set(ids)
    assert {th["scope"] for th in page.all("th")} == {"col", "row"}
    for control in ("input", "select"):
        assert page.all(control)
        assert all("name" in one for one in page.all(control))


@pytest.mark.parametrize(
    ("metric", "heading"), [("accuracy", "Accuracy"), ("rmse", "RMSE"), ("my_own", "My_own")]
)
def test_a_metric_heads_its_column_as_it_is_called(metric: str, heading: str):
    page = Page(render(answer([row("fixed", 0.5)], metric=metric)))
    assert f"Policy {heading} Steps to reach Loss" in page.text


def test_the_page_says_what_was_found_and_run(page: Page):
    for words in (
        "triangular reached the fixed rate's final loss in 700 steps instead of",
        "heart & health",
        "schedule = cr.Triangular(base_lr=0.001, max_lr=0.08, step_size=400)",
        "model = keras.saving.load_model('best.keras')",
        "(one cycle, seed 2)",
        "70,000 rows (51,200 for training, 18,800 held out), 11 features, target cardio",
        "Column id left out: every row has its own value.",
        "4,993 parameters",
        "SGD (momentum 0.9), loss binary_crossentropy, batches of 128",
        "0, 1, 2",
        "keras 3.15.0",
        "memory: 8 GiB",
        "21 November 2025, 22:17 UTC",
        "cyclerate compare cardio_train.csv.gz --target cardio --epochs 20 --seeds 3",
        "so higher rates were not tried.",
    ):
        assert words in page.text


def test_advice_that_the_command_has_no_option_for_is_left_to_the_library():
    flat = range_result(flat=True)
    assert flat.stop_reason.value.endswith("raise end_lr and run it again.")
    made = record([row("fixed", 0.5)], range_test=flat)
    assert "end_lr" not in Page(render(Answer(made))).text.partition("End of the sweep")[2]
    mine = record([row("fixed", 0.5)], range_test=flat, command="")
    assert "raise end_lr and run it again." in Page(render(Answer(mine))).text


def hostile() -> Comparison:
    rows = [row("fixed", 0.56), row("triangular", 0.5, steps_to_reference=480.0)]
    cells = [cell("triangular", 0, [0.9, 0.5])]
    about = record(rows).about
    data = {
        "name": EVIL,
        "target": EVIL,
        "classes": (EVIL, "'\"><b>"),
        "notes": (EVIL, "{{ 7 * 7 }}"),
    }
    model = {"description": EVIL, "optimizer": EVIL, "loss": EVIL}
    return record(
        rows,
        cells=cells,
        title=EVIL,
        created=EVIL,
        command=EVIL,
        versions={EVIL: EVIL},
        machine={EVIL: EVIL},
        data=dataclasses.replace(about.data, **data),
        model=dataclasses.replace(about.model, **model),
        metric=EVIL,
        policies=[
            dataclasses.replace(p, label=f"{EVIL}{p.name}", why=EVIL) for p in about.policies
        ],
        best=Best("triangular", 1, EVIL),
    )


def test_what_a_record_says_is_text_and_never_markup(tmp_path: Path):
    text = write_report(hostile(), tmp_path).read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("script")) == 2
    assert EVIL not in text
    assert not page.all("b")
    assert "alert" not in {name for _, attributes in page.elements for name in attributes}
    assert text.count("&lt;script&gt;") > 20
    assert json.loads(page.scripts[0])["curves"]["quantities"][0]["policies"][1]["label"] == (
        f"{EVIL}triangular"
    )
    assert CODE in page.text
    assert len(page.all("figure")) == len(FIGURES)
    assert next(m["name"] for m in page.all("meta") if "name" in m) == "viewport"


def test_a_page_without_a_winner_has_no_code_and_no_range_test():
    lost = [row(n, None, None, metric_mean=None, diverged=3) for n in ("fixed", "triangular")]
    page = Page(render(answer(lost)))
    assert "No policy can be recommended from these runs." in page.text
    assert "diverged 3 of 3" in page.text
    assert "range_test" not in [figure["data-figure"] for figure in page.all("figure")]
    assert len(page.all("pre")) == 1


def test_reservations_stand_under_the_answer():
    made = answer([row("fixed", 0.5, None)], range_test=range_result(flat=True))
    page = Page(render(made))
    assert page.text.count("Range test: No clear answer: the loss improves no more than") == 1
    assert "max_lr no clear answer" in page.text
    assert len([p for p in page.all("p") if p.get("class") == "note"]) == 1


def test_a_schedule_that_cannot_be_made_is_said():
    foreign = PolicyInfo("mine", "mine", {"type": "Nobody"}, "By hand.")
    page = Page(render(answer([row("mine", 0.5)], policies=(foreign,))))
    assert "By hand. It cannot be drawn here" in page.text


def test_the_curve_of_a_finished_how_long_is_on_the_page(tmp_path: Path):
    place, made = tmp_path / HOW_LONG, answer([row("fixed")]).comparison
    place.mkdir()
    values: dict[str, tuple[float | None, ...]] = {"val_accuracy": (0.8, 0.85, 0.87)}
    told = HowLong((250, 500, 1000), values, "val_accuracy", (60.0, 120.0, 240.0))
    part = dataclasses.replace(told, provenance={"total_steps": 2000})
    part.save(place / RECORD)
    assert "How long to train" not in write_report(made, tmp_path).read_text()
    whole_run = dataclasses.replace(told, provenance={"total_steps": 1000})
    whole_run.save(place / RECORD)
    page = Page(write_report(made, tmp_path).read_text())
    words = " ".join(" ".join(page.words).split())
    assert "How long to train" in words
    assert "Another 4.0 minutes, twice the steps, gain about 1." in words
    assert "about 88." in words


def test_a_failure_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ValueError("schema")

    monkeypatch.setattr("cyclerate.compare._figures.range_test", fail)
    with pytest.raises(ValueError, match="schema"):
        write_report(whole_race(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numbers_keep_their_units():
    nbsp = "\N{NO-BREAK SPACE}"
    assert tied("73.4 % ± 0.1 against") == f"73.4{nbsp}%{nbsp}±{nbsp}0.1 against"


def colors(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css))


def test_text_on_the_page_is_legible_in_light_and_dark():
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light, dark = (colors(block) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL))
    assert set(light) == set(dark)
    for theme, own in ((light, LIGHT), (dark, DARK)):
        theme |= {"paper": own.paper, "ink": own.ink}
        assert contrast(theme["edge"], theme["paper"]) >= 3.0
        for text, ground in [
            ("ink", "paper"),
            ("ink", "panel"),
            ("ink", "good"),
            ("soft", "paper"),
            ("soft", "good"),
            ("good-ink", "good"),
            ("good-ink", "paper"),
            ("bad-ink", "bad"),
            ("accent", "paper"),
            ("soft", "panel"),
        ]:
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)


def test_a_report_needs_no_framework_and_no_pyplot(tmp_path: Path):
    saved = record([row("fixed", 0.5)], range_test=range_result()).save(tmp_path / "record.json")
    code = (
        "import sys\n"
        "from cyclerate.compare._page import write_report\n"
        "from cyclerate.compare import Comparison\n"
        "heavy = {'matplotlib', 'jinja2', 'keras', 'jax', 'torch', 'tensorflow', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "write_report(Comparison.load(sys.argv[1]), sys.argv[2])\n"
        "print(sorted(heavy & set(sys.modules)), 'matplotlib.pyplot' in sys.modules)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(saved), str(tmp_path / "out")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["[]", "['jinja2'] False"]
