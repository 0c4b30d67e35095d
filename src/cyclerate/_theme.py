"""Colours and line styles of the figures: for light and dark pages, and for every eye.

The figures of the pages are SVG and take their colours from the variables of CSS, so that one
figure is right on light paper and on dark; those of matplotlib take a theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# A gap pattern for each colour, so that no line is told by its colour alone.
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (4, 1.2)),
    (0, (1, 1)),
    (0, (4, 1.2, 1, 1.2)),
    (0, (2, 1)),
    (0, (4, 1, 1, 1, 1, 1)),
)


@dataclass(frozen=True)
class Theme:
    """The colours of one kind of page."""

    name: str  # "light" or "dark"
    paper: str
    ink: str  # text and the main lines
    faint: str  # axes and ticks
    grid: str
    reference: str  # the policy that the others are measured against
    lines: tuple[str, ...]  # for the other policies, apart from each other also to the colour-blind


LIGHT = Theme(
    name="light",
    paper="#ffffff",
    ink="#1b1f24",
    faint="#59636e",
    grid="#e4e7eb",
    reference="#4a525b",
    lines=("#2f6fe0", "#a02400", "#10a070", "#d35ab8", "#8a9400", "#5a1a78"),
)
DARK = Theme(
    name="dark",
    paper="#15191e",
    ink="#e8ebee",
    faint="#a4adb7",
    grid="#2d343c",
    reference="#c3cad2",
    lines=("#5b7fe8", "#e8541c", "#6ff09c", "#a583c4", "#f4de40", "#f79cfb"),
)


CSS = Theme(
    name="css",
    paper="var(--paper)",
    ink="var(--ink)",
    faint="var(--faint)",
    grid="var(--grid)",
    reference="var(--reference)",
    lines=tuple(f"var(--line-{i})" for i in range(len(LIGHT.lines))),
)
"""The colours as CSS names them; `variables` gives them their values."""


def variables(theme: Theme) -> str:
    """Returns the declarations of CSS that give the variables of `CSS` the colours of a theme.

    >>> variables(LIGHT).split("; ")[0]
    '--paper: #ffffff'
    """
    names = ("paper", "ink", "faint", "grid", "reference")
    given = [f"--{name}: {getattr(theme, name)}" for name in names]
    given += [f"--line-{i}: {color}" for i, color in enumerate(theme.lines)]
    return "; ".join(given) + ";"


NOTEBOOK_STYLE = (
    f"<style>.cyclerate {{ {variables(LIGHT)} max-width: 34em; }} "
    f"@media (prefers-color-scheme: dark) {{ .cyclerate {{ {variables(DARK)} }} }} "
    f"[data-jp-theme-light=true] .cyclerate {{ {variables(LIGHT)} }} "
    f"[data-jp-theme-light=false] .cyclerate, .vscode-dark .cyclerate {{ {variables(DARK)} }} "
    ".cyclerate svg { display: block; width: 100%; height: auto; color: var(--ink); "
    "background: var(--paper); }</style>"
)
"""The colours in a notebook: as JupyterLab and VS Code say, else as the system does."""


@dataclass(frozen=True)
class Style:
    """How one policy is drawn."""

    color: str
    dashes: Any

    @property
    def dash_array(self) -> str:
        """The dashes as SVG has them, "" for a whole line."""
        pattern = () if self.dashes == "solid" else self.dashes[1]
        return " ".join(f"{2 * size:g}" for size in pattern)


def styles(names: Sequence[str], reference: str, theme: Theme) -> dict[str, Style]:
    """Gives every policy its line, in the order of the record; the reference is grey."""
    found = {}
    for name in names:
        if name == reference:
            found[name] = Style(theme.reference, "solid")
            continue
        i = len(found) - (reference in found)
        shift = i // len(theme.lines)  # after one round the colours meet other patterns
        found[name] = Style(theme.lines[i % len(theme.lines)], DASHES[(i + shift) % len(DASHES)])
    return found
