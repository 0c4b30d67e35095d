"""Each experiment once, small: cells, numbers of the tables, page; nothing is fetched."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reproductions import EXPERIMENTS
from reproductions.__main__ import app
from reproductions._experiment import Experiment
from reproductions._record import FILE_NAME, Reproduction

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of data sets, and a download would fail the test."""
    monkeypatch.delenv("CYCLERATE_DATA", raising=False)
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("a quick run downloads"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


def reproduce(name: str, out: Path, *more: str):
    result = RUNNER.invoke(app, [name, "--quick", "--out", str(out), *more])
    assert result.exit_code == 0, result.stderr
    return result


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_quick_run_does_every_cell_and_tells_what_it_found(name: str, folder: Path):
    experiment = EXPERIMENTS[name]
    document = json.loads(reproduce(name, folder / name, "--json").stdout)
    record = Reproduction.load(folder / name / FILE_NAME)
    assert record.size.quick
    assert record.size.seeds == (0,)
    assert [(run.cell, run.seed) for run in record.runs] == [
        (cell.name, 0) for cell in experiment.cells(record.size)
    ]
    assert {key: document[key] for key in record.to_dict()} == record.to_dict()
    assert document["lessons"] == list(experiment.lessons(record))
    assert record.command == f"python -m reproductions {name} --quick --out {folder / name}"
    check_numbers(experiment, record)
    page = (folder / name / "report.html").read_text()
    assert experiment.title in page
    assert "A quick run, on small or made-up data" in page
    for table in experiment.tables(record):
        assert table.title in page
        assert len(table.rows) > 0
    assert page.count("<figure>") == len([c for c in experiment.charts(record) if c.drawn]) > 1


def check_numbers(experiment: Experiment, record: Reproduction) -> None:
    """A number of the record is in the tables; another in its place changes them and the texts."""
    before = "".join(table.text() for table in experiment.tables(record))
    accuracies = [(run, run.outcome.values.get("metric")) for run in record.runs]
    shown = [
        run
        for run, share in accuracies
        if share and (f"{100 * share:.1f} %" in before or f"{100 * share:.2f} %" in before)
    ]
    assert len(shown) > 1
    trained = shown[0]
    others = {**trained.outcome.values, "metric": 0.0123, "loss": 7.654, "train_loss": 7.654}
    outcome = dataclasses.replace(trained.outcome, values=others)
    changed = dataclasses.replace(trained, outcome=outcome)
    runs = tuple(changed if run is trained else run for run in record.runs)
    after = dataclasses.replace(record, runs=runs)
    texts = [table.text() for table in experiment.tables(after)]
    assert any("1.2 %" in text or "1.23 %" in text for text in texts)
    assert experiment.lessons(after) != experiment.lessons(record)


def test_the_same_command_again_trains_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = (folder / "cardio" / FILE_NAME).read_bytes()
    blind = dataclasses.replace(EXPERIMENTS["cardio"], open=lambda _: pytest.fail("opened"))
    monkeypatch.setitem(EXPERIMENTS, "cardio", blind)
    out = reproduce("cardio", folder / "cardio").stdout
    assert "Article and here" in out
    assert f"Page: {folder / 'cardio' / 'report.html'}" in out
    assert (folder / "cardio" / FILE_NAME).read_bytes() == before


def test_another_size_in_the_same_folder_is_a_mistake(folder: Path):
    words = ["cardio", "--out", str(folder / "cardio")]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 2
    assert "quick: true there, false here" in " ".join(result.stderr.split())


def test_without_a_name_it_lists_them():
    result = RUNNER.invoke(app, [])
    assert result.exit_code == 0
    for experiment in EXPERIMENTS.values():
        assert experiment.title in result.stdout
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if line[:1].strip()] == list(EXPERIMENTS)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["carido"], "NAME must be one of"),
        (["cardio", "--scale", "0"], "--scale must be a finite number > 0"),
        (["cardio", "--seeds", "0"], "--seeds must be a whole number >= 1"),
    ],
)
def test_a_wrong_word_is_a_mistake(words: list[str], message: str):
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_without_its_data_it_says_where_they_are(tmp_path: Path):
    result = RUNNER.invoke(app, ["cardio", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "put cardio_train.csv in a folder named cardio" in " ".join(result.stderr.split())
