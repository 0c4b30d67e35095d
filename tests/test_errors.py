"""The checks of arguments: what passes, what is refused, and what the message says."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cyclerate._errors import (
    CyclerateError,
    MissingExtra,
    bad_argument,
    check_choice,
    check_count,
    check_number,
    require,
)


def test_bad_argument_names_argument_allowed_and_received():
    error = bad_argument("max_lr", "a finite number > 0", "big")
    assert type(error) is ValueError
    assert str(error) == "max_lr must be a finite number > 0. Received: 'big'"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (0.25, 0.25), (np.float32(0.5), 0.5), (np.int64(3), 3.0), (Fraction(1, 4), 0.25)],
)
def test_check_number_returns_a_float(value, expected):
    number = check_number("x", value)
    assert type(number) is float
    assert number == expected


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, True, "0.1", b"1", 1j, None, [1.0], 10**400],
)
def test_check_number_refuses_what_is_not_a_finite_real(value):
    with pytest.raises(ValueError, match=r"^x must be a finite number\. Received: "):
        check_number("x", value)


@pytest.mark.parametrize(
    ("bounds", "accepted", "refused", "text"),
    [
        ({"low": 0}, [0, 5], [-1e-9], ">= 0"),
        ({"low": 0, "low_open": True}, [1e-300], [0, -1], "> 0"),
        ({"high": 1}, [1, -5], [1.0000001], "<= 1"),
        ({"high": 1, "high_open": True}, [0.999], [1], "< 1"),
        ({"low": 0, "high": 1}, [0, 1], [-0.1, 1.1], ">= 0 and <= 1"),
        (
            {"low": 0, "high": 1, "low_open": True, "high_open": True},
            [0.5],
            [0, 1],
            "> 0 and < 1",
        ),
    ],
)
def test_check_number_holds_its_bounds(bounds, accepted, refused, text):
    for value in accepted:
        assert check_number("gamma", value, **bounds) == value
    for value in refused:
        expected = f"gamma must be a finite number {text}. Received: {value!r}"
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
            check_number("gamma", value, **bounds)


@pytest.mark.parametrize("value", [1, 2000, 2000.0, np.int32(7), np.float64(8.0), 10**30])
def test_check_count_returns_an_int(value):
    count = check_count("steps", value)
    assert type(count) is int
    assert count == value


@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, math.inf, True, "3", None, [3]])
def test_check_count_refuses_what_is_no_count(value):
    with pytest.raises(ValueError, match=r"^steps must be a ") as caught:
        check_count("steps", value)
    assert str(caught.value).endswith(f"Received: {value!r}")


def test_check_count_takes_another_lowest_value():
    assert check_count("start_step", 0, low=0) == 0
    with pytest.raises(ValueError, match=r"start_step must be a whole number >= 0\. Received: -1"):
        check_count("start_step", -1, low=0)


def test_check_choice_lists_the_choices():
    assert check_choice("shape", "cosine", ("triangle", "cosine")) == "cosine"
    expected = r"^shape must be one of 'triangle', 'cosine'\. Received: 'saw'$"
    with pytest.raises(ValueError, match=expected):
        check_choice("shape", "saw", ("triangle", "cosine"))


def test_require_returns_the_module():
    assert require("json.decoder", "plot").__name__ == "json.decoder"


def test_require_names_the_extra_that_brings_a_missing_package():
    with pytest.raises(MissingExtra, match=r"pip install 'cyclerate\[keras\]'") as caught:
        require("no_such_package_here.part", "keras")
    assert "no_such_package_here" in str(caught.value)
    assert isinstance(caught.value, CyclerateError)
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_require_does_not_hide_a_fault_inside_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "installed_but_broken.py").write_text("import no_such_package_here\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_here") as caught:
        require("installed_but_broken", "keras")
    assert not isinstance(caught.value, MissingExtra)


@pytest.mark.parametrize(
    ("adapter", "missing", "extra"),
    [
        ("keras", "keras", "keras"),
        ("torch", "torch", "torch"),
        ("optax", "jax", "jax"),
        ("lightning", "lightning", "lightning"),
        ("transformers", "transformers", "transformers"),
        ("sklearn", "sklearn", "sklearn"),
        ("tables", "pandas", "cli"),
    ],
)
def test_an_adapter_without_its_framework_names_the_line_that_installs_it(
    adapter: str, missing: str, extra: str
):
    code = f"import sys; sys.modules[{missing!r}] = None; import cyclerate.{adapter}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = f"this needs {missing}, which is not installed. Run: pip install 'cyclerate[{extra}]'"
    assert told in done.stderr.splitlines()[-1]


def test_keras_without_the_backend_that_it_is_set_to_says_how_to_set_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "keras.py").write_text("import tensorflow\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtra, match=r"set to its backend tensorflow.*KERAS_BACKEND.*= .jax"):
        require("keras", "keras")


@pytest.mark.parametrize("value", [10**400, 1e308, 2**128])
def test_a_count_that_would_overflow_later_is_refused_now(value):
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 1 and below 2\*\*128"):
        check_count("steps", value)


@pytest.mark.parametrize("value", [[], ["min"], {"min": 1}, np.array(["min", "max"]), {"min"}])
def test_a_choice_that_cannot_be_looked_up_is_refused_by_name(value):
    for choices in (("min", "max"), {"min": 1, "max": 2}):
        with pytest.raises(ValueError, match=r"mode must be one of 'min', 'max'\. Received"):
            check_choice("mode", value, choices)


@pytest.mark.parametrize("value", [np.arange(900.0).reshape(30, 30), "x" * 5000, list(range(999))])
def test_errors_stay_short_whatever_was_received(value):
    message = str(bad_argument("data", "a number", value))
    assert len(message) < 300
    assert "\n" not in message
    assert message.startswith("data must be a number. Received: ")
