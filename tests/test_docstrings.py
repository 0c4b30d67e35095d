"""Every example in a docstring is run; everything public has a docstring, and an example."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.source import (
    ADAPTERS,
    MODULES,
    PACKAGE,
    REPRODUCTIONS,
    ROOT,
    TRAINERS,
    name_of,
    public_names,
)

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_of(path: Path) -> str:
    root = PACKAGE.parent if PACKAGE in path.parents else ROOT
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def public_objects() -> Iterator[tuple[str, object]]:
    """The classes and functions that users see, each with its full name."""
    names = (*ADAPTERS, *TRAINERS, "sklearn", "tables", "finder")
    parts = [f"cyclerate.{name}" for name in names if (PACKAGE / name).exists()]
    for module in map(importlib.import_module, ["cyclerate", *parts]):
        for name in public_names(module):
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield f"{module.__name__}.{name}", thing


def methods(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties that our own code gives a class."""
    for name, member in inspect.getmembers(cls):
        if name.startswith("_"):
            continue
        home = next(base for base in cls.__mro__ if name in vars(base))
        ours = home.__module__.startswith("cyclerate")
        if ours and (inspect.isroutine(member) or isinstance(member, property)):
            yield name, member


@pytest.mark.parametrize("path", [*MODULES, *REPRODUCTIONS], ids=name_of)
def test_examples_give_what_they_say(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    module: ModuleType = importlib.import_module(module_of(path))
    failures, _ = doctest.testmod(module, optionflags=FLAGS)
    assert failures == 0, "the report above names the line"


def test_everything_public_is_documented():
    undocumented = []
    for name, thing in public_objects():
        if not (thing.__doc__ or "").strip():
            undocumented.append(name)
        if inspect.isclass(thing):
            undocumented += [
                f"{name}.{method}"
                for method, member in methods(thing)
                if not inspect.getdoc(member)
            ]
    assert undocumented == []


def test_everything_public_has_an_example():
    without = [name for name, thing in public_objects() if ">>>" not in (thing.__doc__ or "")]
    assert without == []
