"""How a trained model is made ready for something else: heads, adapters, rates by layer.

Each function changes the model and returns what is trained, each part with its share of the rate.
"""

from __future__ import annotations

from torch import Tensor, nn, randn, zeros
from torch.nn import Parameter
from torch.nn.utils import parametrize

Groups = list[tuple[list[Parameter], float]]


def new_head(model: nn.Module) -> Groups:
    """Gives the model a new last layer and trains all of it."""
    _last(model).reset_parameters()
    return as_it_is(model)


def as_it_is(model: nn.Module) -> Groups:
    """Trains all of the model, its last layer included, from where it stands."""
    return [(list(model.parameters()), 1.0)]


def frozen_body(model: nn.Module) -> Groups:
    """Gives the model a new last layer and trains nothing else."""
    model.requires_grad_(requires_grad=False)
    head = _last(model)
    head.requires_grad_(requires_grad=True)
    head.reset_parameters()
    return _trained(model)


def adapters(model: nn.Module) -> Groups:
    """Freezes the model, and adds a product of two thin matrices to each dense layer's weights."""
    return _add_adapters(model, keep_head=True)


def adapters_and_new_head(model: nn.Module) -> Groups:
    """As `adapters`, but the last layer is a new one, and trained as it is."""
    _last(model).reset_parameters()
    return _add_adapters(model, keep_head=False)


def by_layer(model: nn.Module, share: float = 0.4) -> Groups:
    """Gives the model a new last layer; each layer has a smaller rate than the one above it.

    Source: Howard and Ruder 2018, arXiv 1801.06146, section 3.2, where the share is 1 / 2.6.
    """
    _last(model).reset_parameters()
    layers = [layer for layer in model.children() if list(layer.parameters())]
    depths = enumerate(reversed(layers))
    return [(list(layer.parameters()), share**depth) for depth, layer in depths]


class Adapter(nn.Module):
    """A weight, plus twice the product of two thin matrices of which one begins at zero.

    Source: Hu et al. 2021, arXiv 2106.09685, section 4.1, with alpha twice the rank.
    """

    def __init__(self, weight: Tensor, rank: int = 4) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = Parameter(randn(rank, columns) / columns**0.5)
        self.up = Parameter(zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + 2 * self.up @ self.down


def _add_adapters(model: nn.Module, *, keep_head: bool) -> Groups:
    model.requires_grad_(requires_grad=False)
    head = _last(model)
    # A Transformer reads the weights of this layer without calling it.
    plain = [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear and (keep_head or layer is not head)
    ]
    for layer in plain:
        parametrize.register_parametrization(layer, "weight", Adapter(layer.weight))
    if not keep_head:
        head.requires_grad_(requires_grad=True)
    return _trained(model)


def _trained(model: nn.Module) -> Groups:
    return [([p for p in model.parameters() if p.requires_grad], 1.0)]


def _last(model: nn.Module) -> nn.Linear:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
