"""Colours that everyone can tell apart, on light pages and on dark ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cyclerate._theme import CSS, DARK, DASHES, LIGHT, Theme, styles, variables
from tests.compare.colors import EYES, contrast, distance

both = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)


@both
def test_text_and_lines_stand_out_from_the_paper(theme: Theme):
    assert contrast(theme.ink, theme.paper) >= 7.0
    assert contrast(theme.faint, theme.paper) >= 4.5
    assert contrast(theme.reference, theme.paper) >= 4.5
    assert min(contrast(color, theme.paper) for color in theme.lines) >= 3.0


@both
@pytest.mark.parametrize("eye", EYES.values(), ids=EYES)
def test_colors_are_told_apart(theme: Theme, eye: np.ndarray):
    usual = (theme.reference, *theme.lines[:3])
    assert min(distance(a, b, eye) for a, b in itertools.combinations(usual, 2)) >= 20.0
    every = (theme.reference, *theme.lines)
    assert min(distance(a, b, eye) for a, b in itertools.combinations(every, 2)) >= 15.0


@both
def test_no_two_policies_look_alike(theme: Theme):
    names = [f"policy {i}" for i in range(13)]
    drawn = styles(names, "policy 0", theme)
    assert len({(style.color, style.dashes) for style in drawn.values()}) == 13
    assert drawn["policy 0"].color == theme.reference
    first_round = [drawn[name] for name in names[1:7]]
    assert [style.dashes for style in first_round] == list(DASHES)
    assert [style.color for style in first_round] == list(theme.lines)


def test_the_place_of_the_reference_changes_no_other_color():
    first = styles(["fixed", "a", "b"], "fixed", LIGHT)
    last = styles(["a", "b", "fixed"], "fixed", LIGHT)
    assert first == last


def test_every_colour_of_a_figure_has_its_value_in_both_themes():
    used = {CSS.paper, CSS.ink, CSS.faint, CSS.grid, CSS.reference, *CSS.lines}
    for theme in (LIGHT, DARK):
        given = dict(part.split(": ") for part in variables(theme).rstrip(";").split("; "))
        assert {f"var({name})" for name in given} == used
        assert given["--line-1"] == theme.lines[1]


def test_dashes_are_written_as_svg_has_them():
    drawn = styles(["fixed", "a", "b"], "fixed", CSS)
    assert [style.dash_array for style in drawn.values()] == ["", "", "8 2.4"]
