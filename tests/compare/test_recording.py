"""The order of the runs, and what is kept as they finish, with a learner that learns nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from cyclerate import _files
from cyclerate.compare import Comparison
from cyclerate.compare._cells import OtherSettings
from cyclerate.compare._compare import keep_network, planned, refuse_record, run_comparison
from cyclerate.compare._folds import Fold
from cyclerate.compare._learner import Start
from cyclerate.compare._policies import named_policies
from cyclerate.compare._record import Best, Going
from cyclerate.compare._study import Data, Study, make_learner
from tests.compare.records import ABOUT

RATES = {"fixed": cr.Constant(0.1), "triangular": cr.Constant(0.2)}
LOSSES = {(0.1, 0): 0.5, (0.1, 1): 0.4, (0.2, 0): 0.3, (0.2, 1): 0.6}
ORDER = [("fixed", 0), ("fixed", 1), ("triangular", 0), ("triangular", 1)]


class Stub:
    """Gives every run the loss of `LOSSES`; saves the name of the run it trained last."""

    def __init__(self, fails_at: tuple[str, int] | None = None) -> None:
        self.fails_at, self.last, self.loss = fails_at, "", 0.0
        self.trained: list[str] = []
        self.saved: list[str] = []

    @contextmanager
    def seeded(self, seed: int) -> Generator[None]:
        yield

    def start(self, seed: int, x: Any, y: Any) -> Start:
        return Start({"loss": "mse"}, f"weights {seed}", 0.1, {"stub": "1"}, ABOUT.model)

    def begin(self, seed: int, schedule: cr.Schedule, x: Any, y: Any) -> None:
        name = next(name for name, own in RATES.items() if own == schedule)
        if (name, seed) == self.fails_at:
            raise RuntimeError("out of memory")
        self.last, self.loss = f"{name} {seed}", LOSSES[schedule(0), seed]
        self.trained.append(self.last)

    def fit(self, x: Any, y: Any, after: Any = None) -> float:
        return self.loss

    def evaluate(self, x: Any, y: Any) -> dict[str, float]:
        return {"loss": self.loss, "accuracy": 1 - self.loss}

    def save(self, path: Path) -> None:
        self.saved.append(self.last)
        path.write_text(self.last)


def run(
    learner: Any,
    out: Path,
    policies: tuple[str, ...] = ("fixed", "triangular"),
    *,
    model_file: str | None = "best.keras",
    watch: Any = None,
    batch_size: int = 8,
) -> Comparison:
    study = Study(
        learner=learner,
        data=Data(np.zeros((32, 1)), np.zeros(32)),
        folds=(Fold(np.arange(24), np.arange(24, 32)),),
        seeds=(0, 1),
        epochs=4,
        batch_size=batch_size,
        out=out,
    )
    refuse_record(study)
    jobs, about = planned(study, named_policies({name: RATES[name] for name in policies}))
    made = run_comparison(study, jobs, about, watch=watch, model_file=model_file)
    keep_network(study, jobs, made)
    return made


def same(one: Comparison, other: Comparison) -> bool:
    """Whether two comparisons have the same numbers; times are those of each call."""
    about = dataclasses.replace(one.about, created=other.about.created)
    runs = [
        dataclasses.replace(run, seconds=twin.seconds)
        for run, twin in zip(one.cells, other.cells, strict=True)
    ]
    return dataclasses.replace(one, about=about, cells=tuple(runs)) == other


def test_every_policy_is_trained_with_every_seed(tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    made = run(Stub(), tmp_path, watch=lambda job, n: seen.append((job.policy, job.seed, n)))
    assert [(cell.policy, cell.seed) for cell in made.cells] == ORDER
    assert [place for place in seen if place[2] == 12] == [
        (*place, 12) for place in ORDER for _ in range(2)
    ]
    assert [row.loss_mean for row in made.summary] == [pytest.approx(0.45), pytest.approx(0.45)]
    assert Comparison.load(tmp_path) == made


def test_whoever_watches_a_run_sees_its_latest_step_and_the_rate_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_files, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setitem(RATES, "triangular", falling := cr.Linear(0.2, 0.1, 47))
    seen: list[Going] = []

    class Looking(Stub):
        def fit(self, x: Any, y: Any, after: Any = None) -> float:
            for done in range(1, len(x) // 2 + 1):
                after(done)
                (file,) = (tmp_path / "progress").glob("triangular-*-0.json")
                seen.append(_files.built(Going, json.loads(file.read_text()), "progress"))
            return super().fit(x, y)

    run(Looking(), tmp_path, ("triangular",), batch_size=2)
    of_one = seen[:48]
    assert [going.step for going in of_one] == list(range(1, 49))
    assert [going.rate for going in of_one] == [falling(i) for i in range(48)]
    assert [going.run.steps for going in of_one[:4]] == [(), (), (), (3,)]
    assert not (tmp_path / "progress").exists()


def test_both_learners_tell_of_every_step():
    keras, torch = pytest.importorskip("keras"), pytest.importorskip("torch")
    x, y = np.zeros((10, 1), np.float32), np.zeros((10, 1), np.float32)

    def in_keras() -> Any:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def in_torch() -> Any:
        module = torch.nn.Linear(1, 1)
        return module, torch.optim.SGD(module.parameters(), lr=0.1), torch.nn.MSELoss()

    for make in (in_keras, in_torch):
        learner = make_learner(make, batch_size=4)
        told: list[int] = []
        with learner.seeded(0):
            learner.begin(0, cr.Constant(0.1), x[:4], y[:4])
            learner.fit(x, y, told.append)
        assert sorted(told) == [1, 2, 3]


def test_the_best_network_is_saved_when_it_is_the_best(tmp_path: Path):
    stub = Stub()
    made = run(stub, tmp_path)
    assert stub.saved == ["fixed 0", "fixed 1", "triangular 0"]
    assert (tmp_path / "best.keras").read_text() == "triangular 0"
    assert made.about.best == Best("triangular", 0, "best.keras")


def test_no_network_is_saved_where_none_is_wanted(tmp_path: Path):
    made = run(Stub(), tmp_path, model_file=None)
    assert made.about.best == Best("triangular", 0, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "record.json"]


def test_what_is_done_is_kept_when_a_later_cell_fails(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of memory"):
        run(Stub(fails_at=("triangular", 0)), tmp_path)
    kept = Comparison.load(tmp_path)
    assert [(cell.policy, cell.seed) for cell in kept.cells] == [("fixed", 0), ("fixed", 1)]
    assert (tmp_path / "best.keras").read_text() == "fixed 1"


def test_the_same_call_again_trains_what_is_missing(tmp_path: Path):
    whole = run(Stub(), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="out of memory"):
        run(Stub(fails_at=("triangular", 0)), tmp_path / "cut")
    rest = Stub()
    assert same(run(rest, tmp_path / "cut"), whole)
    assert rest.trained == ["triangular 0", "triangular 1"]
    assert (tmp_path / "cut" / "best.keras").read_text() == "triangular 0"


def test_other_settings_are_refused_and_nothing_is_touched(tmp_path: Path):
    run(Stub(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    other = Stub()
    with pytest.raises(OtherSettings, match="batch_size: 8 there, 4 here"):
        run(other, tmp_path, batch_size=4)
    assert other.trained == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_the_best_network_is_that_of_this_record(tmp_path: Path):
    run(Stub(), tmp_path)
    stub = Stub()
    made = run(stub, tmp_path, policies=("fixed",))
    assert made.about.best == Best("fixed", 1, "best.keras")
    assert stub.trained == ["fixed 1"]
    assert (tmp_path / "best.keras").read_text() == "fixed 1"


def test_a_network_that_was_replaced_is_not_taken_for_the_one_it_replaced(tmp_path: Path):
    run(Stub(), tmp_path, policies=("fixed",))
    with pytest.raises(RuntimeError, match="disk full"):
        # Ended between the network and the mark that says whose it is.
        run(Unmarked(), tmp_path)
    stub = Stub()
    run(stub, tmp_path, policies=("fixed",))
    assert (tmp_path / "best.keras").read_text() == "fixed 1"
    assert stub.trained == ["fixed 1"]


class Unmarked(Stub):
    """Ends with an error when the network is saved."""

    def save(self, path: Path) -> None:
        super().save(path)
        raise RuntimeError("disk full")
