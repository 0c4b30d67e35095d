"""Fits the table of `cyclerate.finder`'s prior, and says how far it is off.

    python -m benchmarks.budget.prior_fit

A ridge regression of the best rate's logarithm: the middle of the rates within 0.02 regret in the
1cycle grids of the design and fine-tuning tasks, and published rates of larger models, at half the
weight, which only say how it goes on with size. No fresh and no validation task is read, but for
the last line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.finders import regret
from benchmarks.finders.task import Task
from benchmarks.finders.tasks import EVERY
from benchmarks.finders.trainee import Trainee

KINDS = ("adam", "rmsprop", "adagrad", "lion", "momentum", "sgd")
SAME = {"adamw": "adam", "nesterov": "momentum"}
FAMILIES = ("adaptive", "sgd")
FEATURES = ("batch", "size", "tuned size", "steps")
GOOD_REGRET = 0.02
RIDGE_KIND, RIDGE = 0.3, 2.0


class Known(NamedTuple):
    """A training whose best rate is known, or was published."""

    name: str
    kind: str
    batch_size: int
    steps: int
    size: int
    """Parameters that are trained."""
    tuned: bool
    log_lr: float
    weight: float


def _published(name: str, kind: str, batch: int, steps: int, *, size: float, lr: float) -> Known:
    tuned = "fine-tun" in name or "LoRA" in name
    return Known(name, kind, batch, steps, int(size), tuned, float(np.log10(lr)), 0.5)


PUBLISHED = (
    _published("ResNet-50, arXiv 1512.03385", "momentum", 256, 600_000, size=2.56e7, lr=0.1),
    _published("ResNet-20, arXiv 1512.03385", "momentum", 128, 64_000, size=2.7e5, lr=0.1),
    _published("ViT-B fine-tuned, arXiv 2010.11929", "momentum", 512, 20_000, size=8.6e7, lr=0.015),
    _published("ViT-B, arXiv 2010.11929", "adam", 4096, 500_000, size=8.6e7, lr=8e-4),
    _published("Transformer, arXiv 1706.03762", "adam", 1000, 100_000, size=6.5e7, lr=7e-4),
    _published("BERT, arXiv 1810.04805", "adam", 256, 1_000_000, size=1.1e8, lr=1e-4),
    _published("BERT fine-tuned, arXiv 1810.04805", "adam", 32, 10_000, size=1.1e8, lr=3e-5),
    _published("GPT-3 small, arXiv 2005.14165", "adam", 244, 600_000, size=1.25e8, lr=6e-4),
    _published("GPT-3 XL, arXiv 2005.14165", "adam", 488, 300_000, size=1.3e9, lr=2e-4),
    _published("LoRA on GPT-2, arXiv 2106.09685", "adam", 8, 26_000, size=3.5e5, lr=2e-4),
)


def known(task: Task) -> Known | None:
    """Returns the best rate of a task, if its grid is stored."""
    found = regret.of(task, "one_cycle")
    if found is None:
        return None
    good = np.log10(found.lrs)[found.regrets <= GOOD_REGRET]
    size = sum(p.numel() for params, _share in Trainee(task, 0).groups for p in params)
    weight = (0.1 + np.ptp(good) / 2) ** -0.5
    kind = SAME.get(task.optimizer, task.optimizer)
    tuned = task.before is not None
    middle = float(good.mean())
    return Known(task.name, kind, task.batch_size, task.steps, size, tuned, middle, float(weight))


def row(case: Known) -> NDArray[np.float64]:
    """Returns the numbers that a rate is predicted from: the kind, then by family."""
    family = FAMILIES.index("sgd" if case.kind in ("sgd", "momentum") else "adaptive")
    size = np.log10(case.size / 4000)
    x = np.zeros(len(KINDS) + 2 * len(FEATURES))
    x[KINDS.index(case.kind)] = 1
    at = len(KINDS) + family * len(FEATURES)
    x[at : at + len(FEATURES)] = (
        np.log10(case.batch_size / 64),
        size,
        case.tuned * size,
        np.log10(case.steps / 500),
    )
    return x


def fit(cases: list[Known]) -> NDArray[np.float64]:
    """Returns the coefficients; those of a kind are drawn to the mean of its cases."""
    x = np.array([row(case) for case in cases])
    y = np.array([case.log_lr for case in cases])
    w = np.array([case.weight for case in cases])
    centre = np.zeros(x.shape[1])
    for i, kind in enumerate(KINDS):
        centre[i] = np.mean([case.log_lr for case in cases if case.kind == kind])
    penalty = np.diag([RIDGE_KIND] * len(KINDS) + [RIDGE] * (2 * len(FEATURES)))
    return centre + np.linalg.solve(x.T @ (w[:, None] * x) + penalty, x.T @ (w * (y - x @ centre)))


def main() -> None:
    groups = {
        half: [found for task in EVERY if task.half == half and (found := known(task))]
        for half in ("design", "fine-tuning", "validation")
    }
    cases = [*groups["design"], *groups["fine-tuning"], *PUBLISHED]
    found = fit(cases)
    names = [*KINDS, *(f"{family} {name}" for family in FAMILIES for name in FEATURES)]
    for name, value in zip(names, found, strict=True):
        print(f"{name:20} {value:6.2f}")
    for kind in ("adaptive", "sgd"):
        own = [
            c
            for c in cases[: -len(PUBLISHED)]
            if (c.kind in ("sgd", "momentum")) == (kind == "sgd")
        ]
        off = [c.log_lr - row(c) @ fit([d for d in cases if d is not c]) for c in own]
        print(f"{kind}: off by {np.sqrt(np.mean(np.square(off))):.2f} decades, each left out once")
    for case in PUBLISHED:
        print(
            f"{case.name:36} published {10**case.log_lr:.1e} fitted {10 ** (row(case) @ found):.1e}"
        )
    off = [c.log_lr - row(c) @ found for c in groups["validation"]]
    print(
        f"validation: off by {np.sqrt(np.mean(np.square(off))):.2f} decades, "
        f"{np.median(np.abs(off)):.2f} in the median"
    )


if __name__ == "__main__":
    main()
