"""What holds for every test: quiet frameworks, no display, no writes at home, fixed examples."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A failing assert of a helper module tells what it compared, as one of a test does.
TESTS = Path(__file__).parent
pytest.register_assert_rewrite(*(f"tests.{path.name}" for path in TESTS.iterdir() if path.is_dir()))

# Read once by the frameworks, so set before any of them is imported.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MPLBACKEND"] = "Agg"
# Keras reads and writes a settings file on import: a user's must not change what is tested.
KERAS_HOME = tempfile.TemporaryDirectory(prefix="cyclerate-tests-")
os.environ["KERAS_HOME"] = KERAS_HOME.name
# Tiny networks take longer to compile than to train: one of a shape that was there before, in any
# test of the process, is read back.
COMPILED = tempfile.TemporaryDirectory(prefix="cyclerate-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# A shell ignores Ctrl-C for what it has put into the background, and Python then keeps to that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixed examples: the suite gives the same answer twice. HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TESTS / "keras" in item.path.parents:
            item.add_marker(pytest.mark.keras_backend)


@pytest.fixture(autouse=True)
def _close_figures():
    """Leaves no figure open: matplotlib warns after twenty, and warnings are errors."""
    yield
    import sys

    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
