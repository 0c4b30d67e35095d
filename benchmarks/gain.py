"""The first picture of the README: fixed rates on Fashion-MNIST, and one training that has none.

    CYCLERATE_DATA=DIR python -m benchmarks.gain train    the fixed rates; some minutes
    CYCLERATE_DATA=DIR python -m benchmarks.gain test     a range test of the same network
    python -m benchmarks.gain                             the pictures, from what they stored

A network of two hidden layers is trained for 4 epochs by SGD with momentum: at each of 14 constant
rates, and by `fit_one_cycle`, which is told no rate. Three seeds each; trainings of one seed begin
with the same weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate._files import replacing, write_json

RECORD = Path(__file__).with_suffix(".json")
TEST = RECORD.with_name("gain_range_test.json")
PICTURE = RECORD.parents[1] / "docs" / "images" / "gain.png"
TEST_PICTURE = PICTURE.with_name("range-test.png")
RATES = [float(f"{rate:.3g}") for rate in 10 ** np.linspace(-4, 1 / 3, 14)]
SEEDS = (0, 1, 2)
EPOCHS, BATCH_SIZE = 4, 256
BLUE, ORANGE = "#2563a8", "#c2570c"


def data() -> tuple[torch.Tensor, ...]:
    """The images as rows, and their classes: to train on, and to test by."""
    from reproductions import datasets

    torch.set_num_threads(1)
    images = datasets.fashion_mnist()
    x, x_test = (
        torch.from_numpy(part.reshape(len(part), -1)).float() / 255
        for part in (images.x_train, images.x_test)
    )
    y, y_test = (torch.from_numpy(part).long() for part in (images.y_train, images.y_test))
    return x, y, x_test, y_test


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128)]
    return torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(128, 10))


def train() -> None:
    x, y, x_test, y_test = data()
    errors: dict[str, list[float]] = {"found": []}
    top: list[float] = []
    for rate in [None, *RATES]:
        for seed in SEEDS:
            model = network(seed)
            if rate is None:
                top.append(round(one_cycle(model, x, y), 4))
            else:
                fixed(model, x, y, rate)
            with torch.no_grad():
                error = 100 * (model(x_test).argmax(1) != y_test).float().mean().item()
            errors.setdefault("found" if rate is None else f"{rate:g}", []).append(round(error, 2))
            print(rate, seed, f"{error:.2f} %", flush=True)
    write_json(RECORD, {"test_error_percent": errors, "top": top})


def test() -> None:
    """A range test for the trainings of `train`."""
    x, y, *_ = data()
    model = network(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()
    horizon = EPOCHS * -(-len(x) // BATCH_SIZE)
    result = ct.range_test(
        model, optimizer, loss, (x, y), batch_size=BATCH_SIZE, horizon_steps=horizon, seed=0
    )
    result.save(TEST)
    print(result)


def one_cycle(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Trains without a rate; returns the one that was found."""
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()
    history = ct.fit_one_cycle(
        model, optimizer, loss, (x, y), epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0
    )
    return float(history.finding["top"])


def fixed(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, rate: float) -> None:
    """Trains at one rate, as many steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH_SIZE):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


def draw() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    errors: dict[str, list[float]] = record["test_error_percent"]
    found = errors.pop("found")
    rates = [float(rate) for rate in errors]
    figure = Figure(figsize=(7, 3.4), dpi=150, layout="constrained")
    ax = figure.subplots()
    ax.axhspan(min(found), max(found), color=ORANGE, alpha=0.18, linewidth=0)
    ax.axhline(float(np.mean(found)), color=ORANGE, linewidth=2)
    ax.plot(rates, [np.mean(values) for values in errors.values()], color=BLUE, linewidth=2)
    for rate, values in zip(rates, errors.values(), strict=True):
        ax.plot([rate] * len(values), values, "o", color=BLUE, markersize=3.5)
    ax.set(xscale="log", xlim=(2e-4, 3), ylim=(10, 40))
    ax.set_xlabel("learning rate of the training")
    ax.set_ylabel("test error, %")
    ax.set_title(f"Fashion-MNIST, a small network, {EPOCHS} epochs, {len(SEEDS)} seeds", loc="left")
    ax.text(2.2e-4, 13.2, "fit_one_cycle, told no rate", color=ORANGE, va="bottom")
    ax.text(3e-3, 24, "a fixed rate", color=BLUE)
    ax.text(0.4, 36, "at 0.46 and above:\nno better than chance", color=BLUE)
    ax.spines[["top", "right"]].set_visible(False)
    figure_of_test = Figure(figsize=(7, 3.6), dpi=150, layout="constrained")
    cr.RangeTestResult.load(TEST).plot(ax=figure_of_test.subplots())
    for drawn, picture in ((figure, PICTURE), (figure_of_test, TEST_PICTURE)):
        with replacing(picture) as path:
            drawn.savefig(path, format="png", metadata={"Software": None})


if __name__ == "__main__":
    {"train": train, "test": test}.get("".join(sys.argv[1:]), draw)()
