"""What the experiment on folds says, by numbers that are chosen; nothing is trained."""

from __future__ import annotations

import cyclerate as cr
from reproductions import k_fold
from reproductions._record import Outcome, Reproduction, Run, Size

STEPS = 100  # of a fold


def run(cell: str, seed: int, accuracies: tuple[float, ...], *, on: bool = False) -> Run:
    firsts = tuple(float(STEPS * fold * on) for fold in range(len(accuracies)))
    outcome = Outcome(
        values={"metric": sum(accuracies) / len(accuracies), "loss": 0.5, "steps": float(STEPS)},
        curves={"metric": accuracies, "first_step": firsts, "max_lr": (0.5,)},
        schedule=cr.Triangular(0.1, 0.5, 40).to_dict(),
    )
    return Run(cell, seed, {}, outcome, {})


def record() -> Reproduction:
    runs = [run("cut", seed, (0.70 + seed / 100, 0.72, 0.71)) for seed in (0, 1)]
    runs += [run("cut-on", seed, (0.70 + seed / 100, 0.68, 0.70), on=True) for seed in (0, 1)]
    return Reproduction("k-fold", Size((0, 1)), data=(), runs=tuple(runs))


def test_pairs_are_of_one_seed_and_one_fold():
    found = k_fold.compared(record(), "cut-on", "cut")
    assert [round(gap, 6) for gap in found.pairs] == [0.0, -0.04, -0.01] * 2


def test_the_fold_that_loses_most_is_named_with_its_phase():
    lesson = k_fold.lessons(record())[0]
    # Of a triangle with 40 steps to each side: step 99 stands at 19/40, step 199 at 39/40.
    assert "The fold that loses most is number 2, by -4.00 points" in lesson
    assert "it ends where the rate is at 98 % of the way" in lesson
    assert "restarted, every fold ends at 47 %" in lesson


def test_what_was_not_run_is_not_spoken_of():
    assert len(k_fold.lessons(record())) == 1
    assert [row[0] for row in k_fold.tables(record())[1].rows] == [
        "cut cycles, continued - cut cycles, restarted"
    ]
