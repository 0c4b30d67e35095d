"""Parts that the figures share: an empty page-wide figure, its clothes, and direct labels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclerate._svg import apart
from cyclerate._theme import Style, Theme
from cyclerate.compare._wording import printable, shortened

WIDTH_INCHES = 4.2  # at a phone's 360 pixels a 9.5 point letter is 11 pixels high
DPI = 220
POINTS = 9.5
FONT = "DejaVu Sans"  # comes with matplotlib: figures look the same everywhere
LABEL_LETTERS = 14


def new_figure(height_inches: float, theme: Theme) -> Figure:
    """Makes an empty figure of the common width."""
    size = (WIDTH_INCHES, height_inches)
    return Figure(figsize=size, dpi=DPI, facecolor=theme.paper, layout="constrained")


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG bytes, the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def dress(ax: Axes, theme: Theme, title: str | None = None) -> None:
    """Gives axes the common look: few lines, readable letters, the theme's colours."""
    ax.set_facecolor(theme.paper)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
        spine.set_linewidth(0.8)
    ax.tick_params(
        which="both",
        color=theme.faint,
        labelcolor=theme.ink,
        labelsize=POINTS - 1,
        labelfontfamily=FONT,
    )
    ax.grid(True, which="major", color=theme.grid, linewidth=0.7)
    ax.set_axisbelow(True)
    words: dict[str, Any] = {
        "color": theme.ink,
        "fontsize": POINTS,
        "fontfamily": FONT,
        "parse_math": False,
    }
    ax.xaxis.label.set(**words)
    ax.yaxis.label.set(**words)
    if title is not None:
        ax.set_title(title, loc="left", fontweight="bold", **words)


def drawable(text: str, letters: int = LABEL_LETTERS) -> str:
    """Returns text that the font can draw: unknown signs become "?", long names are cut."""
    known = font_manager.get_font(font_manager.findfont(FONT)).get_charmap()
    return shortened("".join(c if ord(c) in known else "?" for c in printable(text)), letters)


def words(ax: Axes, x: float, y: float, text: str, theme: Theme, **options: Any) -> None:
    """Writes text on axes exactly as it is: a dollar sign is a dollar sign."""
    options = {"color": theme.ink, "fontsize": POINTS - 1, "fontfamily": FONT, **options}
    ax.text(x, y, text, parse_math=False, **options)


@dataclass(frozen=True)
class Named:
    """A line's name, its last value in data units, and how it is drawn."""

    name: str
    end: float
    style: Style


def name_lines(ax: Axes, lines: Sequence[Named], theme: Theme, height_inches: float) -> None:
    """Names lines at the right of the axes, each beside its end, none on top of another."""
    ends = [(ax.get_xlim()[0], line.end) for line in lines]
    heights = ax.transAxes.inverted().transform(ax.transData.transform(ends))[:, 1]
    gap = 1.35 * POINTS / 72 / height_inches
    across: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
    for line, y in zip(lines, apart(heights, gap), strict=True):
        piece: dict[str, Any] = {"color": line.style.color, "linestyle": line.style.dashes}
        ax.plot([1.03, 1.13], [y, y], linewidth=2, **piece, **across)
        words(ax, 1.16, y, line.name, theme, va="center", transform=ax.transAxes)
