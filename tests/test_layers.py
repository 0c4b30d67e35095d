"""The way of the data is one way, each part standing on those before it.

schedules <- finder <- compare <- cli. `cycles` stands on the first two.
Adapters stand on these three; those of trainers also on that of PyTorch.
`sklearn` stands on `compare` and on the adapter for Keras. The tests read the import statements of
the source.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.source import (
    ADAPTERS,
    MODULES,
    PACKAGE,
    TRAINERS,
    imported,
    name_of,
    parse,
    run_on_import,
)

CORE = {"schedules", "finder", "cycles"}
ROOT = CORE | {"__init__"}  # `import cyclerate`: what stands above the root's own imports

# What each part of the package may import of the others. Root helpers (`_*.py`) are for all.
MAY_IMPORT: dict[str, set[str]] = {
    "_helpers": set(),
    "__init__": CORE,
    "schedules": set(),
    "finder": {"schedules"},
    "cycles": {"schedules", "finder"},  # a guard tells divergence as a sweep does
    **dict.fromkeys(ADAPTERS, CORE),
    **dict.fromkeys(TRAINERS, CORE | {"torch"}),
    "tables": set(),
    "compare": ROOT | {*ADAPTERS},
    "training": {"compare"},  # an older name
    "sklearn": ROOT | {"keras", "compare"},
    "cli": ROOT | {*ADAPTERS} | {"lightning", "tables", "compare"},
}

# Which frameworks a part, or one file, may import when it is itself imported; elsewhere only inside
# functions.
FRAMEWORKS = {"keras", "tensorflow", "torch", "jax", "optax", *TRAINERS}
LOADS: dict[str, set[str]] = {
    # One network of a framework each; their package imports neither.
    "compare/_keras_learner.py": {"keras"},
    "compare/_torch_learner.py": {"torch"},
    "keras": {"keras", "tensorflow", "torch", "jax"},
    "torch": {"torch"},
    "optax": {"jax", "optax"},
    "sklearn": {"keras"},
    "lightning": {"torch", "lightning"},
    "transformers": {"torch", "transformers"},
}

SLOW = {"matplotlib", "pandas", "sklearn", "scipy", "rich", "typer", "jinja2"}
SLOW_IS_FINE = {"tables", "compare", "sklearn", "cli"}


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    if not first.endswith(".py"):
        return first
    if first == "__init__.py":
        return "__init__"
    return "_helpers" if first.startswith("_") else first.removesuffix(".py")


def part_imported(module: str) -> str | None:
    """The part that `cyclerate.x.y` belongs to; None for helpers and for other packages."""
    package, _, rest = module.partition(".")
    if package != "cyclerate":
        return None
    first = rest.partition(".")[0] or "__init__"
    return None if first.startswith("_") and first != "__init__" else first


def test_the_reading_of_imports_sees_every_spelling():
    tree = ast.parse(
        "import cyclerate.keras\n"
        "from cyclerate import torch\n"
        "from cyclerate.optax.x import y\n"
        "from cyclerate._errors import z\n"
        "import jax.numpy as jnp\n"
        "if TYPE_CHECKING:\n    import keras\n"
        "def f():\n    import tensorflow\n"
        "class A:\n    import torch\n"
    )
    modules = [module for node in ast.walk(tree) for module in imported(node)]
    assert {part_imported(module) for module in modules} == {"keras", "torch", "optax", None}
    at_import = {module for node in run_on_import(tree) for module in imported(node)}
    assert {"jax.numpy", "torch"} <= at_import
    assert not {"keras", "tensorflow"} & at_import


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_package_does_not_rest_on_its_evidence(path: Path):
    """Experiments and measurements import the package; they are not in the wheel."""
    tree = parse(path)
    roots = {module.partition(".")[0] for node in ast.walk(tree) for module in imported(node)}
    assert not roots & {"reproductions", "benchmarks", "tests"}


def test_every_part_of_the_package_has_its_place():
    assert {part_of(path) for path in MODULES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path):
    part = part_of(path)
    allowed = MAY_IMPORT[part] | {part}
    wrong = [
        f"line {node.lineno}: {module}"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.stmt)
        for module in imported(node)
        if (target := part_imported(module)) is not None and target not in allowed
    ]
    assert wrong == [], f"{part} may import only {sorted(allowed)} of cyclerate"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_framework_loads_only_with_its_adapter(path: Path):
    part = part_of(path)
    file = path.relative_to(PACKAGE).as_posix()
    banned = FRAMEWORKS - LOADS.get(part, set()) - LOADS.get(file, set())
    if part not in SLOW_IS_FINE:
        banned |= SLOW
    wrong = [
        f"line {node.lineno}: {module}"
        for node in run_on_import(parse(path))
        if isinstance(node, ast.stmt)
        for module in imported(node)
        if module.partition(".")[0] in banned
    ]
    assert wrong == [], "import it in the function that needs it, or under TYPE_CHECKING"


def files_imported(files: dict[str, ast.Module]) -> dict[str, set[str]]:
    """The files that each file imports, wherever in it: in a function, for types alone.

    A name of a package is its `__init__`, unless it is that of a file in it. That importing a file
    runs the `__init__` above it is no import: within a package the files import each other.
    """
    found: dict[str, set[str]] = {}
    for name, tree in files.items():
        found[name] = set()
        for module in (module for node in ast.walk(tree) for module in imported(node)):
            while module and module not in files:
                module = module.rpartition(".")[0]  # noqa: PLW2901 - from the name in a file to it
            found[name] |= {module} - {"", name}
    return found


def circle_in(files: dict[str, ast.Module]) -> list[str]:
    """Files that import each other in turn, the first of them last again; empty if none do."""
    try:
        TopologicalSorter(files_imported(files)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_the_search_for_circles_finds_them():
    files = {
        "a": ast.parse("from a import _b, _d"),
        "a._b": ast.parse("def f():\n    from a._c import g"),
        "a._c": ast.parse("if TYPE_CHECKING:\n    import a._d as d"),
        "a._d": ast.parse("import a_b\nimport os"),
    }
    assert circle_in(files) == []
    assert files_imported(files) == {
        "a": {"a._b", "a._d"},
        "a._b": {"a._c"},
        "a._c": {"a._d"},
        "a._d": set(),
    }
    for closing in ("from a._b import f", "from a import g", "def f():\n    import a._c"):
        circle = circle_in(files | {"a._d": ast.parse(closing)})
        assert circle[0] == circle[-1]
        assert "a._d" in circle


def test_no_files_import_each_other():
    names = {path: path.relative_to(PACKAGE.parent).with_suffix("").parts for path in MODULES}
    files = {
        ".".join(parts).removesuffix(".__init__"): parse(path) for path, parts in names.items()
    }
    assert circle_in(files) == []
