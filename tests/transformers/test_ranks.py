"""In several processes the ranks of a Trainer have one answer, one way of the rates, one model."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.training_args import ParallelMode

from cyclerate.transformers import RangeTestCallback, SelfFindingCycle
from cyclerate.transformers._callback import trained_model
from tests.ranks import on_two_ranks
from tests.transformers.test_cycle import Watched
from tests.transformers.tiny import bert, trainer

EASY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TOGETHER: dict[str, Any] = {"ddp_backend": "gloo", "logging_steps": 1000, "max_grad_norm": 0.0}


def weights_of(model: Any) -> list[float]:
    return [weight.detach().double().sum().item() for weight in model.parameters()]


def found_by_a_callback(folder: str) -> dict[str, Any]:
    os.environ["ACCELERATE_USE_CPU"] = "true"
    finder, watched = RangeTestCallback(method="range", steps=40, start_lr=1e-4), Watched()
    made = trainer(folder, finder, watched, model=bert(**EASY), max_steps=2, **TOGETHER)
    before = weights_of(made.model)
    made.train()
    result = finder.result
    assert result is not None
    assert made.args.world_size == 2
    return {
        "max_lr": result.max_lr,
        "losses": result.losses[:20].tolist(),
        "rates": watched.rates,
        "weights": weights_of(made.model),
        "before": before,
    }


def trained_by_the_cycle(folder: str) -> dict[str, Any]:
    os.environ["ACCELERATE_USE_CPU"] = "true"
    cycle, watched = SelfFindingCycle(fine_tuned=False), Watched()
    options = {**TOGETHER, "save_strategy": "steps", "save_steps": 100}
    made = trainer(folder, cycle, watched, model=bert(**EASY), max_steps=150, **options)
    made.train()
    assert cycle.cycle is not None
    return {
        "rates": watched.rates,
        "top": cycle.cycle.found["top"],
        "source": cycle.cycle.found["source"],
        "weights": weights_of(made.model),
        "loss": made.evaluate(made.train_dataset)["eval_loss"],
    }


def test_a_range_test_has_one_answer(tmp_path: Path):
    first, second = on_two_ranks(found_by_a_callback, tmp_path, str(tmp_path / "out"))
    assert first == second
    assert 1e-3 < first["max_lr"] < 10
    assert first["rates"][0][0] == first["max_lr"]
    assert first["weights"] != first["before"]  # by the two steps of the training itself


def test_a_self_finding_cycle_goes_one_way(tmp_path: Path):
    first, second = on_two_ranks(trained_by_the_cycle, tmp_path, str(tmp_path / "out"))
    assert first == second
    assert len(first["rates"]) == 150
    assert first["source"] == "sweep and prior"
    assert first["loss"] < 0.2
    assert (tmp_path / "out" / "checkpoint-100" / "cyclerate_cycle.pt").exists()


@pytest.mark.parametrize("mode", [ParallelMode.NOT_DISTRIBUTED, ParallelMode.DISTRIBUTED])
def test_another_way_to_spread_a_model_is_refused_by_name(mode: ParallelMode):
    spread: Any = SimpleNamespace(parallel_mode=mode)
    with pytest.raises(ValueError, match="the training must be on one device, or in processes"):
        trained_model(SelfFindingCycle(), spread, bert())
