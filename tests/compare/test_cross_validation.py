"""Folds, the schedule over them, and predictions of every row by a run that did not see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import RepeatedKFold, ShuffleSplit

import cyclerate as cr
from cyclerate.compare import CrossValidation, _study, cross_validate
from cyclerate.compare._folds import class_of_rows, hold_out, make_folds
from tests.compare.small import ROWS, data, make_model


def validated(**changes: Any) -> CrossValidation:
    settings = {"epochs": 4, "batch_size": 16, "folds": 3, "max_lr": 0.3, **changes}
    return cross_validate(make_model, *data(), **settings)


@pytest.fixture(scope="module")
def plain() -> CrossValidation:
    return validated()


def test_every_row_is_predicted_by_the_run_that_held_it_out(plain: CrossValidation):
    _, y = data()
    assert plain.times_heldout.tolist() == [1] * ROWS
    assert plain.predictions.shape == (ROWS, 2)
    right = plain.predictions.argmax(axis=1) == y
    folds = make_folds(y, 3)
    assert plain.scores["accuracy"][0].tolist() == pytest.approx(
        [right[fold.heldout].mean() for fold in folds]
    )


def test_the_scores_are_those_of_the_cells(plain: CrossValidation):
    assert plain.scores["loss"].shape == (1, 3)
    assert plain.scores["loss"][0].tolist() == [cell.heldout_loss[-1] for cell in plain.cells]
    text = str(plain)
    assert "one_cycle, begun anew in every fold: 3 folds, 1 seed." in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_cycle_that_goes_on_begins_where_the_last_fold_ended():
    # 64 rows: 4 steps an epoch, 4 epochs, 3 whole cycles of 2 steps each way.
    ramp = cr.Linear(0.1, 1e-12, 12)
    result = validated(policy=ramp, reset="continue")
    assert result.first_steps == (0, 12, 24)
    first, *others = result.cells
    assert first.train_loss[-1] < 0.9 * first.train_loss[0]
    for cell in others:  # the ramp has ended: nothing is learnt
        assert cell.heldout_loss[-1] == pytest.approx(cell.heldout_loss[0], rel=1e-6)


def test_one_cycle_that_goes_on_spans_all_folds():
    assert validated(reset="continue").schedules[0] == cr.OneCycle(0.3, 36)
    assert validated(reset="fold").schedules[0] == cr.OneCycle(0.3, 12)


def test_whole_cycles_are_the_same_anew_or_going_on():
    anew, on = (validated(policy="triangular", reset=reset) for reset in ("fold", "continue"))
    assert anew.scores["loss"][0] == pytest.approx(on.scores["loss"][0], rel=1e-4)
    assert on.first_steps == (0, 12, 24)


def test_a_range_test_per_fold_sees_that_fold_alone():
    options = {"method": "range", "steps": 40, "end_lr": 3.0, "start_lr": 1e-4}
    result = validated(max_lr=None, range_test="fold", range_test_options=options)
    assert sorted(result.range_tests) == [(0, 0), (0, 1), (0, 2)]
    tops = [schedule.bounds[1] for schedule in result.schedules]
    assert len(set(tops)) == 3


def test_the_same_call_again_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: CrossValidation
):
    first = validated(out=tmp_path)
    (tmp_path / "cells" / "one_cycle-0-1.npy").unlink()  # as if killed between the two files
    trained: list[int] = []
    train = _study.train_run

    def counted(*arguments: Any, **more: Any) -> Any:
        trained.append(more["fold"])
        return train(*arguments, **more)

    monkeypatch.setattr(_study, "train_run", counted)
    again = validated(out=tmp_path)
    assert trained == [1]
    np.testing.assert_array_equal(again.predictions, first.predictions)
    np.testing.assert_array_equal(first.predictions, plain.predictions)


def test_rows_that_are_never_or_often_held_out_are_said():
    half = validated(folds=ShuffleSplit(1, test_size=0.25, random_state=0))
    assert np.isnan(half.predictions).any(axis=1).sum() == ROWS * 3 // 4
    assert "72 rows never held out" in str(half)
    twice = validated(folds=RepeatedKFold(n_splits=2, n_repeats=2, random_state=0))
    assert twice.times_heldout.tolist() == [2] * ROWS
    assert "96 rows held out more than once" in str(twice)


def test_classes_keep_their_proportions_and_groups_stay_whole():
    y = np.repeat([0, 0, 0, 1], 10)
    assert [int(y[fold.heldout].sum()) for fold in make_folds(y, 5)] == [2] * 5
    groups = np.arange(40) // 4
    for targets in (y, y + 0.5):
        for fold in make_folds(targets, 4, groups):
            assert not set(groups[fold.train]) & set(groups[fold.heldout])
    fold = hold_out(y, 0.25, groups)
    assert not set(groups[fold.train]) & set(groups[fold.heldout])


@pytest.mark.parametrize(("share", "heldout"), [(0.2, 20), (0.8, 80)])
def test_more_classes_than_rows_of_a_part_are_held_out_by_chance(share: float, heldout: int):
    fold = hold_out(np.arange(100) // 4, share)
    assert sorted([*fold.train, *fold.heldout]) == [*range(100)]
    assert len(fold.heldout) == heldout


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([0, 1, 2, 0], [0, 1, 2, 0]),
        ([0.0, 1.0, 1.0], [0, 1, 1]),
        ([[0.0], [1.0]], [0, 1]),
        ([[0, 1], [1, 0]], [1, 0]),
        ([0.5, 1.0], None),
        ([[0.5, 1.0], [1.0, 2.0]], None),
    ],
)
def test_what_classes_are(y: Any, classes: Any):
    found = class_of_rows(np.array(y), fewest=1)
    assert (found if found is None else found.tolist()) == classes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folds": 1}, "folds must be a whole number >= 2"),
        ({"folds": "many"}, "folds must be a whole number >= 2, or a splitter"),
        ({"groups": [1, 2]}, "groups must be one for each of the 96 rows"),
        ({"reset": "never"}, "reset must be one of 'fold', 'continue'"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        validated(**changes)
