"""The code to copy runs, and makes exactly the rates of the comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from cyclerate.compare._code import filled, frameworks, own_framework, schedule_code, use
from cyclerate.compare._networks import OPTIMIZERS, make_optimizer
from cyclerate.compare._record import Best, PolicyInfo
from tests.compare.records import SCHEDULES, STEPS, answer, row

ROWS = [row("fixed", 0.56), row("triangular", 0.5, steps_to_reference=480.0)]


def of(kind: str, framework: str = "keras", **settings: Any) -> dict[str, Any]:
    """An optimizer as a comparison records it."""
    return {"framework": framework, "class": kind, "settings": settings}


def optimizer_code(schedule: cr.Schedule, config: dict[str, Any]) -> str:
    """The code for the framework that an optimizer was recorded in."""
    return filled(frameworks(config)[own_framework(config)], schedule)


def test_the_code_is_this():
    steps = use(answer(ROWS))
    assert steps is not None
    assert steps.label == "triangular"
    assert optimizer_code(steps.schedule, of("SGD", momentum=0.9)) == (
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
    exec(optimizer_code(SCHEDULES[name], of("Adam", beta_1=0.8)), found)
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
    steps = use(answer([row("fixed", 0.5), row("triangular", 0.6)]))
    assert steps is not None
    assert optimizer_code(steps.schedule, of("SGD", momentum=0.9)) == (
        "import keras\n\noptimizer = keras.optimizers.SGD(learning_rate=0.01, momentum=0.9)"
    )
    assert steps.remark == ""


@pytest.mark.parametrize(
    ("config", "call"),
    [
        (of("AdamW", clipnorm=1e-4), "AdamW(learning_rate=0.1, clipnorm=0.0001)"),
        (of("SGD", momentum=0.9), "SGD(learning_rate=0.1, momentum=0.9)"),
        (of("RMSprop"), "RMSprop(learning_rate=0.1)"),
        (of("Adam", amsgrad=True), "Adam(learning_rate=0.1, amsgrad=True)"),
    ],
)
def test_an_optimizer_keeps_its_settings(config: dict[str, Any], call: str):
    code = optimizer_code(cr.Constant(0.1), config)
    assert code == f"import keras\n\noptimizer = keras.optimizers.{call}"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_a_comparison_is_written_with_its_settings(name: str):
    from cyclerate.compare._keras_learner import optimizer_config

    kind, settings = OPTIMIZERS[name]
    call = "".join(f", {key}={value!r}" for key, value in settings.items())
    code = optimizer_code(cr.Constant(0.1), optimizer_config(make_optimizer(name)))
    assert code.endswith(f"\noptimizer = keras.optimizers.{kind}(learning_rate=0.1{call})")
    assert "#" not in code


def test_an_optimizer_of_pytorch_is_scheduled_by_its_own_adapter():
    import torch

    from cyclerate.compare._torch_learner import optimizer_config

    model = torch.nn.Linear(2, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, nesterov=True)
    config = optimizer_config(sgd)
    assert config == of("SGD", "torch", momentum=0.9, nesterov=True)
    found: dict[str, Any] = {"model": model}
    exec(optimizer_code(SCHEDULES["triangular"], config), found)
    group = found["optimizer"].param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.9, True)
    for step in range(3):
        assert math.isclose(group["lr"], SCHEDULES["triangular"](step), rel_tol=1e-9)
        found["optimizer"].step()
        found["rates"].step()
    exec(optimizer_code(cr.Constant(0.1), config), found)
    assert found["optimizer"].param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"class": "SGD"},
        {"class": "SGD", "settings": ["momentum"]},
        of("SGD with momentum 0.9"),
        of("SGD", momentum=["__import__('os').system('true')"]),
        of("SGD(momentum=0.9); import os"),
        of("SGD", "keras", **{"momentum=0.9\n)\nimport os\n(": 1}),
        of("SGD", "keras", **{"": 1}),
        of("SGD", "keras", **{"import": 1}),
        of("system"),
        of(""),
    ],
)
def test_text_of_a_record_never_becomes_code(config: dict[str, Any]):
    assert optimizer_code(cr.Constant(0.1), config).splitlines()[2:] == [
        "# Put your own optimizer here: the comparison had another one.",
        "optimizer = keras.optimizers.SGD(learning_rate=0.1)",
    ]


def test_a_text_of_a_record_becomes_a_literal():
    nasty = "'); import os; ('"
    code = optimizer_code(cr.Constant(0.1), of("SGD", name=nasty))
    assert code.endswith(f"SGD(learning_rate=0.1, name={nasty!r})")


def test_the_best_model_is_loaded_by_a_literal():
    nasty = 'best.keras"); import os; ("'
    steps = use(answer(ROWS, best=Best("triangular", 2, nasty)))
    assert steps is not None
    assert steps.load.splitlines()[3] == f"model = keras.saving.load_model({nasty!r})"
    assert steps.load_label == "triangular"


def test_nothing_is_recommended_when_nothing_finished():
    assert use(answer([row("fixed", None, None, diverged=3)])) is None


def test_a_schedule_that_cannot_be_made_here_gives_no_code():
    foreign = PolicyInfo("triangular", "mine", {"type": "Nobody"}, "")
    assert use(answer(ROWS, policies=(foreign,))) is None


def named(config: dict[str, Any], schedule: cr.Schedule) -> dict[str, str]:
    return {one.name: filled(one, schedule) for one in frameworks(config)}


def test_every_framework_has_its_code():
    codes = named(of("SGD", momentum=0.9), SCHEDULES["triangular"])
    assert list(codes) == ["Keras", "PyTorch", "Lightning", "Transformers", "Optax"]
    assert all(code.count("= cr.Triangular(base_lr=0.001") == 1 for code in codes.values())
    assert "optimizer = optax.sgd(schedule, momentum=0.9)" in codes["Optax"]
    assert "torch.optim.SGD(self.parameters(), lr=schedule(0), momentum=0.9)" in codes["Lightning"]
    assert "optimizers=(optimizer, rates)" in codes["Transformers"]


def test_a_setting_stays_in_its_own_framework():
    codes = named(of("AdamW", clipnorm=1.0), cr.Constant(0.1))
    assert codes["Keras"].endswith("AdamW(learning_rate=0.1, clipnorm=1.0)")
    assert codes["PyTorch"].endswith("torch.optim.AdamW(model.parameters(), lr=0.1)")
    assert codes["Optax"].endswith("optax.adamw(0.1)")
    codes = named(of("Ftrl"), cr.Constant(0.1))
    assert codes["Keras"].endswith("keras.optimizers.Ftrl(learning_rate=0.1)")
    assert "# Put your own optimizer here" in codes["PyTorch"]
    assert codes["PyTorch"].endswith("torch.optim.SGD(model.parameters(), lr=0.1)")


def test_what_a_record_says_is_not_taken_for_the_place_of_the_schedule():
    codes = named(of("SGD", name="{schedule}{rate}"), SCHEDULES["triangular"])
    assert codes["Keras"].endswith("name='{schedule}{rate}')")


def test_the_codes_of_pytorch_and_optax_run():
    import torch

    optax = pytest.importorskip("optax")
    schedule = SCHEDULES["one_cycle"]
    codes = named(of("Adam"), schedule)
    model = torch.nn.Linear(2, 1)
    found: dict[str, Any] = {"model": model}
    exec(codes["PyTorch"], found)
    assert found["optimizer"].param_groups[0]["lr"] == schedule(0)
    exec(codes["Lightning"], found)
    made = found["configure_optimizers"](model)
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["optimizer"].param_groups[0]["lr"] == schedule(0)
    exec(codes["Optax"], found)
    assert isinstance(found["optimizer"], optax.GradientTransformation)
    exec(named(of("Adam"), cr.Constant(0.1))["Lightning"], found)
    assert found["configure_optimizers"](model).param_groups[0]["lr"] == 0.1


def test_the_code_of_transformers_runs():
    import torch

    pytest.importorskip("transformers")
    for schedule in (SCHEDULES["one_cycle"], cr.Constant(0.1)):
        code = named(of("Adam"), schedule)["Transformers"]
        head, _, tail = code.rpartition("\n")
        found: dict[str, Any] = {"model": torch.nn.Linear(2, 1)}
        exec(head, found)
        assert found["optimizer"].param_groups[0]["lr"] == schedule(0)
        assert tail.endswith("optimizers=(optimizer, rates))")
