"""Two processes that train together, for tests: each with a time limit, so that none is left."""

from __future__ import annotations

import functools
import json
import os
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

RANKS = 2
LONGEST_SECONDS = 150.0  # of a busy machine; one test takes a tenth of it
TIMEOUT = timedelta(seconds=30)  # of the process group: whoever waits so long has not been told


def on_two_ranks(work: Callable[..., Any], folder: Path, *given: Any) -> list[Any]:
    """What `work(*given)` returns on each rank of a process group, as plain JSON.

    The environment is that of torchrun, so that Lightning and Accelerate find their places, too.
    """
    from torch import multiprocessing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # One process imports what takes seconds, and is forked for each rank.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["torch._dynamo", "cyclerate.torch"])
    start = functools.partial(server.Process, target=_run)
    ranks = [start(args=(work, rank, port, str(folder), given)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(LONGEST_SECONDS)
        process.kill()
        process.join()
    told = [folder / f"{rank}.txt" for rank in range(RANKS)]
    codes = [process.exitcode for process in ranks]
    assert codes == [0] * RANKS, (codes, *[path.read_text() for path in told if path.exists()])
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


def _run(work: Callable[..., Any], rank: int, port: int, folder: str, given: Any) -> None:
    import torch
    from torch import distributed

    place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": RANKS}
    place |= {"LOCAL_WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ["TORCHELASTIC_RUN_ID"] = "tests"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=TIMEOUT)
    try:
        answer = work(*given)
        (Path(folder) / f"{rank}.json").write_text(json.dumps(answer))
        distributed.barrier()
    except BaseException:
        (Path(folder) / f"{rank}.txt").write_text(traceback.format_exc())
        raise
    finally:
        distributed.destroy_process_group()
