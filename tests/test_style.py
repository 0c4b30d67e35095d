"""What a linter does not see: the length of functions, and tests that cannot fail."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.source import MODULES, REPRODUCTIONS, TESTS, name_of, parse

LONGEST_FUNCTION = 70


@pytest.mark.parametrize("path", [*MODULES, *REPRODUCTIONS], ids=name_of)
def test_functions_are_short(path: Path):
    long = {
        f"{node.name}, line {node.lineno}": lines
        for node in ast.walk(parse(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := length(node)) > LONGEST_FUNCTION
    }
    assert long == {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    assert function.end_lineno is not None
    docstring = ast.get_docstring(function, clean=False)
    told = len(docstring.split("\n")) if docstring else 0
    return function.end_lineno - function.lineno + 1 - told


# A comparison that stands alone as a statement tests nothing.
COMPARISONS = {
    "isclose",
    "allclose",
    "array_equal",
    "array_equiv",
    "equal",
    "is_close",
    "all_close",
}


def discarded_comparisons(tree: ast.Module) -> list[int]:
    """The lines whose whole statement is a comparison, so that its answer is thrown away."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and _is_comparison(node.value)
    ]


def _is_comparison(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        name = value.func
        called = name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")
        return called in COMPARISONS
    return isinstance(value, (ast.Compare, ast.BoolOp))


def test_the_search_for_discarded_comparisons_finds_them():
    tree = ast.parse(
        "np.allclose(a, b)\n"
        "isclose(a, b)\n"
        "a == b\n"
        "assert np.allclose(a, b)\n"
        "same = a == b\n"
        "np.testing.assert_allclose(a, b)\n"
    )
    assert discarded_comparisons(tree) == [1, 2, 3]


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_throws_a_comparison_away(path: Path):
    assert discarded_comparisons(parse(path)) == []
