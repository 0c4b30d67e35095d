"""Charts as text, in SVG: two axes and the marks on them, for pages and for notebooks.

Needs NumPy alone. Every text is escaped; colours are those of CSS (`_theme.CSS`), so that one
chart is right on light paper and on dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._theme import CSS, NOTEBOOK_STYLE, Style

WIDTH, HEIGHT = 400, 250
NAMED_RIGHT = 92  # room for the names of lines
MOST_POINTS = 2000
"""Points of a line that are kept as they are: more of them are binned, see `thinned`."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 26, 36
_LETTER = 11
_FAR = 4.0  # a point so many heights outside is as good as one farther off


def number(value: float) -> str:
    """Writes a number with four digits at most.

    >>> number(0.54321), number(1e-05)
    ('0.5432', '1e-05')
    """
    return f"{value:.4g}"


def steps_text(value: float) -> str:
    """Writes a number of steps in short.

    >>> [steps_text(value) for value in (500, 1000, 20000, 1500000)]
    ['500', '1k', '20k', '1.5M']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


@dataclass(frozen=True)
class Axis:
    """One axis of a chart, in the units of its data."""

    low: float
    high: float
    log: bool = False
    label: str = ""
    write: Callable[[float], str] = number

    def share(self, values: Any) -> NDArray[np.float64]:
        """Returns where values lie on it: 0 at its low end, 1 at its high one."""
        low, high = np.float64(self.low), np.float64(self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.asarray(values, dtype=np.float64)
            if self.log:
                low, high, at = np.log(low), np.log(high), np.log(at)
            found = (at - low) / ((high - low) or 1.0)
        return np.clip(np.nan_to_num(found, nan=-_FAR, posinf=_FAR, neginf=-_FAR), -_FAR, _FAR)

    def parts(self, values: Any, many: int) -> NDArray[np.int64]:
        """Returns in which of so many equally wide parts of it values lie."""
        return np.clip((self.share(values) * many).astype(np.int64), 0, many - 1)

    def ticks(self, most: int = 6) -> list[float]:
        """Returns round values on it, at most `most`.

        >>> Axis(0.0, 10.0).ticks(), Axis(1e-4, 1.0, log=True).ticks(3)
        ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0001, 0.01, 1.0])
        """
        if self.log:
            first = math.ceil(math.log10(self.low) - 1e-9)
            last = math.floor(math.log10(self.high) + 1e-9)
            if last - first >= 2:
                every = math.ceil((last - first + 1) / most)
                return [10.0**power for power in range(first, last + 1, every)]
            fine = [m * 10.0**power for power in range(first - 1, last + 1) for m in (1, 2, 5)]
            return [tick for tick in fine if self.low <= tick <= self.high][:most]
        step = _round_step((self.high - self.low) / max(most - 1, 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{step * i:.12g}") for i in range(first, last + 1)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5, 10, ... that is not below `least`."""
    if not 0 < least < math.inf:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= least * (1 - 1e-9))


def around(values: Any, share: float = 0.06) -> tuple[float, float]:
    """Returns the lowest and highest finite value with a margin; (0, 1) where there is none."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    margin = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def thinned(
    x: Any, y: Any, most: int = MOST_POINTS, axis: Axis | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns a line's finite points; of more than `most` the lowest and highest of each bin.

    A bin has as many points as the others; with an axis it is a part of it as wide as the others.

    >>> x, y = thinned(range(10_000), [0.0] * 5_000 + [9.0] + [0.0] * 4_999)
    >>> len(x) <= 2000, float(y.max()), int(x[0])
    (True, 9.0, 0)
    """
    at, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(at) & np.isfinite(values)
    at, values = at[finite], values[finite]
    if len(at) <= most:
        return at, values
    many = most // 2
    starts = np.linspace(0, len(at), many + 1).astype(np.int64)[:-1]
    if axis is not None:
        starts = np.flatnonzero(np.diff(axis.parts(at, many), prepend=-1))
    places = extremes(values, starts)
    return at[places], values[places]


def extremes(values: NDArray[Any], starts: NDArray[Any]) -> NDArray[Any]:
    """Returns where each part of the values has its lowest and its highest for the first time."""
    sizes, found = np.diff([*starts, len(values)]), list[Any]()
    for end in (np.minimum, np.maximum):
        hits = np.flatnonzero(values == np.repeat(end.reduceat(values, starts), sizes))
        found.append(hits[np.searchsorted(hits, starts)])
    return np.unique(np.concatenate(found))


class Chart:
    """A chart being drawn: its axes, then mark after mark, one on top of the other.

    Args:
        x: The horizontal axis.
        y: The vertical axis.
        title: What stands over it.
        alt: Its content as text, for whoever does not see it.
        height: Its height; its width is always 400.
        right: The room at the right of the axes.
        left: The room at their left.

    >>> chart = Chart(Axis(0, 10), Axis(0, 1), "Loss <b>", "a falling line")
    >>> chart.line([0, 10], [1, 0], CSS.lines[0])
    >>> "Loss &lt;b&gt;" in chart.svg()
    True
    """

    def __init__(
        self,
        x: Axis,
        y: Axis,
        title: str,
        alt: str,
        *,
        height: int = HEIGHT,
        right: int = _RIGHT,
        left: int = _LEFT,
    ) -> None:
        self._x, self._y, self._alt = x, y, alt
        self._size = (WIDTH - left - right, height - _TOP - _BOTTOM)
        self._height, self._left = height, left
        self._inside: list[str] = []
        self._around: list[str] = [_text(left - 38, 14, title, 'font-weight="600"')]

    def line(
        self,
        x: Any,
        y: Any,
        color: str,
        *,
        width: float = 1.8,
        dashes: str = "",
        opacity: float = 1.0,
    ) -> None:
        """Draws a line through points; of very many, the extremes of each pixel."""
        style = f"fill:none;stroke:{color};stroke-width:{width:g};stroke-linejoin:round"
        style += f";stroke-dasharray:{dashes}" if dashes else ""
        style += f";stroke-opacity:{opacity:g}" if opacity < 1 else ""
        points = self._points(*thinned(x, y, 2 * self._size[0], self._x))
        self._inside.append(f'<polyline style="{style}" points="{points}"/>')

    def band(self, x: Any, low: Any, high: Any, color: str, opacity: float = 0.2) -> None:
        """Fills what lies between two lines."""
        x = np.asarray(x)
        points = self._points(np.append(x, x[::-1]), np.append(high, np.asarray(low)[::-1]))
        style = f"fill:{color};fill-opacity:{opacity:g};stroke:none"
        self._inside.append(f'<polygon style="{style}" points="{points}"/>')

    def dots(
        self, x: Any, y: Any, color: str, *, radius: float = 2.0, opacity: float = 1.0
    ) -> None:
        """Draws a dot at each point."""
        path = "".join(f"M{place}h0" for place in self._points(x, y).split())
        style = f"fill:none;stroke:{color};stroke-width:{2 * radius:g};stroke-linecap:round"
        style += f";stroke-opacity:{opacity:g}" if opacity < 1 else ""
        self._inside.append(f'<path style="{style}" d="{path}"/>')

    def crosses(self, x: Any, y: Any, color: str) -> None:
        """Draws a cross at each point; at the edge where that is outside."""
        low, high = (self._y.low, self._y.high)
        held = np.clip(np.nan_to_num(np.asarray(y, dtype=np.float64), nan=high), low, high)
        size = self._size[1]
        places = [place.split(",") for place in self._points(x, held).split()]
        path = "".join(
            f"M{float(a) - 4:g},{min(max(float(b), 5), size - 5) - 4:g}l8,8m-8,0l8,-8"
            for a, b in places
        )
        self._inside.append(f'<path style="fill:none;stroke:{color};stroke-width:2" d="{path}"/>')

    def rule(self, axis: str, value: float, color: str, label: str = "", side: str = "end") -> None:
        """Draws a dashed line across at a value of one axis ("x" or "y").

        Its label stands at its "start", to the left, or at its "end", to the right: a line below.
        """
        wide, high = self._size
        share = float((self._x if axis == "x" else self._y).share(value))
        if axis == "x":
            at = share * wide
            ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{high}"'
            left = side == "start" or at > 0.7 * wide
            anchor = 'text-anchor="end"' if left else ""
            place = (at - 3 if left else at + 3, 10 if side == "start" else 23)
        else:
            at = (1 - share) * high
            ends = f'x1="0" x2="{wide}" y1="{at:.1f}" y2="{at:.1f}"'
            anchor, place = "", (2.0, at - 3)
        style = f"stroke:{color};stroke-width:1.2;stroke-dasharray:4 3"
        self._inside.append(f'<line {ends} style="{style}"/>')
        if label:
            self._inside.append(_text(*place, label, f'{anchor} style="fill:{color}"'))

    def names(self, ends: Sequence[tuple[str, float, Style]]) -> None:
        """Names lines at the right of the axes, each beside its end, none on top of another."""
        wide, high = self._size
        heights = [float(self._y.share(end)) for _, end, _ in ends]
        for (name, _, style), share in zip(ends, apart(heights, 14 / high), strict=True):
            x, y = self._left + wide, _TOP + (1 - share) * high
            dashes = f";stroke-dasharray:{style.dash_array}" if style.dash_array else ""
            look = f"stroke:{style.color};stroke-width:2{dashes}"
            self._around.append(
                f'<line x1="{x + 4}" x2="{x + 18}" y1="{y:.1f}" y2="{y:.1f}" style="{look}"/>'
            )
            self._around.append(_text(x + 21, y + 4, name))

    def remark(self, y: float, words: str) -> None:
        """Writes at the right of the axes, at a value of the vertical one."""
        at = _TOP + (1 - float(self._y.share(y))) * self._size[1]
        self._around.append(_text(self._left + self._size[0] + 4, at + 4, words))

    def svg(self, rows: Sequence[str] | None = None) -> str:
        """Returns the chart; `rows` are names that take the place of the vertical axis."""
        wide, high = self._size
        inside = "".join([*self._grid(rows is None), *self._inside])
        names = [
            _text(self._left - 6, self._row(i) + 4, name, 'text-anchor="end"')
            for i, name in enumerate(rows or ())
        ]
        return (
            f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {self._height}" '
            f'aria-label="{_clean(self._alt)}" font-size="{_LETTER}" '
            f'font-family="system-ui, sans-serif" fill="currentColor">'
            f'<svg x="{self._left}" y="{_TOP}" width="{wide}" height="{high}">{inside}</svg>'
            f"{''.join([*self._labels(rows is None), *names, *self._around])}</svg>"
        )

    def _row(self, y: float) -> float:
        return _TOP + (1 - float(self._y.share(y))) * self._size[1]

    def _grid(self, across: bool) -> list[str]:
        wide, high = self._size
        style = f'style="stroke:{CSS.grid}"'
        xs = [float(share) * wide for share in self._x.share(self._x.ticks())]
        ys = [(1 - float(share)) * high for share in self._y.share(self._up_ticks())]
        lines = [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{high}" {style}/>' for x in xs]
        if across:
            lines += [f'<line x1="0" x2="{wide}" y1="{y:.1f}" y2="{y:.1f}" {style}/>' for y in ys]
        frame = f'style="fill:none;stroke:{CSS.faint}"'
        return [*lines, f'<path d="M0,0V{high}H{wide}" {frame}/>']

    def _up_ticks(self) -> list[float]:
        return self._y.ticks(min(max(self._size[1] // 30, 3), 6))

    def _labels(self, up: bool) -> list[str]:
        wide, high = self._size
        foot = _TOP + high
        said: list[str] = []
        for tick in self._x.ticks():
            x = self._left + float(self._x.share(tick)) * wide
            said.append(_text(x, foot + 14, self._x.write(tick), 'text-anchor="middle"'))
        for tick in self._up_ticks() if up else ():
            at = self._row(tick) + 4
            said.append(_text(self._left - 5, at, self._y.write(tick), 'text-anchor="end"'))
        middle = self._left + wide / 2
        said.append(_text(middle, foot + 30, self._x.label, 'text-anchor="middle"'))
        return said

    def _points(self, x: Any, y: Any) -> str:
        wide, high = self._size
        across, up = self._x.share(x) * wide, (1 - self._y.share(y)) * high
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{_clean(words)}</text>'


def _clean(words: str) -> str:
    """Escapes text; what would move a cursor becomes a space."""
    return html.escape("".join(c if c.isprintable() else " " for c in words))


def paragraphs(lines: Iterable[str]) -> str:
    """Returns lines of text as paragraphs of HTML, escaped."""
    return "".join(f"<p>{_clean(line)}</p>" for line in lines)


def notebook(title: str, *parts: str) -> str:
    """Returns what a notebook shows of an object: a title, escaped, and parts of HTML."""
    head = f"<p><strong>{_clean(title)}</strong></p>"
    return f'{NOTEBOOK_STYLE}<div class="cyclerate">{head}{"".join(parts)}</div>'


def apart(heights: Sequence[float] | NDArray[np.float64], gap: float) -> list[float]:
    """Moves heights in [0, 1] as little as needed so that neighbours are `gap` apart.

    They keep their order. Clusters are centred where their members were.

    >>> [round(y, 2) for y in apart([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    order = np.argsort(heights, kind="stable")
    clusters: list[list[float]] = []  # each one: members, centre
    for wanted in np.clip(np.asarray(heights)[order], 0.0, 1.0):
        clusters.append([1.0, float(wanted)])
        while len(clusters) > 1 and _bottom(clusters[-1], gap) < _top(clusters[-2], gap) + gap:
            (m, b), (n, a) = clusters.pop(), clusters.pop()
            clusters.append([m + n, _kept_inside(m + n, (n * a + m * b) / (m + n), gap)])
    placed = [_bottom(c, gap) + gap * i for c in clusters for i in range(round(c[0]))]
    result = np.empty(len(placed))
    result[order] = placed
    return result.tolist()


def _bottom(cluster: Sequence[float], gap: float) -> float:
    return cluster[1] - gap * (cluster[0] - 1) / 2


def _top(cluster: Sequence[float], gap: float) -> float:
    return cluster[1] + gap * (cluster[0] - 1) / 2


def _kept_inside(members: float, centre: float, gap: float) -> float:
    half = gap * (members - 1) / 2
    return 0.5 if half > 0.5 else min(max(centre, half), 1.0 - half)
