"""`compare` on a tiny problem: pairs, folds, what is kept, and going on after a kill."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cyclerate as cr
from cyclerate._errors import CyclerateError
from cyclerate.compare import Comparison, _study, compare
from cyclerate.compare._cells import OtherSettings
from tests.compare.small import ROWS, compared, data, make_model
from tests.source import ROOT


def frame(result: Any) -> Any:
    return result.to_frame().drop(columns="seconds")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return compared(out=tmp_path_factory.mktemp("whole"))


def test_every_policy_runs_with_every_seed_for_the_same_steps(whole: Any):
    cells = [(cell.policy, cell.seed) for cell in whole.cells]
    assert cells == [(name, seed) for name in ("fixed", "ramp", "cycle") for seed in (0, 1)]
    assert {cell.steps[-1] for cell in whole.cells} == {12}  # 76 rows: 4 steps, 4 epochs, 3 cycles
    assert whole.reference == "fixed"
    assert whole.schedules["fixed"] == cr.Constant(0.05)
    assert whole.schedules["cycle"] == cr.Triangular(0.3 / 4, 0.3, 2)
    assert whole.metric == "accuracy"


def test_a_difference_is_that_of_pairs(whole: Any):
    ends = {(cell.policy, cell.seed): cell.heldout_loss[-1] for cell in whole.cells}
    found = whole.difference("cycle")
    wanted = [ends["cycle", seed] - ends["fixed", seed] for seed in (0, 1)]
    assert list(found.pairs) == wanted
    assert found.mean == pytest.approx(np.mean(wanted))
    assert found.verdict == "2 pairs: too few for an interval"
    assert [one.value for one in whole.differences] == ["loss", "accuracy"] * 2


def test_it_says_where_it_comes_from_and_is_equal_whenever_it_was_computed(whole: Any):
    told = whole.provenance
    expected = {"seed": 0, "seeds": "0, 1", "repeats": 2, "policy": "fixed, ramp, cycle"}
    expected |= {"horizon_steps": 12, "metric": "accuracy", "backend": "torch"}
    assert expected.items() <= told.items()
    assert told["versions"]["torch"] == torch.__version__
    assert told["data"].startswith(f"{ROWS} rows of 3 features: ")
    x, y = data()
    other = compared(seeds=1, epochs=2)
    assert other.provenance["data"] == told["data"]
    changed = compare(make_model, x + 1, y, seeds=1, epochs=2, max_lr=0.3, batch_size=16)
    assert changed.provenance["data"] != told["data"]
    later = replace(whole.about, created="2030-01-01", machine={}, versions={})
    slower = tuple(replace(run, seconds=run.seconds + 1) for run in whole.cells)
    assert replace(whole, cells=slower, about=later) == whole
    worse = tuple(replace(run, fold=1) for run in whole.cells)
    assert replace(whole, cells=worse) != whole
    assert pickle.loads(pickle.dumps(replace(whole, schedules={}))) == whole


def test_the_table_is_narrow_and_says_what_was_compared(whole: Any):
    text = str(whole)
    assert max(map(len, text.splitlines())) <= 80
    assert "2 seeds, 12 steps a run" in text
    assert "cycle, loss: " in text
    axes = whole.plot()
    assert [line.get_label() for line in axes.get_lines()][2::3] == ["fixed", "ramp", "cycle"]


def test_runs_of_a_seed_start_alike_whatever_the_policy():
    still = {name: cr.Constant(rate) for name, rate in (("a", 1e-12), ("b", 2e-12))}
    a, b, other, _ = (cell.train_loss[0] for cell in sorted_by_seed(compared(policies=still)))
    assert a == pytest.approx(b, rel=1e-6)
    assert a != pytest.approx(other, rel=1e-3)


def sorted_by_seed(result: Any) -> list[Any]:
    return sorted(result.cells, key=lambda cell: cell.seed)


def test_the_same_call_again_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = compared(out=tmp_path)
    monkeypatch.setattr(_study, "train_run", lambda *_a, **_k: pytest.fail("trained again"))
    again = compared(out=tmp_path)
    assert again.cells == first.cells
    assert again.cells[0].seconds == first.cells[0].seconds


def test_more_seeds_and_policies_train_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compared(out=tmp_path, policies=["fixed"])
    trained: list[tuple[str, int]] = []
    plain = _study.train_run

    def counted(*arguments: Any, **more: Any) -> Any:
        trained.append((more["policy"], arguments[2].seed))
        return plain(*arguments, **more)

    monkeypatch.setattr(_study, "train_run", counted)
    compared(out=tmp_path, policies=["fixed", "found"], seeds=3)
    assert trained == [("fixed", 2), ("found", 0), ("found", 1), ("found", 2)]


def test_a_kill_loses_no_finished_cell_and_changes_no_number(tmp_path: Path):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    script = ROOT / "tests" / "compare" / "small.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(killed)],
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "OMP_NUM_THREADS": "1",
        },
    )
    cells = killed / "cells"
    while process.poll() is None and len(list(cells.glob("[!.]*.json"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in cells.glob("[!.]*.json")}
    assert 2 <= len(finished) < 12
    settings: dict[str, Any] = {"seeds": 4, "epochs": 20}
    rest = compared(out=killed, **settings)
    assert {name: (cells / name).stat().st_mtime_ns for name in finished} == finished
    assert frame(rest).equals(frame(compared(out=undisturbed, **settings)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 8}, "batch_size: 16 there, 8 here"),
        ({"epochs": 5}, "epochs: 4 there, 5 here"),
        ({"fixed_lr": 0.5}, "schedule.value: 0.05 there, 0.5 here"),
        ({"validation": 0.3}, "rows: "),
        ({"make_model": lambda: (*make_model()[:2], nn.MultiMarginLoss())}, "model.loss: "),
    ],
)
def test_other_settings_in_the_same_folder_are_named(
    whole: Any, tmp_path: Path, changes: dict[str, Any], says: str
):
    compared(out=tmp_path, policies=["fixed"], seeds=1)
    with pytest.raises(OtherSettings, match="was made with other settings") as error:
        compared(out=tmp_path, policies=["fixed"], seeds=1, **changes)
    assert says in str(error.value)


def test_a_record_of_other_settings_is_not_overwritten(tmp_path: Path):
    compared(out=tmp_path, policies=["fixed"], seeds=1)
    before = (tmp_path / "record.json").read_bytes()
    # No cell of the other comparison has a name that lies there.
    with pytest.raises(OtherSettings, match=r"record\.json .*batch_size: 16 there, 8 here"):
        compared(out=tmp_path, policies=["found"], seeds=[7], batch_size=8)
    assert (tmp_path / "record.json").read_bytes() == before
    assert len(compared(out=tmp_path, policies=["found"], seeds=[7]).cells) == 1


@pytest.mark.parametrize("content", ["{", "[1]", '{"experiment": "cardio"}'])
def test_a_record_of_something_else_is_not_overwritten(tmp_path: Path, content: str):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(CyclerateError, match=r"record\.json cannot be read: .*name another folder"):
        compared(out=tmp_path, policies=["fixed"], seeds=1)
    assert (tmp_path / "record.json").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_the_record_in_the_folder_is_the_comparison(tmp_path: Path):
    result = compared(out=tmp_path, policies=["fixed", "found"], folds=2)
    read = Comparison.load(tmp_path)
    assert (read, str(read)) == (result, str(result))
    assert read.about.model.optimizer == "SGD (momentum 0.9)"
    assert read.about.model.parameters == (3 + 1) * 6 + (6 + 1) * 2
    assert (read.about.data.rows, read.about.data.features) == (ROWS, 3)
    assert [policy.why for policy in read.about.policies] == [
        "The default rate of SGD (momentum 0.9) in PyTorch.",
        "max_lr of the range test, held constant.",
    ]


def test_a_damaged_cell_is_named(tmp_path: Path):
    compared(out=tmp_path, policies=["fixed"], seeds=1)
    (tmp_path / "cells" / "fixed-0-0.json").write_text("{")
    with pytest.raises(CyclerateError, match=r"fixed-0-0.json cannot be read: remove it"):
        compared(out=tmp_path, policies=["fixed"], seeds=1)


def test_two_processes_give_the_same_table(tmp_path: Path, whole: Any):
    from joblib.externals.loky import get_reusable_executor

    def make_here() -> Any:
        return make_model()

    rest = compared(out=tmp_path, n_jobs=2, make_model=make_here)
    get_reusable_executor().shutdown(wait=True)
    assert frame(rest).equals(frame(whole))


def test_folds_pair_up_with_folds():
    result = compared(policies=["fixed", "found"], folds=3)
    places = [(cell.seed, cell.fold) for cell in result.cells if cell.policy == "found"]
    assert places == [(seed, fold) for seed in (0, 1) for fold in (0, 1, 2)]
    found = result.difference("found")
    assert len(found.pairs) == 6
    assert found.low <= found.mean <= found.high


def test_global_randomness_is_given_back():
    states = [random.getstate(), torch.get_rng_state().tolist()]
    compared(policies=["fixed"], seeds=1)
    assert [random.getstate(), torch.get_rng_state().tolist()] == states


def test_validation_data_of_your_own_are_what_is_judged():
    x, y = data()
    own = compared(policies=["fixed"], validation=(x[:8], y[:8]))
    assert own.cells[0].steps[-1] == 24  # all 96 rows are trained on
    flipped = compared(policies=["fixed"], validation=(x[:8], 1 - y[:8]))
    shares = [result.cells[0].heldout_metric[-1] for result in (own, flipped)]
    assert shares[0] == pytest.approx(1 - shares[1])


def test_a_range_test_finds_the_rate_once(tmp_path: Path):
    options = {"method": "range", "steps": 40, "end_lr": 3.0, "start_lr": 1e-4}
    result = compared(policies=["found"], max_lr=None, range_test_options=options, out=tmp_path)
    assert list(result.range_tests) == [(0, 0)]
    found = result.range_tests[0, 0]
    constant = result.schedules["found"]
    assert isinstance(constant, cr.Constant)
    assert constant.value == pytest.approx(found.max_lr, rel=0.01)
    assert [path.name for path in (tmp_path / "range_tests").iterdir()] == ["constant-0-0.json"]


def test_a_keras_model_is_trained_as_it_is_compiled():
    import keras

    def make_keras(seed: int) -> Any:
        start = keras.initializers.GlorotUniform(seed=seed)
        model = keras.Sequential(
            [keras.layers.Dense(1, "sigmoid", kernel_initializer=start), keras.layers.Dropout(0.1)]
        )
        model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
        return model

    policies = {"fixed": "fixed", "still": cr.Constant(1e-9)}
    x, y = data()
    one = compare(make_keras, x, y, epochs=3, batch_size=32, seeds=[3], policies=policies)
    assert one.schedules["fixed"] == cr.Constant(0.02)
    assert one.metric == "accuracy"
    fixed, still = (cell.heldout_loss for cell in one.cells)
    assert fixed[-1] < 0.99 * still[-1]
    assert still[-1] == pytest.approx(still[0], rel=1e-4)


def test_a_diverged_run_is_left_out_of_the_pairs():
    wild = {"fixed": "fixed", "wild": cr.Constant(1e30)}
    result = compared(policies=wild)
    assert [cell.diverged for cell in result.cells] == [False, False, True, True]
    assert result.difference("wild").verdict == "no pair to compare"
    assert "(2 diverged)" in str(result)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"policies": ["magic"]}, "policies must be one of 'fixed'"),
        ({"policies": []}, "policies must be some of fixed"),
        ({"policies": {"a/b": "fixed"}}, "policies must be named by letters"),
        ({"policies": {"a": 3}}, "policies must be names, schedules"),
        ({"policies": {"a": lambda _r, _b: 3}}, "the policy a must be a function that returns"),
        ({"batch_size": ROWS}, "batch_size must be at most the 76 training rows"),
        ({"make_model": lambda: 3}, "make_model must be a function that returns"),
        ({"make_model": None}, "make_model must be a function that returns"),
        ({"metric": "f1", "policies": ["fixed"]}, "metric must be one that the model measures"),
        ({"seeds": []}, "seeds must be a number of seeds"),
        ({"range_test": "often"}, "range_test must be one of 'run', 'fold'"),
        ({"validation": 1.5}, "validation must be a finite number > 0 and < 1"),
        ({"verbose": 7}, "verbose must be one of"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        compared(**changes)
