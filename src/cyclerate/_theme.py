"""Colours and line styles of the figures: for light and dark pages, and for every eye."""

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


@dataclass(frozen=True)
class Style:
    """How one policy is drawn."""

    color: str
    dashes: Any


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
