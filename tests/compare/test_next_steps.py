"""The code to copy runs, and makes exactly the rates of the comparison."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from cyclerate.compare._next_steps import next_steps, optimizer_code, schedule_code
from cyclerate.compare._optimizers import OPTIMIZERS, describe_optimizer
from cyclerate.compare._record import Best, PolicyInfo
from tests.compare.records import SCHEDULES, STEPS, record, row

WON = record([row("fixed", 0.56), row("triangular", 0.5, steps_to_reference=480.0)])


def test_the_code_is_this():
    steps = next_steps(WON)
    assert steps is not None
    assert steps.label == "triangular"
    assert steps.code == (
        "import keras\n"
        "import cyclerate as cr\n"
        "import cyclerate.keras as ck\n"
        "\n"
        "schedule = cr.Triangular(base_lr=0.001, max_lr=0.08, step_size=400)\n"
        "optimizer = keras.optimizers.SGD(learning_rate=ck.as_schedule(schedule), momentum=0.9)"
    )
    assert "8,000 (20 epochs of 400)" in steps.remark
    assert steps.load == ""


@pytest.mark.keras_backend
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_code_runs_and_gives_the_rates(name: str):
    pytest.importorskip("cyclerate.keras")
    found: dict[str, Any] = {}
    exec(optimizer_code(SCHEDULES[name], "Adam(beta_1=0.8)"), found)
    optimizer = found["optimizer"]
    assert type(optimizer).__name__ == "Adam"
    assert optimizer.beta_1 == 0.8
    if name == "fixed":
        assert math.isclose(float(optimizer.learning_rate), 0.01, rel_tol=1e-6)
        return
    assert found["schedule"] == SCHEDULES[name]
    for step in (0, 399, STEPS - 1):
        optimizer.iterations.assign(step)
        rate = float(np.asarray(optimizer.learning_rate))
        assert math.isclose(rate, SCHEDULES[name](step), rel_tol=1e-5, abs_tol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_schedule_code_makes_an_equal_schedule(schedule: cr.Schedule):
    code = schedule_code(schedule)
    assert code.startswith(f"cr.{type(schedule).__name__}(")
    assert eval(code, {"cr": cr}) == schedule


def test_a_joined_schedule_is_made_from_its_dict():
    joined = cr.Sequence([cr.Linear(0.0, 0.1, 50), cr.Constant(0.1)], [50])
    code = schedule_code(joined)
    assert code.startswith("cr.from_dict({")
    assert eval(code, {"cr": cr}) == joined


def test_the_reference_needs_no_schedule():
    steps = next_steps(record([row("fixed", 0.5), row("triangular", 0.6)]))
    assert steps is not None
    assert steps.code == (
        "import keras\n\noptimizer = keras.optimizers.SGD(learning_rate=0.01, momentum=0.9)"
    )
    assert steps.remark == ""


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("keras.optimizers.AdamW(clipnorm=1e-4)", "AdamW(learning_rate=0.1, clipnorm=1e-4)"),
        ("SGD(learning_rate=0.5, momentum=.9)", "SGD(learning_rate=0.1, momentum=.9)"),
        ("RMSprop", "RMSprop(learning_rate=0.1)"),
        ("Adam()", "Adam(learning_rate=0.1)"),
    ],
)
def test_an_optimizer_keeps_its_settings(text: str, call: str):
    code = optimizer_code(cr.Constant(0.1), text)
    assert code == f"import keras\n\noptimizer = keras.optimizers.{call}"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_a_comparison_is_written_with_its_settings(name: str):
    kind, settings = OPTIMIZERS[name]
    call = "".join(f", {key}={value!r}" for key, value in settings.items())
    code = optimizer_code(cr.Constant(0.1), describe_optimizer(name))
    assert code.endswith(f"\noptimizer = keras.optimizers.{kind}(learning_rate=0.1{call})")
    assert "#" not in code


@pytest.mark.parametrize(
    "text",
    [
        "SGD with momentum 0.9",
        "SGD(momentum=__import__('os').system('true'))",
        "SGD(momentum=0.9); import os",
        "SGD(momentum=0.9\n)\nimport os",
        "SGD(momentum=0.9,)",
        "SGD(x=open)",
        "SGD(import)",
        "system('true')",
        "",
    ],
)
def test_text_of_a_record_never_becomes_code(text: str):
    assert optimizer_code(cr.Constant(0.1), text).splitlines()[2:] == [
        "# Put your own optimizer here: the comparison had another one.",
        "optimizer = keras.optimizers.SGD(learning_rate=0.1)",
    ]


def test_the_best_model_is_loaded_by_a_literal():
    nasty = 'best.keras"); import os; ("'
    steps = next_steps(dataclasses.replace(WON, best=Best("triangular", 2, nasty)))
    assert steps is not None
    assert steps.load.splitlines()[-1] == f"model = keras.saving.load_model({nasty!r})"
    assert steps.load_label == "triangular"


def test_nothing_is_recommended_when_nothing_finished():
    assert next_steps(record([row("fixed", None, None, diverged=3)])) is None


def test_a_schedule_that_cannot_be_made_here_gives_no_code():
    foreign = PolicyInfo("triangular", "mine", {"type": "Nobody"}, "")
    assert next_steps(dataclasses.replace(WON, policies=(foreign,))) is None
