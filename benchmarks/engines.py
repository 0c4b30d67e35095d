"""One comparison by every engine, processes killed in the middle: are the records the same?

    python benchmarks/engines.py             # by what is installed here
    python benchmarks/engines.py --page      # and the table of docs/distributed.md

An engine is what `compare` takes as `executor`, a backend of joblib, or workers on one folder.
Each makes the same sixteen runs of a small network; its cells are compared with those of one
process, bit for bit but for the seconds. `pip install 'cyclerate[torch,cli,dask,ray]' submitit`
brings them all.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._page import write_generated
from cyclerate.compare import compare

PAGE = Path(__file__).parents[1] / "docs" / "distributed.md"
RUNS = 16


def make_model() -> Any:
    """A small network; notes which process made it."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    if folder := os.environ.get("ENGINES_FOLDER"):
        (Path(folder) / f"process-{os.getpid()}").touch()
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return model, optimizer, nn.CrossEntropyLoss()


def compared(folder: Path, **engine: Any) -> list[dict[str, Any]]:
    """Makes the runs, or what is missing of them; all of each but its seconds."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 8)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + 0.3 * rng.normal(size=1000) > 0).astype(np.int64)
    policies = ("fixed", "found", "triangular", "one_cycle")
    result = compare(
        make_model,
        *(x, y),
        epochs=20,
        policies=policies,
        seeds=RUNS // len(policies),
        max_lr=0.3,
        out=folder,
        verbose=0,
        **engine,
    )
    cells = [{k: v for k, v in vars(run).items() if k != "seconds"} for run in result.cells]
    assert len(cells) == RUNS
    return json.loads(json.dumps(cells))


Engine = Callable[[Path], list[dict[str, Any]]]


def one_process(folder: Path) -> list[dict[str, Any]]:
    return compared(folder)


def threads(folder: Path) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(2) as pool:
        return compared(folder, executor=pool)


def processes(folder: Path) -> list[dict[str, Any]]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        return compared(folder, executor=pool)


def joblib_loky(folder: Path) -> list[dict[str, Any]]:
    import joblib

    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        return compared(folder)


def joined(folder: Path, killed: int = 0) -> list[dict[str, Any]]:
    """Four processes that make the same call; some of them are killed while they train."""
    command = [sys.executable, __file__, "--worker", str(folder)]
    workers = [subprocess.Popen(command) for _ in range(4)]  # noqa: S603 - this script
    for worker in workers[:killed]:
        while not (folder / f"process-{worker.pid}").exists() and worker.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        worker.kill()
    codes = [worker.wait() for worker in workers]
    assert codes == [-9] * killed + [0] * (4 - killed), codes
    return compared(folder)  # which finds all of it there


def folder_workers(folder: Path) -> list[dict[str, Any]]:
    return joined(folder)


def two_killed(folder: Path) -> list[dict[str, Any]]:
    return joined(folder, killed=2)


def when_begun(folder: Path, number: int, then: Callable[[], object]) -> threading.Thread:
    """Does something when so many cells have been finished."""

    def watch() -> None:
        while len(list(folder.glob("cells/*.json"))) < number:
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def dask_cluster() -> Generator[Any]:
    dask = importlib.import_module("distributed")

    options = {"n_workers": 3, "threads_per_worker": 1, "dashboard_address": None}
    with dask.LocalCluster(**options) as cluster, dask.Client(cluster) as client:
        yield client


def dask_client(folder: Path) -> list[dict[str, Any]]:
    with dask_cluster() as client:
        return compared(folder, executor=client)


def dask_killed(folder: Path) -> list[dict[str, Any]]:
    with dask_cluster() as client:
        first = next(iter(client.cluster.workers.values()))
        killer = when_begun(folder, 3, lambda: os.kill(first.pid, 9))
        cells = compared(folder, executor=client)
        killer.join(10)
        assert not killer.is_alive()
        return cells


def joblib_dask(folder: Path) -> list[dict[str, Any]]:
    import joblib

    with dask_cluster(), joblib.parallel_config("dask"):
        return compared(folder)


class Ray:
    """Ray's tasks as an executor."""

    def submit(self, function: Any, *arguments: Any) -> Any:
        ray = importlib.import_module("ray")

        def task(*given: Any) -> Any:
            return function(*given)

        return ray.remote(num_cpus=1, max_retries=3)(task).remote(*arguments).future()


@contextlib.contextmanager
def ray_cluster() -> Generator[Any]:
    """Three nodes on this machine: the first has no processors for tasks."""
    ray = importlib.import_module("ray")
    cluster_of = importlib.import_module("ray.cluster_utils").Cluster
    head = {"num_cpus": 0, "object_store_memory": 100 * 2**20}
    cluster = cluster_of(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        yield cluster, nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


def ray_tasks(folder: Path) -> list[dict[str, Any]]:
    with ray_cluster():
        return compared(folder, executor=Ray())


def ray_killed(folder: Path) -> list[dict[str, Any]]:
    with ray_cluster() as (cluster, nodes):
        killer = when_begun(folder, 3, lambda: cluster.remove_node(nodes[0], allow_graceful=False))
        cells = compared(folder, executor=Ray())
        killer.join(30)
        assert not killer.is_alive()
        return cells


def joblib_ray(folder: Path) -> list[dict[str, Any]]:
    import joblib

    with ray_cluster():
        importlib.import_module("ray.util.joblib").register_ray()
        with joblib.parallel_config("ray", n_jobs=2):
            return compared(folder)


def submitit_local(folder: Path) -> list[dict[str, Any]]:
    submitit = importlib.import_module("submitit")
    executor = submitit.LocalExecutor(folder=folder / "jobs")
    executor.update_parameters(timeout_min=10)
    return compared(folder, executor=executor)


ENGINES: dict[str, tuple[str, Engine]] = {
    "one process": ("", one_process),
    "`executor=ThreadPoolExecutor(2)`": ("", threads),
    "`executor=ProcessPoolExecutor(2)`, spawned": ("", processes),
    '`joblib.parallel_config("loky", n_jobs=2)`': ("joblib", joblib_loky),
    "four workers on one folder": ("", folder_workers),
    "the same, two of them killed (SIGKILL)": ("", two_killed),
    "`executor=Client(LocalCluster(3))` of Dask": ("distributed", dask_client),
    "the same, a worker killed (SIGKILL)": ("distributed", dask_killed),
    '`joblib.parallel_config("dask")`, 3 workers': ("distributed", joblib_dask),
    "Ray's tasks, 2 nodes": ("ray", ray_tasks),
    "the same, a node killed": ("ray", ray_killed),
    '`joblib.parallel_config("ray", n_jobs=2)`': ("ray", joblib_ray),
    "`executor=submitit.LocalExecutor(...)`": ("submitit", submitit_local),
}


def main() -> None:
    """Runs every engine that is installed, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--page", action="store_true", help="write the table into the docs")
    parser.add_argument("--only", default="", help="engines whose name holds one of these, by |")
    given = parser.parse_args()
    if given.worker:
        compared(given.worker)
        return
    os.environ.pop("ENGINES_FOLDER", None)
    lines = ["| engine | processes | equal runs |", "|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        alone = compared(Path(folder))
    for name, (module, engine) in ENGINES.items():
        if not any(part in name for part in given.only.split("|")):
            continue
        if module and not importlib.util.find_spec(module):
            lines.append(f"| {name} | {module} is not installed | |")
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ENGINES_FOLDER"] = folder
            began = time.perf_counter()
            cells = engine(Path(folder))
            seconds = time.perf_counter() - began
            made = len(list(Path(folder).glob("process-*")))
        equal = sum(one == other for one, other in zip(cells, alone, strict=True))
        lines.append(f"| {name} | {made} | {equal} of {len(alone)} |")
        print(lines[-1], f"{seconds:.0f} s", flush=True)
    print("\n".join(["", *lines]))
    if given.page:
        write_generated(PAGE, "\n".join(lines), "engines")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
