"""The sentence says what was measured, and no more."""

from __future__ import annotations

import dataclasses

import pytest

from cyclerate.compare._record import PolicyInfo
from cyclerate.compare._wording import MISSING
from tests.compare.records import answer as answer_of, cell, range_result, row

NOTHING = {"max_lr": None, "base_lr": None, "interval": None}
FIXED = row("fixed", 0.563, metric_mean=0.708, metric_std=0.002)


def test_a_win_names_steps_factor_and_metric():
    won = row(
        "triangular",
        0.548,
        metric_mean=0.734,
        metric_std=0.001,
        steps_to_reference=480.0,
        reached="3/3",
    )
    answer = answer_of([FIXED, won])
    assert answer.sentence == (
        "triangular reached the fixed rate's final loss in 480 steps instead of 8,000 "
        "(17 times fewer); held-out accuracy 73.4 % ± 0.1 against 70.8 % ± 0.2."
    )
    assert answer.notes == ()


def test_a_level_policy_that_was_there_before_the_best_is_named():
    best = row("one_cycle", 0.5, metric_mean=0.734, steps_to_reference=2000.0)
    first = row("triangular", 0.5015, metric_mean=0.733, steps_to_reference=500.0)
    assert answer_of([FIXED, first, best]).sentence == (
        "one cycle reached the fixed rate's final loss in 2,000 steps instead of 8,000 "
        "(4 times fewer; triangular, level with it, in 500); "
        "held-out accuracy 73.4 % ± 0.2 against 70.8 % ± 0.2."
    )


def test_a_reference_that_was_there_early_is_credited_with_it():
    early = dataclasses.replace(FIXED, steps_to_reference=2000.0)
    won = row("triangular", 0.548, metric_mean=0.72, steps_to_reference=500.0)
    assert "in 500 steps instead of 2,000 (4 times fewer);" in answer_of([early, won]).sentence


def test_a_policy_that_is_only_sooner_ended_level():
    sooner = row("triangular", 0.564, metric_mean=0.707, steps_to_reference=2000.0)
    assert answer_of([FIXED, sooner]).sentence == (
        "triangular reached the fixed rate's final loss in 2,000 steps instead of 8,000 "
        "(4 times fewer) and ended level with it; "
        "held-out accuracy 70.7 % ± 0.2 against 70.8 % ± 0.2."
    )


def test_a_policy_level_in_loss_but_not_in_metric_is_not_called_level():
    apart = row("triangular", 0.564, metric_mean=0.75, steps_to_reference=2000.0)
    assert answer_of([FIXED, apart]).sentence == (
        "triangular reached the fixed rate's final loss in 2,000 steps instead of 8,000 "
        "(4 times fewer); held-out accuracy 75.0 % ± 0.2 against 70.8 % ± 0.2."
    )


def test_a_policy_that_is_only_better_is_not_called_sooner():
    better = row("triangular", 0.548, metric_mean=0.72, steps_to_reference=7600.0)
    assert answer_of([FIXED, better]).sentence == (
        "triangular ended with a lower held-out loss than the fixed rate, "
        "0.5480 ± 0.0010 against 0.5630 ± 0.0010; "
        "held-out accuracy 72.0 % ± 0.2 against 70.8 % ± 0.2."
    )


def test_a_lower_loss_with_a_level_metric_is_said_to_be_that():
    better = row("triangular", 0.548, metric_mean=0.709)
    assert answer_of([FIXED, better]).sentence == (
        "triangular ended with a lower held-out loss than the fixed rate, "
        "0.5480 ± 0.0010 against 0.5630 ± 0.0010, but with a level accuracy; "
        "held-out accuracy 70.9 % ± 0.2 against 70.8 % ± 0.2."
    )


def test_a_lower_loss_with_a_worse_metric_is_no_win():
    fallen = row("triangular", 0.548, metric_mean=0.69, steps_to_reference=480.0)
    answer = answer_of([FIXED, fallen])
    assert answer.best is answer.reference
    assert answer.sentence == (
        "No policy beat the fixed rate (held-out accuracy 70.8 % ± 0.2); triangular ended with a "
        "lower loss, 0.5480 ± 0.0010 against 0.5630 ± 0.0010, but a worse accuracy, 69.0 % ± 0.2."
    )
    # Of an error less is better; of a metric that nobody knows neither way is.
    for mode, sentence in (("min", "triangular reached"), (None, "triangular reached")):
        made = answer_of([FIXED, fallen], metric="error", mode=mode)
        assert made.sentence.startswith(sentence)


def test_the_steps_of_the_search_are_counted():
    found = range_result()
    policies = [
        PolicyInfo(name, name, {}, "", searched=name != "fixed") for name in ("fixed", "triangular")
    ]
    fixed = row("fixed", 0.563, metric_mean=0.708, steps_to_reference=1056.0)
    won = row("triangular", 0.548, metric_mean=0.734, steps_to_reference=500.0)
    made = {"range_test": found, "policies": policies}
    total = 500 + found.steps
    assert answer_of([fixed, won], **made).sentence.startswith(
        f"triangular reached the fixed rate's final loss in {total} steps with the search, instead "
        f"of 1,056 ({100 * (1 - total / 1056):.0f} % fewer);"
    )
    # What the search took is no longer sooner.
    late = dataclasses.replace(won, steps_to_reference=1000.0 - found.steps)
    assert not answer_of([fixed, late], **made).is_sooner(late)
    assert answer_of([fixed, late]).is_sooner(late)
    # Where it makes a lower loss clearly dearer, that is said.
    short = [dataclasses.replace(one, steps=2 * found.steps) for one in (fixed, late)]
    dear = f", after {3 * found.steps} steps with the search, instead of {2 * found.steps};"
    assert dear in answer_of(short, **made).sentence
    long = [dataclasses.replace(one, steps=20 * found.steps) for one in (fixed, late)]
    assert "with the search" not in answer_of(long, **made).sentence


def test_differences_are_in_the_unit_of_the_table():
    answer = answer_of([FIXED, row("triangular", 0.548, metric_mean=0.72)])
    assert answer.difference(0.0125, "accuracy") == "+1.2 points"
    assert answer.difference(-0.0125, "loss") == "-0.013"
    assert answer.difference(None, "loss") == MISSING


def test_a_reference_that_overfits_is_named_with_a_way_out():
    losses = [0.6, 0.45, 0.41, *(0.42 + 0.01 * i for i in range(17))]
    cells = [cell("fixed", seed, losses, steps=range(400, 8001, 400)) for seed in (0, 1)]
    end = row("fixed", losses[-1])
    (note,) = answer_of([end], cells=cells).notes
    assert note == (
        "The fixed rate overfits: its held-out loss was lowest after 3 of 20 epochs (0.4100, and "
        "0.5800 at the end). Try --epochs 3."
    )
    assert "Try epochs=3." in answer_of([end], cells=cells, command="").notes[0]
    falling = [cell("fixed", 0, sorted(losses, reverse=True), steps=range(400, 8001, 400))]
    assert answer_of([end], cells=falling).notes == ()
    # Within the spread of the seeds it is none.
    assert answer_of([row("fixed", losses[-1], 0.2)], cells=cells).notes == ()


def test_a_tie_is_no_win():
    tie = row("triangular", 0.562, metric_mean=0.71)
    assert answer_of([FIXED, tie]).sentence == (
        "No policy beat the fixed rate (held-out accuracy 70.8 % ± 0.2); "
        "triangular ended level with it, no sooner."
    )


def test_nothing_won():
    worse, worst = row("one_cycle", 0.58, metric_mean=0.69), row("triangular", 0.6)
    assert answer_of([FIXED, worst, worse]).sentence == (
        "No policy beat the fixed rate (held-out accuracy 70.8 % ± 0.2); "
        "the closest was one cycle with 69.0 % ± 0.2."
    )


def test_sooner_but_worse_in_the_end_is_said():
    overfitted = row("triangular", 0.6, steps_to_reference=400.0)
    assert answer_of([FIXED, overfitted]).sentence == (
        "No policy beat the fixed rate (held-out accuracy 70.8 % ± 0.2); "
        "triangular reached its final loss in 400 steps instead of 8,000 (20 times fewer), "
        "but ended worse, at a loss of 0.6000 ± 0.0010 against 0.5630 ± 0.0010."
    )


def test_one_seed_has_a_reservation_and_no_spread():
    alone = {"metric_std": None}
    fixed = row("fixed", 0.563, None, metric_mean=0.708, **alone)
    won = row("triangular", 0.548, None, metric_mean=0.734, steps_to_reference=480.0, **alone)
    answer = answer_of([fixed, won], seeds=[7])
    assert answer.sentence.endswith("held-out accuracy 73.4 % against 70.8 %.")
    (note,) = answer.notes
    assert note == (
        "One seed only: differences of this size can be chance. "
        "Three or more seeds show the spread."
    )


def test_a_policy_with_a_diverged_run_cannot_win():
    lucky = row("one_cycle", 0.4, diverged=2)
    answer = answer_of([FIXED, lucky, row("triangular", 0.58)])
    assert answer.sentence.startswith("No policy beat the fixed rate")
    assert "one cycle" not in answer.sentence
    assert answer.notes == ("one cycle diverged with 2 of 3 seeds.",)


def test_only_the_reference_is_left():
    answer = answer_of([FIXED, row("triangular", None, None, metric_mean=None, diverged=3)])
    assert answer.sentence == (
        "No policy beat the fixed rate (held-out accuracy 70.8 % ± 0.2); the others diverged."
    )
    assert answer.notes == ("triangular diverged with all 3 seeds.",)


def test_the_reference_diverged():
    lost = row("fixed", None, None, metric_mean=None, diverged=3)
    first, second = row("one_cycle", 0.5, metric_mean=0.73), row("triangular", 0.55)
    answer = answer_of([lost, first, second])
    assert answer.sentence == (
        "one cycle ended best, with held-out accuracy 73.0 % ± 0.2, before triangular "
        "(70.0 % ± 0.2)."
    )
    assert answer.notes == ("The fixed rate diverged with all 3 seeds.",)


def test_without_a_reference_a_tie_is_called_one():
    lost = row("fixed", None, None, metric_mean=None, diverged=1)
    first, second = row("one_cycle", 0.5, metric_mean=0.73), row("triangular", 0.5015)
    assert answer_of([lost, first, second]).sentence == (
        "one cycle ended best, with held-out accuracy 73.0 % ± 0.2, level with triangular "
        "(70.0 % ± 0.2)."
    )


def test_everything_diverged():
    lost = [row(n, None, None, metric_mean=None, diverged=1) for n in ("fixed", "triangular")]
    answer = answer_of(lost, seeds=[0])
    assert answer.sentence == (
        "No policy finished with every seed: the fixed rate diverged and triangular diverged."
    )
    assert answer.notes == ()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "No training was finished, so there is nothing to compare."),
        ([FIXED], "Only the fixed rate was trained: held-out accuracy 70.8 % ± 0.2."),
    ],
)
def test_nothing_to_compare(rows, sentence):
    assert answer_of(rows).sentence == sentence


@pytest.mark.parametrize(
    ("range_test", "notes"),
    [
        (
            {**NOTHING, "verdict": "No clear answer: few."},
            ("Range test: No clear answer: few.",),
        ),
        ({**NOTHING, "verdict": ""}, ("Range test: no clear answer.",)),
        ({"max_lr": 0.1, "base_lr": 0.02, "interval": (0.011, 1.0)}, ()),
        (
            {"max_lr": 0.1, "base_lr": 0.02, "interval": (0.01, 1.0)},
            ("The range test is vague: max_lr may lie anywhere from 0.01 to 1.",),
        ),
        (None, ()),
    ],
)
def test_a_range_test_that_says_little_is_noted(range_test, notes):
    found = range_test and dataclasses.replace(range_result(), **range_test)
    assert answer_of([FIXED], range_test=found).notes == notes


def test_other_metrics_are_written_in_their_own_unit():
    fixed = row("fixed", 3.1e9, 1e7, metric_mean=55678.0, metric_std=310.0)
    won = row(
        "triangular", 2.4e9, 1e7, metric_mean=48990.0, metric_std=220.0, steps_to_reference=800.0
    )
    answer = answer_of([fixed, won], metric="rmse", mode="min")
    assert answer.sentence.endswith("; held-out RMSE 48,990 ± 220 against 55,678 ± 310.")


def test_another_reference_is_called_by_its_label():
    base = row("restarts", 0.56)
    won = row("triangular", 0.5, steps_to_reference=800.0)
    answer = answer_of([base, won], reference="restarts")
    assert answer.sentence.startswith("triangular reached restarts' final loss in 800 steps")


def test_a_constant_rate_is_called_a_rate():
    won = row("found", 0.5, metric_mean=0.72, steps_to_reference=800.0)
    assert answer_of([FIXED, won]).sentence.startswith("The found rate reached the fixed")
