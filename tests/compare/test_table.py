"""The table in the terminal: aligned, narrow, honest."""

from __future__ import annotations

import pytest

from cyclerate.compare._answer import COLUMNS, page_legend, rows, text_table
from cyclerate.compare._record import PolicyInfo
from cyclerate.compare._wording import printable, width
from tests.compare.records import answer, range_result, row

ROWS = [
    row("fixed", 0.563, metric_mean=0.708),
    row("triangular", 0.548, metric_mean=0.734, steps_to_reference=480.0, reached="3/3"),
    row("one_cycle", 0.549, metric_mean=0.733, steps_to_reference=2480.0, reached="3/3"),
    row("restarts", 0.7, 0.2, metric_mean=0.65, reached="1/3"),
    row("exp_range", None, None, metric_mean=None, metric_std=None, diverged=3),
]


def test_the_table_is_this_text():
    assert text_table(answer(ROWS)).splitlines() == [
        "  policy          accuracy  to reach             loss  steps  seconds",
        "  fixed       70.8 % ± 0.2     8,000  0.5630 ± 0.0010  8,000     12.0",
        "* triangular  73.4 % ± 0.2       480  0.5480 ± 0.0010  8,000     12.0",
        "= one cycle   73.3 % ± 0.2     2,480  0.5490 ± 0.0010  8,000     12.0",
        "= restarts    65.0 % ± 0.2    1 of 3  0.7000 ± 0.2000  8,000     12.0",
        "  exp range              \N{EN DASH}     never                \N{EN DASH}  8,000     12.0",
        "",
        "Final held-out values, mean ± standard deviation over 3 seeds; to reach: steps",
        "to the final loss of the fixed rate; * best; = level with it (the ranges mean ±",
        "spread meet); diverged: exp range 3 of 3.",
    ]


def test_rows_hold_what_the_page_shows():
    second = rows(answer(ROWS))[1]
    assert (second.label, second.mark, second.to_reference) == ("triangular", "best", "480")
    assert second.saving == "17\N{MULTIPLICATION SIGN} fewer"
    assert rows(answer(ROWS))[4].diverged == "3 of 3"


def test_a_policy_barely_sooner_saves_nothing():
    table = rows(answer([ROWS[0], row("triangular", 0.55, steps_to_reference=7700.0)]))
    assert (table[1].to_reference, table[1].saving) == ("7,700", "")


def test_without_a_reference_nobody_raced():
    lost = row("fixed", None, None, diverged=1)
    table = rows(answer([lost, ROWS[1]]))
    assert [r.to_reference for r in table] == ["\N{EN DASH}", "\N{EN DASH}"]
    assert "to reach:" not in text_table(answer([lost, ROWS[1]]))


def test_an_empty_comparison_has_a_heading_only():
    assert text_table(answer([])).splitlines()[0].split() == [
        "policy",
        "accuracy",
        "to",
        "reach",
        "loss",
        "steps",
        "seconds",
    ]


@pytest.mark.parametrize("name", ["a" * 200, "学習率" * 40, "x\x1b[2J\ny" * 30, ""])
def test_no_name_breaks_the_table(name):
    big = row(
        name,
        1.23456e12,
        9.9e11,
        metric_mean=123456.789,
        metric_std=99999.0,
        steps=10**12,
        seconds_mean=1e9,
        steps_to_reference=10.0**11,
    )
    policies = [PolicyInfo(policy, policy, {}, "") for policy in ("fixed", name)]
    made = answer([ROWS[0], big], metric=name, mode="min", policies=policies)
    lines = text_table(made).split("\n")
    assert max(map(width, lines)) <= COLUMNS
    assert all(c.isprintable() for line in lines for c in line)
    # And nothing is lost.
    whole = "".join(line.strip() for line in lines)
    assert printable(name).replace(" ", "") in whole.replace(" ", "")
    assert "…" not in whole
    for value in ("123,457 ± 99,999", "1.23e+12 ± 9.9e+11", "1,000,000,000,000"):
        assert value in whole


LEVEL = "Level: the ranges mean ± spread meet, so neither is called better."


@pytest.mark.parametrize(
    ("others", "end"),
    [
        ([row("triangular", 0.4)], "Best: the lowest final loss."),
        (
            [row("triangular", 0.5629)],
            f"Best: no policy was sooner or clearly lower than the fixed rate. {LEVEL}",
        ),
        (
            [row("triangular", 0.5631, steps_to_reference=480.0)],
            f"Best: sooner than the fixed rate, which ended level with it. {LEVEL}",
        ),
        (
            [
                row("one_cycle", 0.5, steps_to_reference=900.0),
                row("triangular", 0.5005, steps_to_reference=480.0),
            ],
            "Best: the first to reach, and equal to the lowest final loss within either spread. "
            + LEVEL,
        ),
        ([row("triangular", None, None, diverged=3)], "the final held-out loss of the fixed rate."),
    ],
)
def test_the_page_says_why_a_policy_is_best(others, end):
    legend = page_legend(answer([row("fixed", 0.563), *others]))
    assert legend.startswith("Final held-out values, mean ± standard deviation over 3 seeds. Steps")
    assert legend.endswith(end)


def test_the_steps_that_found_the_rate_are_named_and_not_counted():
    found = range_result()
    made = answer([row("fixed")], range_test=found)
    assert f"not counted: {found.steps} steps that found the rate" in " ".join(
        text_table(made).split()
    )
    assert f"Not counted: the {found.steps} steps that found the rate" in page_legend(made)
    assert "counted" not in text_table(answer([row("fixed")]))
    assert "ounted" not in page_legend(answer([row("fixed")]))
