"""Faults of one rank of two, again and again: does the other one ever hang?

    python benchmarks/rank_faults.py --runs 100 --out faults.json

Each run is two processes of a process group (gloo): a range test, or a training with a guard, in
which the second rank raises, sees NaN, finds its data used up, or is killed (SIGKILL), after a
number of batches that is drawn. A run that lasts longer than its limit hangs. Runs that the file
holds are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

FAULTS = ("exception", "not finite", "end", "killed")
CALLS = ("range test", "guard")
GROUP_SECONDS = 600  # of the process group: whoever waits so long hangs
HANGS_AFTER_SECONDS = 300  # a run takes some seconds of a quiet machine, most of them imports


class Faulty:
    """Batches of a rank; after some of them the fault."""

    def __init__(self, fault: str, after: int, rank: int) -> None:
        self.fault, self.left, self.rank, self.passes = fault, after, rank, 0

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        import torch

        self.passes += 1
        generator = torch.Generator().manual_seed(self.rank)
        for _ in range(4):
            x = torch.randn(16, 4, generator=generator)
            self.left -= self.rank
            if self.left < 0 and self.fault == "exception":
                raise OSError("a file is broken")
            if self.left < 0 and self.fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.left < 0 and self.fault == "end":
                return
            yield x * float("nan") if self.left < 0 else x, (x[:, 0] > 0).long()


def rank_main(call: str, fault: str, after: int) -> None:
    """What a rank does; it prints how it ended."""
    import warnings

    import torch
    from torch import distributed, nn

    import cyclerate.torch as ct

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=GROUP_SECONDS))
    model = nn.parallel.DistributedDataParallel(nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data, loss_fn = Faulty(fault, after, distributed.get_rank()), nn.functional.cross_entropy
    print("begins", time.time(), flush=True)
    try:
        if call == "range test":
            ct.range_test(model, optimizer, loss_fn, data, verbose=0)
        else:
            ct.fit_one_cycle(model, optimizer, loss_fn, data, 40, max_lr=0.1, guard=True, verbose=0)
        print("ends with an answer", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        print(f"ends with {type(error).__name__}: {error}", flush=True)


def one_run(number: int) -> dict[str, Any]:
    """Starts both ranks of a run, and says how each of them ended."""
    draw = random.Random(number)  # noqa: S311 - no secret
    call, fault = CALLS[number % 2], FAULTS[number // 2 % 4]
    after = draw.randrange(1, 60)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--rank", call, fault, str(after)]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(  # noqa: S603 - this file
            command,
            env={**os.environ, **place, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    until, told, hangs = time.monotonic() + HANGS_AFTER_SECONDS, [], False
    for process in ranks:
        try:
            output, _ = process.communicate(timeout=max(until - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            hangs = True
            process.kill()
            output, _ = process.communicate()
        told.append(next((li for li in output.splitlines() if li.startswith("ends")), "no word"))
    return {"call": call, "fault": fault, "after": after, "hangs": hangs, "told": told}


def main() -> None:
    """Makes the runs that are missing, and counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--out", type=Path, help="where runs are kept")
    parser.add_argument("--rank", nargs=3, metavar=("CALL", "FAULT", "AFTER"), help="a rank itself")
    given = parser.parse_args()
    if given.rank:
        rank_main(given.rank[0], given.rank[1], int(given.rank[2]))
        return
    kept = given.out is not None and given.out.exists()
    done: dict[str, Any] = json.loads(given.out.read_text()) if kept else {}
    for number in range(given.runs):
        if str(number) not in done:
            done[str(number)] = one_run(number)
            if given.out is not None:
                given.out.write_text(json.dumps(done, indent=1))
    runs = [done[str(number)] for number in range(given.runs)]
    print(f"{sum(run['hangs'] for run in runs)} of {len(runs)} runs hang")
    for (call, fault), count in sorted(Counter((r["call"], r["fault"]) for r in runs).items()):
        named = [r for r in runs if (r["call"], r["fault"]) == (call, fault)]
        by_name = sum("rank 1" in run["told"][0] for run in named)
        same = sum("answer" in run["told"][0] and "answer" in run["told"][1] for run in named)
        print(f"{call}, {fault}: {count} runs; {by_name} name the rank, {same} go on together")


if __name__ == "__main__":
    main()
