"""Trackers are told what was found and trained; it is read back from their own files.

`make test-trackers` has all four of them; elsewhere those that are missing are left out.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from cyclerate._trackers import Tracker, tell_found, tell_steps, tracking

torch = pytest.importorskip("torch")


class Noting(Tracker):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.steps_told: list[tuple[str, dict[str, list[float]], int]] = []
        self.found_told: list[tuple[str, dict[str, Any], dict[str, list[float]], bool]] = []

    def steps(self, group: str, columns: Any, first_step: int) -> None:
        self.steps_told.append((group, {k: [*v] for k, v in columns.items()}, first_step))

    def found(self, group: str, values: Any, curve: Any, picture: Any) -> None:
        axes = picture() and picture().axes
        self.found_told.append((group, dict(values), dict(curve), bool(axes)))


class Failing(Noting):
    """Cannot write."""

    def steps(self, group: str, columns: Any, first_step: int) -> None:
        raise OSError("the disk is full")


X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)


def trained(**options: Any) -> Any:
    import cyclerate.torch as ct

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    told = {"total_steps": 120, "batch_size": 8, **options}
    return ct.fit_one_cycle(model, optimizer, torch.nn.MSELoss(), (X, Y), **told)


def range_tested() -> cr.RangeTestResult:
    import cyclerate.torch as ct

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = {"batch_size": 8, "method": "range", "steps": 60, "start_lr": 1e-4}
    return ct.range_test(model, optimizer, torch.nn.MSELoss(), (X, Y), **data)


def test_a_range_test_tells_its_answer_its_curve_and_its_picture():
    noting = Noting()
    with tracking(noting):
        result = range_tested()
    ((group, values, curve, drawn),) = noting.found_told
    assert (group, drawn) == ("range_test", True)
    assert (values["max_lr"], values["base_lr"]) == (result.max_lr, result.base_lr)
    assert (values["interval_low"], values["interval_high"]) == result.interval
    assert (values["steps"], values["verdict"]) == (result.steps, result.verdict)
    known = np.isfinite(result.losses)
    assert curve == {"lr": [*result.lrs[known]], "loss": [*result.losses[known]]}
    from matplotlib import pyplot as plt

    assert plt.get_fignums() == []


def test_a_training_tells_every_step_once_and_what_the_cycle_found():
    noting = Noting()
    with tracking(noting):
        history = trained(validation_data=(X, Y))
    steps = [told for told in noting.steps_told if "loss" in told[1]]
    assert [first for _, _, first in steps] == list(range(0, 120, 8))
    for name, values in history.steps.items():
        assert [v for _, columns, _ in steps for v in columns[name]] == values
    measured = [told for told in noting.steps_told if "val_loss" in told[1]]
    assert [first for _, _, first in measured] == list(range(7, 120, 8))
    assert [c["val_loss"][0] for _, c, _ in measured] == history.epochs["val_loss"]
    ((group, values, _, _),) = noting.found_told
    assert (group, values["max_lr"]) == ("cycle", history.finding["top"])
    assert values["repairs"] == len(history.finding["repairs"])


def test_a_tracker_that_fails_is_warned_of_and_changes_nothing():
    told_of = "a tracker could not be told: OSError: the disk is full"
    with pytest.warns(RuntimeWarning, match=told_of), tracking(Failing()):
        told = trained()
    with tracking():
        assert trained() == told


def test_what_is_no_tracker_is_refused():
    with pytest.raises(ValueError, match="trackers must be SummaryWriters"), tracking(print):
        pass


def test_nobody_is_told_where_nobody_listens():
    with tracking():
        tell_steps("training", {"loss": [1.0]})
        tell_found("cycle", {"max_lr": 0.1})


def test_tensorboard(tmp_path: Path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer, tracking(writer):
        result = range_tested()
        history = trained()
    read = events.EventAccumulator(str(tmp_path), {"scalars": 0, "images": 0}).Reload()
    rates = read.Scalars("training/learning_rate")
    assert [event.step for event in rates] == list(range(120))
    assert np.allclose([event.value for event in rates], history.steps["learning_rate"])
    assert read.Scalars("range_test/max_lr")[0].value == pytest.approx(result.max_lr)
    assert len(read.Scalars("range_test/loss")) == int(np.isfinite(result.losses).sum())
    assert read.Images("range_test/picture")[0].width > 100


@pytest.mark.filterwarnings("ignore")  # of its own packages, of each other
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with mlflow.start_run() as run:
        result, history = range_tested(), trained()
    client = mlflow.MlflowClient()
    rates = client.get_metric_history(run.info.run_id, "training/learning_rate")
    told = {metric.step: metric.value for metric in rates}
    assert [told[step] for step in range(120)] == pytest.approx(history.steps["learning_rate"])
    data = client.get_run(run.info.run_id).data
    assert data.metrics["range_test/max_lr"] == pytest.approx(result.max_lr)
    assert data.metrics["cycle/max_lr"] == pytest.approx(history.finding["top"])
    assert data.tags["range_test.verdict"] == result.verdict
    artifacts = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert artifacts == ["range_test.png"]


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_keeps_the_step_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="tests", dir=str(tmp_path), mode="offline")
    try:
        run.log({"own": 1.0})
        result = range_tested()
        assert run.step == 1
        run.log({"own": 2.0})
        assert run.step == 2
        history = trained()
        assert run.step == 122
        assert run.summary["range_test/max_lr"] == result.max_lr
        assert run.summary["cycle/max_lr"] == history.finding["top"]
        assert run.summary["training/step"] == 119
        assert run.summary["training/learning_rate"] == history.steps["learning_rate"][-1]
    finally:
        run.finish()
    pictures = list(tmp_path.glob("wandb/**/range_test/picture*.png"))
    assert len(pictures) == 1
    tables = list(tmp_path.glob("wandb/**/range_test/curve*.json"))
    rows = json.loads(tables[0].read_text())["data"]
    assert rows[0][0] == pytest.approx(result.lrs[0])
    assert all(math.isfinite(loss) for _, loss in rows)


@pytest.mark.filterwarnings("ignore")
def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio")
    import sqlite3

    trackio.init(project="tests", embed=False)
    try:
        result, history = range_tested(), trained()
    finally:
        trackio.finish()
    (path,) = Path(trackio.utils.TRACKIO_DIR).glob("tests.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select step, metrics from metrics order by id").fetchall()
    told = [(step, json.loads(metrics)) for step, metrics in rows]
    assert told[0][1]["range_test/max_lr"] == pytest.approx(result.max_lr)
    rates = [values["training/learning_rate"] for _, values in told if "training/loss" in values]
    assert rates == pytest.approx(history.steps["learning_rate"])
