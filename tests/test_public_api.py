"""The public names are a list, and importing them is cheap."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source import ROOT, public_names

PUBLIC = {
    "cyclerate": [
        "Constant",
        "CosLog",
        "Cosine",
        "Cyclic",
        "ExpRange",
        "Exponential",
        "Forecast",
        "HowLong",
        "Linear",
        "LostMemberWarning",
        "OneCycle",
        "Polynomial",
        "RangeTest",
        "RangeTestResult",
        "Recommendation",
        "Schedule",
        "Sequence",
        "StopReason",
        "Sweep",
        "Triangular",
        "Triangular2",
        "WarmRestarts",
        "WarmupStableDecay",
        "fge_schedule",
        "from_dict",
        "scale_lr",
    ],
    "cyclerate.compare": [
        "Comparison",
        "CrossValidation",
        "Difference",
        "compare",
        "cross_validate",
    ],
    "cyclerate.finder": [
        "FunctionTrainee",
        "PolicyRace",
        "Probe",
        "Race",
        "RangeTest",
        "RangeTestResult",
        "RangeTestSettings",
        "Recommendation",
        "RecommendationSettings",
        "Run",
        "StopReason",
        "Sweep",
        "Trainee",
        "combine",
        "conduct",
        "drive",
        "range_test",
        "recommend",
    ],
    "cyclerate.keras": [
        "CycleCheckpoint",
        "CycleEarlyStopping",
        "CyclicLR",
        "CyclicalLearningRate",
        "DivergenceGuard",
        "ExponentialCyclicalLearningRate",
        "ExponentialLearningRate",
        "LRFinder",
        "LayerRates",
        "OneCycleScheduler",
        "ScheduleCallback",
        "SelfFindingCycle",
        "SnapshotEnsemble",
        "Triangular2CyclicalLearningRate",
        "TriangularCyclicalLearningRate",
        "WeightAveraging",
        "as_schedule",
        "fit_cycles",
        "fit_one_cycle",
        "how_long",
        "lr_find",
        "range_test",
        "recommend",
        "update_batch_norm",
    ],
    "cyclerate.lightning": ["RangeTestCallback", "SelfFindingCycle"],
    "cyclerate.optax": [
        "CycleTraining",
        "FitResult",
        "fit_one_cycle",
        "range_test",
        "recommend",
    ],
    "cyclerate.sklearn": ["CyclicClassifier", "CyclicRegressor"],
    "cyclerate.tables": [
        "DataMistake",
        "Preprocessing",
        "Tabular",
        "digits",
        "load_csv",
        "prepare",
    ],
    "cyclerate.torch": [
        "CycleEarlyStopping",
        "DivergenceGuard",
        "FitHistory",
        "GradualUnfreezing",
        "ScheduledLR",
        "SelfFindingCycle",
        "SnapshotEnsemble",
        "WeightAveraging",
        "fit_cycles",
        "fit_one_cycle",
        "how_long",
        "layer_groups",
        "range_test",
        "recommend",
    ],
    "cyclerate.training": [
        "Comparison",
        "CrossValidation",
        "Difference",
        "compare",
        "cross_validate",
    ],
    "cyclerate.transformers": ["RangeTestCallback", "SelfFindingCycle"],
}

# None of these may load with the package itself.
FRAMEWORKS = {"keras", "tensorflow", "torch", "jax", "optax"}
HEAVY = {"matplotlib", "pandas", "sklearn", "scipy"}

# Processor time of an import beyond NumPy's own, in milliseconds, and what was loaded by it.
MEASURE = """
import sys, time
import numpy
start = time.process_time()
import {module}
print(1000 * (time.process_time() - start))
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def import_in_a_new_process(module: str, bytecode: Path | None = None) -> tuple[float, set[str]]:
    environment = dict(os.environ)
    if bytecode:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE.format(module=module)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    milliseconds, modules = out.stdout.splitlines()
    return float(milliseconds), set(modules.split())


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_exactly_these(module: str):
    assert public_names(importlib.import_module(module)) == PUBLIC[module]


@pytest.mark.parametrize("module", ["cyclerate", "cyclerate.finder"])
def test_import_loads_no_framework(module: str):
    _, modules = import_in_a_new_process(module)
    assert modules & (FRAMEWORKS | HEAVY) == set()


@pytest.mark.parametrize(
    "module", ["cyclerate.compare", "cyclerate.compare._page", "cyclerate.cli"]
)
def test_the_command_loads_a_framework_only_to_train(module: str):
    _, modules = import_in_a_new_process(module)
    assert modules & FRAMEWORKS == set()


def test_import_takes_under_150_ms_beyond_numpy(tmp_path: Path):
    # As a user has it: compiled by the first import, loaded by the others.
    assert min(import_in_a_new_process("cyclerate", tmp_path)[0] for _ in range(5)) < 150


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    import cyclerate

    assert cyclerate.__version__ == version("cyclerate")


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_docs(module: str):
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [name for name in PUBLIC[module] if f"`{name}" not in text] == []
