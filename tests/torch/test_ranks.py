"""Ranks that train one model together stop their sweeps together, and all give the model back."""

from __future__ import annotations

import json
from datetime import timedelta

import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

import cyclerate.torch as ct
from tests.torch.small import BATCHES, Regression, sgd_losses, squared_error

RANKS = 2
WAIT = timedelta(seconds=60)


def run_rank(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=RANKS,
        timeout=WAIT,
    )
    try:
        model = DistributedDataParallel(Regression())
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        own = BATCHES[rank::RANKS][:1]
        result = ct.range_test(model, optimizer, squared_error, own, steps=60, start_lr=1e-3)
        answer = {
            "losses": result.losses.tolist(),
            "lrs": result.lrs.tolist(),
            "weights": model.module.w.tolist(),
            "max_lr": result.max_lr,
        }
        (folder / f"{rank}.json").write_text(json.dumps(answer))
    finally:
        distributed.destroy_process_group()


def test_ranks_stop_together(tmp_path):
    # Processes of their own, each with a time limit: a rank that fails must not leave the other,
    # and with it this suite, waiting.
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=run_rank, args=(rank, tmp_path)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(2 * WAIT.total_seconds())
        process.kill()
        process.join()
    assert [process.exitcode for process in ranks] == [0] * RANKS
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(RANKS))
    assert first == second
    assert len(first["lrs"]) < 60
    assert first["weights"] == [0.0] * 4
    # The mean gradient of both batches: what one process has that accumulates them.
    expected = sgd_losses(first["lrs"], BATCHES[:2], accumulated=2)
    torch.testing.assert_close(
        torch.tensor(first["losses"]),
        torch.tensor(expected),
        rtol=1e-4,
        atol=0.0,
        check_dtype=False,
    )
