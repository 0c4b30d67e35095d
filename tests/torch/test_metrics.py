"""Accuracy, for the forms in which networks give their answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cyclerate.torch._step import accuracy, metric_of

CASES = {
    "classes": ([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 0, 0], 2 / 3),
    "one logit in a column": ([[2.0], [-1.0], [0.5], [-3.0]], [1.0, 0.0, 0.0, 0.0], 3 / 4),
    "one logit": ([2.0, -1.0], [True, True], 1 / 2),
    "labels": ([[2.0, -1.0], [0.5, -3.0]], [[1, 0], [0, 0]], 3 / 4),
    "a class for every place": (
        [[[0.9, 0.1, 0.2], [0.1, 0.9, 0.8]]],
        [[0, 1, 0]],
        2 / 3,
    ),
}


@pytest.mark.parametrize(("output", "target", "share"), CASES.values(), ids=CASES)
def test_accuracy_is_the_share_that_is_right(output, target, share):
    found = accuracy(torch.tensor(output), torch.tensor(target))
    assert found.item() == pytest.approx(share)


def test_probabilities_are_cut_at_a_half():
    output, target = torch.tensor([[0.4], [0.6], [0.1]]), torch.tensor([[0.0], [1.0], [0.0]])
    _, of_probabilities = metric_of("accuracy", nn.BCELoss(), validated=False)
    _, of_logits = metric_of("accuracy", nn.BCEWithLogitsLoss(), validated=False)
    assert of_probabilities(output, target).item() == 1.0
    assert of_logits(output, target).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("shapes", [((4, 3), (3,)), ((4,), (4, 3)), ((4, 3), (4, 2))])
def test_shapes_that_fit_nothing_are_refused(shapes):
    output, target = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="'accuracy' does not fit the shapes"):
        accuracy(output, target)


def test_names():
    def top_two(output, target):
        return 0.0

    class Score:
        def __call__(self, output, target):
            return 0.0

    names = [metric_of(m, len, validated=False)[0] for m in ("loss", "accuracy", top_two, Score())]
    assert names == ["loss", "accuracy", "top_two", "Score"]
    names = [metric_of(m, len, validated=True)[0] for m in ("loss", "val_accuracy", top_two)]
    assert names == ["val_loss", "val_accuracy", "val_top_two"]


@pytest.mark.parametrize(
    "loss_fn", [nn.CrossEntropyLoss(), nn.functional.cross_entropy, nn.MSELoss()]
)
def test_shares_of_classes_are_right_where_their_largest_is(loss_fn):
    output = torch.tensor([[2.0, -1.0, 1.0], [0.1, 0.3, 0.2], [-1.0, -3.0, -2.0]])
    one_hot = torch.eye(3)[torch.tensor([0, 1, 2])]
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.4, 0.6, 0.0], [0.1, 0.2, 0.7]])
    _, measure = metric_of("accuracy", loss_fn, validated=False)
    for target in (one_hot, mixed):
        assert measure(output, target).item() == pytest.approx(2 / 3)


def test_several_labels_of_a_row_count_one_by_one():
    output = torch.tensor([[2.0, -1.0, 1.0], [0.1, 0.3, -0.2]])
    target = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    assert accuracy(output, target).item() == pytest.approx(5 / 6)
