"""The models of the tasks: small, and of every common kind."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def mlp(*widths: int, dropout: float = 0.0, batch_norm: bool = False) -> nn.Sequential:
    """A dense network; `widths` from the inputs to the outputs. Inputs of any shape are flat."""
    layers: list[nn.Module] = [nn.Flatten()]
    if batch_norm:
        layers.append(nn.BatchNorm1d(widths[0]))
    for width, following in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(width, following), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def tanh_mlp(*widths: int) -> nn.Sequential:
    """A dense network with smooth units."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(width, following), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def cnn(channels: int = 8, *, inputs: int = 1, side: int = 14) -> nn.Sequential:
    """Two strided convolutions and a dense layer."""
    last = math.ceil(math.ceil(side / 2) / 2)
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * channels * last * last, 10),
    )


class Residual(nn.Module):
    """What comes in, plus two normalised convolutions of it."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.branch(x))


def resnet(channels: int, *, inputs: int = 1, norm: str = "batch") -> nn.Sequential:
    """A strided stem, one residual block, a strided convolution, another block."""

    def normalise(width: int) -> nn.Module:
        return nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(4, width)

    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, stride=2, padding=1, bias=False),
        normalise(channels),
        nn.ReLU(),
        Residual(channels, normalise),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False),
        normalise(2 * channels),
        nn.ReLU(),
        Residual(2 * channels, normalise),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, 10),
    )


class Gru(nn.Module):
    """A gated recurrent layer of plain operations, so that copies of it can be stacked."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.from_input = nn.Linear(inputs, 3 * width)
        self.from_state = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(len(x), self.width), []
        for place in self.from_input(x).unbind(1):
            reset_x, keep_x, new_x = place.chunk(3, dim=-1)
            reset_h, keep_h, new_h = self.from_state(state).chunk(3, dim=-1)
            new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
            state = torch.lerp(new, state, torch.sigmoid(keep_x + keep_h))
            states.append(state)
        return torch.stack(states, dim=1)


class Lstm(nn.Module):
    """A layer of long short-term memory, likewise."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.from_input = nn.Linear(inputs, 4 * width)
        self.from_state = nn.Linear(width, 4 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        state = memory = x.new_zeros(len(x), self.width)
        states = []
        for place in self.from_input(x).unbind(1):
            admit, keep, new, show = (place + self.from_state(state)).chunk(4, dim=-1)
            memory = torch.sigmoid(keep) * memory + torch.sigmoid(admit) * torch.tanh(new)
            state = torch.sigmoid(show) * torch.tanh(memory)
            states.append(state)
        return torch.stack(states, dim=1)


class Recurrent(nn.Module):
    """Rows of an image one after the other; the last state decides."""

    def __init__(self, kind: type[Gru | Lstm], row: int, width: int, outputs: int) -> None:
        super().__init__()
        self.row = row
        self.layer = kind(row, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x.unflatten(1, (-1, self.row)))[:, -1])


class CharacterRecurrent(nn.Module):
    """Characters embedded, a recurrent layer, the next character at every place."""

    def __init__(self, kind: type[Gru | Lstm], width: int, symbols: int = 65) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, 16)
        self.layer = kind(16, width)
        self.head = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)))


class CharacterTransformer(nn.Module):
    """One or more causal blocks with the norm first."""

    def __init__(self, width: int, layers: int, symbols: int = 65, context: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.place = nn.Parameter(0.02 * torch.randn(context, width))
        block = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, symbols)
        mask = torch.triu(torch.full((context, context), float("-inf")), diagonal=1)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x) + self.place, mask=self.mask, is_causal=True))


class CharacterDense(nn.Module):
    """The next character from the present and the three before it."""

    def __init__(self, width: int, symbols: int = 65, reach: int = 4) -> None:
        super().__init__()
        self.reach = reach
        self.embed = nn.Embedding(symbols, 12)
        self.body = nn.Sequential(
            nn.Linear(12 * reach, width), nn.Tanh(), nn.Linear(width, symbols)
        )

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (self.reach - 1, 0))
        return self.body(self.embed(padded.unfold(1, self.reach, 1)).flatten(2))


class CodesDense(nn.Module):
    """A row of codes, each embedded, then a dense network."""

    def __init__(self, columns: int, symbols: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, 8)
        self.body = mlp(8 * columns, width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.embed(x))
