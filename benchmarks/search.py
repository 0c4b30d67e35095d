"""A search by Optuna, with the rate as a dimension of it, and without: each trial finds its own.

    python benchmarks/search.py --trials 30 --seeds 0 1 2 --journal search.journal

Both search width, depth, dropout, weight decay and batch size of a network for California's houses
(CYCLERATE_DATA names the folder above california_housing), each trial with the same number of
steps. With the rate, a trial trains by the 1cycle policy up to the rate that Optuna drew, from 1e-4
to 1; without, by `fit_one_cycle(find="warmup")`. The trials are kept in a journal file, so that a
search that is stopped goes on, and several processes may share one. Needs optuna.
"""

from __future__ import annotations

import argparse
import functools
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import cyclerate.torch as ct
from benchmarks._page import write_generated
from reproductions.datasets import find_given

STEPS, RATES = 600, (1e-4, 1.0)
PAGE = Path(__file__).parents[1] / "docs" / "recommend.md"


@functools.cache
def table() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows to train on and rows to judge by, standardised."""
    path = find_given("california_housing", ["housing.csv.gz"])
    assert path is not None, "name the folder above california_housing with CYCLERATE_DATA"
    frame = (
        pd.get_dummies(pd.read_csv(path)).dropna().sample(8000, random_state=0).astype("float32")
    )
    y = frame.pop("median_house_value").to_numpy()[:, None]
    x = frame.to_numpy()
    x, y = (x - x[:6000].mean(0)) / x[:6000].std(0), (y - y[:6000].mean()) / y[:6000].std()
    x_train, x_held, y_train, y_held = map(torch.tensor, (x[:6000], x[6000:], y[:6000], y[6000:]))
    return x_train, y_train, x_held, y_held


def objective(trial: Any, *, with_rate: bool) -> float:
    """The loss on the rows held out, of a network that the trial describes."""
    x, y, x_held, y_held = table()
    torch.manual_seed(0)
    width, layers = trial.suggest_int("width", 16, 256, log=True), trial.suggest_int("layers", 1, 4)
    dropout = trial.suggest_float("dropout", 0.0, 0.4)
    decay = trial.suggest_float("weight_decay", 1e-4, 1.0, log=True)
    batch_size = trial.suggest_int("batch_size", 16, 256, log=True)
    parts: list[nn.Module] = []
    for inputs in [x.shape[1], *[width] * (layers - 1)]:
        parts += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
    model = nn.Sequential(*parts, nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=decay)
    max_lr = trial.suggest_float("max_lr", *RATES, log=True) if with_rate else None
    ct.fit_one_cycle(
        model,
        optimizer,
        nn.functional.mse_loss,
        (x, y),
        total_steps=STEPS,
        max_lr=max_lr,
        batch_size=batch_size,
    )
    model.eval()
    with torch.no_grad():
        loss = float(nn.functional.mse_loss(model(x_held), y_held))
    return loss if np.isfinite(loss) else 1e3


def searched(seed: int, trials: int, journal: Path, *, with_rate: bool) -> list[float]:
    """The loss of each trial of a search, which goes on if the journal holds a part of it."""
    optuna = import_module("optuna")
    storages = optuna.storages
    backend = storages.journal.JournalFileBackend(str(journal))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=f"{'with' if with_rate else 'without'} a rate, seed {seed}",
        storage=storages.JournalStorage(backend),
        sampler=optuna.samplers.TPESampler(seed=seed),
        load_if_exists=True,
    )
    left = trials - len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    study.optimize(functools.partial(objective, with_rate=with_rate), n_trials=max(left, 0))
    return [float(trial.value) for trial in study.trials if trial.value is not None]


def text(told: dict[str, dict[str, list[float]]]) -> str:
    """The table of the page."""
    lines = [
        "| best loss after | rate drawn by Optuna | rate found in each trial |",
        "|---|---|---|",
    ]
    curves = {
        name: np.minimum.accumulate(np.array(list(seeds.values())), axis=1)
        for name, seeds in told.items()
    }
    trials = curves["with"].shape[1]
    for count in [n for n in (1, 3, 5, 10, 20, 30, 50) if n <= trials]:
        cells = [
            f"{curves[name][:, count - 1].mean():.4f} ({curves[name][:, count - 1].min():.4f} to "
            f"{curves[name][:, count - 1].max():.4f})"
            for name in ("with", "without")
        ]
        lines.append(f"| {count} trial{'s' * (count > 1)} | {' | '.join(cells)} |")
    needed = []
    for mine, theirs in zip(curves["without"], curves["with"], strict=True):
        reached = np.flatnonzero(mine <= theirs[-1])
        needed.append(str(reached[0] + 1) if len(reached) else f"more than {trials}")
    lines += [
        "",
        f"Trials without the rate until the best of {trials} with it: {', '.join(needed)}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--journal", type=Path, default=Path("search.journal"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    told = {
        name: {
            str(seed): searched(seed, given.trials, given.journal, with_rate=name == "with")
            for seed in given.seeds
        }
        for name in ("with", "without")
    }
    optuna = import_module("optuna")
    versions = f"optuna {optuna.__version__}, torch {torch.__version__}"
    table_text = f"{text(told)}\n\n{len(given.seeds)} seeds, {STEPS} steps a trial; {versions}."
    write_generated(PAGE, table_text, part="search")
    print(json.dumps(told), table_text, sep="\n")


if __name__ == "__main__":
    main()
