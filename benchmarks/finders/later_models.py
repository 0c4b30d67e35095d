"""The models of the later tasks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


def norm_mlp(*widths: int) -> nn.Sequential:
    """A dense network of smooth units, with a norm of each row before every one."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(width, following), nn.LayerNorm(following), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


class Branch(nn.Module):
    """What comes in, plus a small dense network of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def residual_mlp(inputs: int, width: int, blocks: int, outputs: int) -> nn.Sequential:
    """A dense stem, blocks with a way around each, and a dense head."""
    body = [Branch(width) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(inputs, width), *body, nn.Linear(width, outputs))


class Mixer(nn.Module):
    """Rows of an image: mixed along the rows, then across them (Tolstikhin et al. 2021)."""

    def __init__(self, rows: int, width: int, outputs: int) -> None:
        super().__init__()
        self.rows = rows
        self.along = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.across = nn.Sequential(nn.Linear(rows, rows), nn.GELU())
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (self.rows, -1))
        x = x + self.along(x)
        x = x + self.across(x.transpose(1, 2)).transpose(1, 2)
        return self.head(x.mean(1))


def separable_cnn(channels: int = 8) -> nn.Sequential:
    """Convolutions by channel, then across channels, on grey images of 14 by 14."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels),
        nn.Conv2d(channels, 2 * channels, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * channels * 16, 10),
    )


class CharacterConv(nn.Module):
    """Characters embedded, two causal convolutions, the next character at every place."""

    def __init__(self, width: int, symbols: int = 65) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.near = nn.Conv1d(width, width, 3)
        self.far = nn.Conv1d(width, width, 3)
        self.head = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(1, 2)
        for layer in (self.near, self.far):
            x = torch.relu(layer(nn.functional.pad(x, (2, 0))))
        return self.head(x.transpose(1, 2))


class Sines(nn.Module):
    """Places of the plane as waves of several lengths, then a dense network."""

    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.waves = nn.Linear(2, waves)
        self.body = nn.Sequential(nn.Linear(waves, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.sin(3 * self.waves(x)))
