"""The page: one file, whole, safe, and readable without seeing it."""

from __future__ import annotations

import base64
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cyclerate.compare._comparison import Comparison
from cyclerate.compare._page import TEMPLATES, render, tied, write_report
from cyclerate.compare._record import Best, PolicyInfo
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
VOID = {"meta", "link", "img", "source", "br", "line", "wbr"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; elements must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag != "wbr":
            self.words.append(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
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
    found = list(references(page))
    assert len(found) == 2 * len(FIGURES) + 1
    assert all(reference.startswith(("data:", "#")) for reference in found)
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|@font-face|https?:", css)
    policies = [m["content"] for m in page.all("meta") if m.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_nothing_runs(page: Page):
    assert not page.all("script")
    handlers = [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    assert handlers == []


def images(page: Page, kind: str) -> set[bytes]:
    sources = [img["src"] for img in page.all("img") if img["class"] == kind]
    return {base64.b64decode(source.partition(",")[2]) for source in sources}


def test_one_of_two_images_is_shown_and_paper_is_always_light():
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    in_the_dark = "".join(
        re.findall(r"@media screen and \(prefers-color-scheme: dark\) \{(.*?)\n\}", css, re.DOTALL)
    )
    assert (
        css.count("prefers-color-scheme")
        == css.count("screen and (prefers-color-scheme: dark)")
        == 2
    )
    assert re.findall(r"\.(light|dark) \{ display: (\w+); \}", in_the_dark) == [
        ("light", "none"),
        ("dark", "block"),
    ]
    everywhere = re.findall(r"^\.(light|dark) \{ display: (\w+); \}", css, re.MULTILINE)
    assert everywhere == [("light", "block"), ("dark", "none")]


def test_every_figure_is_in_the_page_and_beside_it(folder: Path, page: Page):
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted([f"{name}.png" for name in FIGURES] + ["report.html"])
    light, dark = (images(page, kind) for kind in ("light", "dark"))
    assert light == {(folder / f"{name}.png").read_bytes() for name in FIGURES}
    assert len(dark) == len(FIGURES)
    assert not dark & light
    assert all(int(img["width"]) == 924 and int(img["height"]) > 200 for img in page.all("img"))


def test_figures_are_told_in_words(page: Page):
    alts = {img["alt"] for img in page.all("img")}
    assert len(alts) == len(FIGURES)
    assert (
        "Dot chart of the final held-out accuracy: fixed 72.4 % ± 0.1; triangular 73.4 % ± 0.2; "
        "one cycle 73.3 % ± 0.1."
    ) in alts
    assert any(
        alt.startswith("Line chart of the loss over learning rates from 1e-05") for alt in alts
    )


def test_the_page_has_landmarks_headings_and_table_headers(page: Page):
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("header", "main", "footer", "h1", "table")] == [1] * 5
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("meta")[2]["content"] == "width=device-width, initial-scale=1"
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [s["aria-labelledby"] for s in page.all("section")]
    assert labels == ["comparison", "curves", "range-test", "schedules", "next", "run"]
    assert set(labels) <= set(ids)
    scopes = [th["scope"] for th in page.all("th")]
    assert scopes == ["col"] * 6 + ["row"] * 3


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
        range_result().stop_reason.value,
    ):
        assert words in page.text


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
    assert not page.all("script")
    assert not page.all("b")
    assert "alert" not in {name for _, attributes in page.elements for name in attributes}
    assert text.count("&lt;script&gt;") == text.count("alert(") > 20
    assert CODE in page.text
    assert len(page.all("img")) == 2 * (len(FIGURES) - 1)
    assert next(m["name"] for m in page.all("meta") if "name" in m) == "viewport"


def test_a_page_without_a_winner_has_no_code_and_no_range_test():
    lost = [row(n, None, None, metric_mean=None, diverged=3) for n in ("fixed", "triangular")]
    page = Page(render(answer(lost), {}))
    assert "No policy can be recommended from these runs." in page.text
    assert "diverged 3 of 3" in page.text
    assert "range-test" not in [s["aria-labelledby"] for s in page.all("section")]
    assert len(page.all("pre")) == 1


def test_reservations_stand_under_the_answer():
    made = answer([row("fixed", 0.5, None)], range_test=range_result(flat=True))
    page = Page(render(made, {}))
    assert page.text.count("Range test: No clear answer: the loss improves no more than") == 1
    assert "max_lr no clear answer" in page.text
    assert len([p for p in page.all("p") if p.get("class") == "note"]) == 1


def test_a_schedule_that_cannot_be_made_is_said():
    foreign = PolicyInfo("mine", "mine", {"type": "Nobody"}, "By hand.")
    page = Page(render(answer([row("mine", 0.5)], policies=(foreign,)), {}))
    assert "By hand. It cannot be drawn here" in page.text


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
    for theme in (light, dark):
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
    assert out.splitlines() == ["[]", "['jinja2', 'matplotlib'] False"]
