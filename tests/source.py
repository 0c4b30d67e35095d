"""What the tests that read the source share: its files, their trees, and their imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cyclerate"
MODULES = sorted(PACKAGE.rglob("*.py"))
REPRODUCTIONS = sorted((ROOT / "reproductions").rglob("*.py"))
ADAPTERS = ("keras", "torch", "optax")
TRAINERS = ("lightning", "transformers")  # adapters that stand on that of PyTorch
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    """The path from the root of the repository: names a case in a test's report."""
    return path.relative_to(ROOT).as_posix()


def public_names(module: ModuleType) -> list[str]:
    """The names that a package offers: what it holds, without underscored names and submodules."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    )


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(node: ast.AST) -> list[str]:
    """The modules that an import statement names; `from a import b` may mean `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def run_on_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: no function bodies, no `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            if not function and not _for_types_only(child):
                waiting.append(child)


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
