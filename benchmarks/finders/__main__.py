"""The benchmark of finders, in pieces that can be stopped and taken up again.

    python -m benchmarks.finders grid --policy one_cycle [--task NAME] [--half design] [--clip]
    python -m benchmarks.finders untrained --task NAME --again  (the start of a stored grid alone)
    python -m benchmarks.finders sweeps
    python -m benchmarks.finders probes --policy one_cycle
    python -m benchmarks.finders peers         (in the environment of requirements/peers.txt)
    python -m benchmarks.finders rate_free --name prodigy       (likewise)
    python -m benchmarks.finders reach --method recommend  (the rate-free ones as before)
    python -m benchmarks.finders small_probes --half design
    python -m benchmarks.finders bases
    python -m benchmarks.finders table         (docs/finders.md and docs/reach.md from what is
                                                stored; no training)

What is stored under benchmarks/finders/cache is not made again without --again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.finders import (
    bases,
    cache,
    grid,
    probes,
    races,
    rate_free,
    reach_table,
    reaching,
    small_probes,
    sweeps,
    table,
)
from benchmarks.finders.policies import POLICIES
from benchmarks.finders.tasks import BY_NAME, EVERY, Task


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.what == "table":
        table.write()
        reach_table.write()
        return
    tasks = [BY_NAME[arguments.task]] if arguments.task else EVERY
    tasks = [task for task in tasks if arguments.half in (None, task.half)]
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a dying network is full of them, and each is slow
    kind, make = _PIECES[arguments.what](arguments)
    for task in tasks:
        if arguments.again or not _is_made(arguments, kind, task):
            began = time.perf_counter()
            make(task)
            seconds = time.perf_counter() - began
            print(f"{kind} {task.half} {task.name} {seconds:.1f} s", file=sys.stderr, flush=True)


def _is_made(arguments: argparse.Namespace, kind: str, task: Task) -> bool:
    if arguments.what == "reach":
        return reaching.complete(task, arguments.method)
    return cache.path_of(kind, task).exists()


def _grid(arguments: argparse.Namespace) -> Piece:
    policy, clip = arguments.policy, arguments.clip
    return grid.kind_of(policy, clip=clip), partial(grid.search, policy=policy, clip=clip)


def _untrained(arguments: argparse.Namespace) -> Piece:
    return f"grid_{arguments.policy}", partial(grid.measure_untrained, policy=arguments.policy)


def _sweeps(_arguments: argparse.Namespace) -> Piece:
    return "sweeps", sweeps.record


def _peers(_arguments: argparse.Namespace) -> Piece:
    from benchmarks.finders import peers  # its packages are in an environment of their own

    return "peers", peers.record


def _probes(arguments: argparse.Namespace) -> Piece:
    return f"probes_{arguments.policy}", partial(probes.record, policy=arguments.policy)


def _races(arguments: argparse.Namespace) -> Piece:
    return f"races_{arguments.policy}", partial(races.record, policy=arguments.policy)


def _rate_free(arguments: argparse.Namespace) -> Piece:
    name = arguments.name
    return rate_free.kind_of(name), partial(rate_free.record, name=name)


def _reach(arguments: argparse.Namespace) -> Piece:
    method = arguments.method
    return reaching.kind_of(method), partial(reaching.record, method=method, again=arguments.again)


def _small_probes(_arguments: argparse.Namespace) -> Piece:
    return "small_probes", small_probes.record


def _bases(_arguments: argparse.Namespace) -> Piece:
    return "bases", bases.record


Piece = tuple[str, Callable[[Task], None]]
_PIECES: dict[str, Callable[[argparse.Namespace], Piece]] = {
    "grid": _grid,
    "untrained": _untrained,
    "sweeps": _sweeps,
    "races": _races,
    "probes": _probes,
    "peers": _peers,
    "rate_free": _rate_free,
    "reach": _reach,
    "small_probes": _small_probes,
    "bases": _bases,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finders", description=__doc__)
    parser.add_argument("what", choices=[*_PIECES, "table"])
    parser.add_argument("--policy", choices=list(POLICIES), default="one_cycle")
    parser.add_argument("--name", choices=list(rate_free.MAKERS), default="prodigy")
    parser.add_argument("--method", choices=list(reaching.METHODS), default="recommend")
    parser.add_argument("--task", choices=list(BY_NAME))
    parser.add_argument("--half", choices=sorted({task.half for task in EVERY}))
    parser.add_argument("--clip", action="store_true", help="the gradient's norm, in a grid")
    parser.add_argument("--again", action="store_true", help="replace what is stored")
    return parser


if __name__ == "__main__":
    main()
