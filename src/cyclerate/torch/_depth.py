"""Parameter groups by the depth of their layers, and layers that thaw one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from cyclerate._errors import (
    bad_argument,
    check_count,
    check_flag,
    check_items,
    check_rate,
    listed,
)
from cyclerate.cycles._rules import LAYER_DECAY, layer_factors, thaw_turns


def layer_groups(
    model: nn.Module,
    lr: float,
    decay: float = LAYER_DECAY,
    layers: Sequence[Any] | None = None,
    *,
    no_decay: bool = False,
) -> list[dict[str, Any]]:
    """Returns parameter groups for an optimizer, with a smaller rate the deeper a layer is.

    A layer d layers below the top has the rate `lr * decay ** d`. `range_test`, `fit_one_cycle`,
    `fit_cycles` and `ScheduledLR(group_scale="keep")` keep these ratios.

    Args:
        model: The model.
        lr: The rate of the top layer, above 0.
        decay: From a layer to the one below it, above 0 and at most 1. Default 1 / 2.6.
        layers: The layers from the bottom to the top; a list of modules and parameters, as
            `[model.cls, model.pos, model.patches]`, stands for one of them. Default: every module
            that has parameters of its own, in the order of `model.modules()`. Give the blocks of a
            deep network, or its lowest do not move.
        no_decay: Whether parameters of one dimension, biases and scales, have no weight decay: in a
            second group of their layer. Each group says then which "layer" it is of, and
            `GradualUnfreezing` and `layer_decay` go by that. Default False.

    Returns:
        One group for each layer, from the bottom to the top; up to two with `no_decay`.

    Raises:
        ValueError: A number out of range, or a trainable parameter that is in no layer or in two.

    Source: the discriminative fine-tuning of Howard and Ruder 2018, arXiv 1801.06146, section 3.2.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> optimizer = torch.optim.AdamW(layer_groups(model, lr=0.01, decay=0.5))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.005, 0.01]
    """
    lr = check_rate("lr", lr)
    check_flag("no_decay", no_decay)
    groups = _parameters(model, layers)
    factors = layer_factors(len(groups), decay)
    made: list[dict[str, Any]] = [
        {"params": p, "lr": lr * f} for p, f in zip(groups, factors, strict=True)
    ]
    if not no_decay:
        return made
    split: list[dict[str, Any]] = []
    for layer, group in enumerate(made):
        for ndims, more in ((range(2, 99), {}), (range(2), {"weight_decay": 0.0})):
            parameters = [p for p in group["params"] if p.ndim in ndims]
            if parameters:
                split.append({**group, "params": parameters, "layer": layer, **more})
    return split


def layers_of(groups: Sequence[dict[str, Any]]) -> list[int]:
    """Returns the layer of each group, from the bottom: what the groups say, or their places."""
    said = [group.get("layer") for group in groups]
    return [*range(len(groups))] if None in said else cast(list[int], said)


_LAYERS = "modules and parameters, or lists of them"


class GradualUnfreezing:
    """Lets only the last parameter group train at first, and one more at every turn.

    A frozen group has `requires_grad` False and no gradient: its parameters do not move at all, and
    a step takes less time. Batch normalisation in a frozen layer goes on with its statistics,
    unless the layer is in eval mode.

    Args:
        optimizer: The optimizer, with groups from the bottom to the top, as of `layer_groups`.
        every_steps: Optimizer steps of a turn: an epoch's, or a cycle's.

    Raises:
        ValueError: There is one group only, or a turn below 1.

    Source: Howard and Ruder 2018, arXiv 1801.06146, section 3.3.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    >>> optimizer = torch.optim.SGD(layer_groups(model, lr=0.01))
    >>> unfreezing = GradualUnfreezing(optimizer, every_steps=2)
    >>> for _ in range(3):
    ...     print(model[0].weight.requires_grad)
    ...     unfreezing.step()  # after optimizer.step()
    False
    False
    True
    """

    def __init__(self, optimizer: Optimizer, every_steps: int) -> None:
        if not isinstance(optimizer, Optimizer) or len(optimizer.param_groups) < 2:
            allowed = "a torch.optim.Optimizer of several groups, as layer_groups makes them"
            raise bad_argument("optimizer", allowed, optimizer)
        every = check_count("every_steps", every_steps)
        layers = layers_of(optimizer.param_groups)
        turns = thaw_turns(1 + max(layers))
        self._frozen = [
            (turns[layer] * every, [p for p in group["params"] if p.requires_grad])
            for layer, group in zip(layers, optimizer.param_groups, strict=True)
            if turns[layer]
        ]
        self._steps = 0
        for _, parameters in self._frozen:
            for parameter in parameters:
                parameter.requires_grad_(False)
                parameter.grad = None

    def step(self) -> None:
        """Counts an optimizer step, and thaws the group whose turn has come."""
        self._steps += 1
        self._thaw(self._steps)

    def thaw_all(self) -> None:
        """Ends it: every parameter that was trainable before is so again."""
        self._thaw(None)

    def _thaw(self, steps: int | None) -> None:
        waiting = [(first, p) for first, p in self._frozen if steps is not None and first > steps]
        for first, parameters in self._frozen:
            if steps is None or first <= steps:
                for parameter in parameters:
                    parameter.requires_grad_(True)
        self._frozen = waiting


def _parameters(model: nn.Module, layers: Sequence[Any] | None) -> list[list[Parameter]]:
    if not isinstance(model, nn.Module):
        raise bad_argument("model", "a torch.nn.Module", model)
    if layers is None:
        own = (_trainable(module.parameters(recurse=False)) for module in model.modules())
        found = _each_once([group for group in own if group])
    else:
        listed_layers = check_items("layers", layers, _LAYERS)
        found = [_trainable(_parameters_in(layer)) for layer in listed_layers]
    held = [id(parameter) for group in found for parameter in group]
    known = set(held)
    missing = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in known]
    if missing or not held or len(known) < len(held):
        allowed = "modules and parameters that hold each trainable parameter once"
        raise bad_argument(
            "layers", allowed, f"without {listed(missing, 5)}" if missing else layers
        )
    return found


def _parameters_in(layer: Any) -> Iterable[Parameter]:
    one = isinstance(layer, (nn.Module, Parameter))
    for part in [layer] if one else check_items("layers", layer, _LAYERS):
        if isinstance(part, Parameter):
            yield part
        elif isinstance(part, nn.Module):
            yield from part.parameters()
        else:
            raise bad_argument("layers", _LAYERS, part)


def _trainable(parameters: Iterable[Parameter]) -> list[Parameter]:
    return [parameter for parameter in parameters if parameter.requires_grad]


def _each_once(groups: list[list[Parameter]]) -> list[list[Parameter]]:
    """Parameters that several modules share belong to the first of them."""
    seen: set[int] = set()
    found: list[list[Parameter]] = []
    for group in groups:
        new = [parameter for parameter in group if id(parameter) not in seen]
        seen |= {id(parameter) for parameter in new}
        if new:
            found.append(new)
    return found


Scaling = Callable[[Any], Any]
"""Gives the new rate for an old one."""


def scaling(old: float, new: float) -> Scaling:
    """Returns what multiplies rates by `new / old`, and makes exactly `new` of `old`."""
    if not old > 0:
        raise bad_argument("the rate", "above 0 before it can be multiplied", old)
    return lambda value: new * (float(value) / old)
