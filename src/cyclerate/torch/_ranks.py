"""Ranks that train one model decide as one, by numbers that all of them have.

They are those of its `DistributedDataParallel`, wherever in the model that is, or of the mesh that
`fully_shard` has spread the parameters over. Numbers are exchanged beside the training, through
connections of their own: whoever waits there looks whether another rank has failed meanwhile, and
the collectives of the training stay in order.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Self, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cyclerate._errors import CyclerateError, bad_argument, listed

T = TypeVar("T")

_A_LOOK = timedelta(milliseconds=100)  # of waiting, and then at what the others say
_GRACE_SECONDS = 2.0  # for the others to say why they have gone
AUTO = "auto"
_NONE: Any = object()
_made: Counter[str] = Counter()  # by the name of the group: the same on all of its ranks


class Ranks:
    """The ranks of a process group, seen from one of them.

    As a context, it makes them succeed or fail together: none goes on before all have come to the
    end of the block, and an error of one stops the others at their next exchange.

    Args:
        group: The process group; all of its ranks make one of these at the same place.
        sharded: The modules of `fully_shard`.

    Raises:
        CyclerateError: Some have not come before the time-out of the default group.
    """

    def __init__(self, group: Any, sharded: Sequence[Any] = ()) -> None:
        self.sharded = sharded
        c10d: Any = distributed.distributed_c10d
        store = c10d._get_default_store()  # noqa: SLF001 - there is no public way to it
        self.rank = distributed.get_rank()
        self._members = distributed.get_process_group_ranks(group)
        name = f"cyclerate/{group.group_name}/{_made[group.group_name]}"
        _made[group.group_name] += 1
        self._store = c10d.PrefixStore(name, store)
        self._store.set(f"here {self.rank}", "")
        self._stopped = False
        try:
            self._channel: Any = c10d.ProcessGroupGloo(
                self._store, self._members.index(self.rank), len(self._members), store.timeout
            )
        except RuntimeError as error:
            missing = self._without("here")
            who = (
                f"rank {missing} did not call this with rank {self.rank}: all that train a model "
                "together do"
                if missing
                else "the ranks lost touch when they met"
            )
            raise CyclerateError(f"{who} ({_first_words(error)})") from error
        # One that is refused at once would let go of the channel while another still connects.
        self.ready()

    def all(self, *numbers: float) -> list[list[float]]:
        """The numbers of every rank, in the order of the ranks. It waits for the slowest.

        Raises:
            CyclerateError: Another rank has failed, or is gone.
        """
        mine = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        theirs = [torch.empty_like(mine) for _ in self._members]
        try:
            work = self._channel.allgather([theirs], [mine])
            while not _is_over(work):
                if told := self._told():
                    raise self._stop(told)
        except RuntimeError as error:
            raise self._stop(self._reason(error)) from error
        return [numbers.tolist() for numbers in theirs]

    def mean(self, numbers: Sequence[float]) -> list[float]:
        """The mean of each number over the ranks: the same everywhere, to the last bit."""
        columns = zip(*self.all(*numbers), strict=True)
        return [sum(column) / len(column) for column in columns]

    def ready(self) -> None:
        """Waits until all ranks are: for what none of them can do, or leave, alone."""
        self.all(0.0)

    def clock(self) -> float:
        """Seconds, by the mean of all clocks."""
        return self.mean([time.perf_counter()])[0]

    def reshard(self) -> None:
        """Has `fully_shard` let go of whole parameters: an evaluation leaves them, or an error."""
        for module in self.sharded:
            module.reshard()

    def in_step(self, batches: Iterable[T]) -> Iterator[tuple[T, bool]]:
        """Gives batches as long as any rank has one, each with whether it is new.

        A rank without one is given its last one again: where parameters are sharded, all ranks are
        needed for the model to run on the others' batches.
        """
        stream, latest = iter(batches), _NONE
        while True:
            batch = next(stream, _NONE)
            if not any(more for (more,) in self.all(batch is not _NONE)):
                return
            latest = latest if batch is _NONE else batch
            if latest is _NONE:
                raise bad_argument("validation_data", "at least one batch on every rank", "none")
            yield latest, batch is not _NONE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if error is None:
                self.ready()
            elif not self._stopped and _is_of_communication(error):
                raise self._stop(self._reason(error)) from error
            elif not self._stopped:
                self._tell(f"rank {self.rank} stopped with {type(error).__name__}: {error}")
        finally:
            self._channel = None  # whoever waits for this rank is let go

    def _stop(self, told: str) -> CyclerateError:
        self._stopped = True
        return CyclerateError(f"{told}. So rank {self.rank} stops, too.")

    def _tell(self, told: str) -> None:
        """Says why this rank stops, unless another one was first."""
        with suppress(RuntimeError):
            if not self._store.check(["failed"]):
                self._store.set("failed", " ".join(told.split())[:200])

    def _told(self) -> str:
        """What a rank that has failed said; empty if none has."""
        try:
            return self._store.get("failed").decode() if self._store.check(["failed"]) else ""
        except RuntimeError as error:
            return f"the store of the process group is gone ({_first_words(error)})"

    def _reason(self, error: BaseException) -> str:
        """Why the others do not answer: what one of them says, or who says nothing any more."""
        until = time.monotonic() + _GRACE_SECONDS
        with suppress(RuntimeError):
            self._store.set(f"stopped {self.rank}", "")
        while not (told := self._told()) and time.monotonic() < until and self._without("stopped"):
            time.sleep(0.05)
        if not told:
            silent = self._without("stopped")
            who = f"rank {silent} is gone without a word" if silent else "the ranks lost touch"
            told = f"{who} ({_first_words(error)})"
            self._tell(told)
        return told

    def _without(self, word: str) -> str:
        """The ranks that have not left a word in the store."""
        with suppress(RuntimeError):
            missing = [m for m in self._members if not self._store.check([f"{word} {m}"])]
            return listed(missing, 5) if missing else ""
        return ""


def ranks_of(parts: Iterable[Any], ranks: Any) -> Ranks | None:
    """Returns the ranks that train some modules together; None where one trains alone.

    Args:
        parts: The modules; what is none is passed over.
        ranks: "auto": those of their process group, if they have one. "alone": none. A process
            group: its ranks. Those that a caller has found before, or None, stay.

    Raises:
        ValueError: Something else, a group without this rank, or a module that is not supported.
        CyclerateError: As `Ranks`.
    """
    if ranks is None or isinstance(ranks, Ranks):
        return ranks
    running = distributed.is_available() and distributed.is_initialized()
    named = isinstance(ranks, str) and ranks in {AUTO, "alone"}
    if not named and not (running and isinstance(ranks, distributed.ProcessGroup)):
        allowed = '"auto", "alone" or a process group that this rank belongs to'
        raise bad_argument("ranks", allowed, ranks)
    if not running or ranks == "alone":
        return None
    modules = [m for part in parts if isinstance(part, nn.Module) for m in part.modules()]
    sharded: list[Any] = [module for module in modules if is_a(module, "FSDPModule")]
    for module in sharded:
        module.reshard()  # an evaluation leaves whole parameters, which tell nothing
    group: Any = _group_of(modules) if named else ranks
    alone = group is None or distributed.get_world_size(group) == 1
    return None if alone else Ranks(group, sharded)


def agreed(ranks: Ranks | None, value: float) -> float:
    """The mean of the ranks' values, or the value itself where there are no others."""
    return value if ranks is None else ranks.mean([value])[0]


def most(ranks: Ranks | None, number: int | None) -> int | None:
    """The largest of the ranks' numbers; the only one, or None, where there are no others."""
    if ranks is None or number is None:
        return number
    return int(max(ranks.all(number))[0])


_UNSUPPORTED = {
    "DeepSpeedEngine": "without DeepSpeed, whose engine takes steps that cannot be taken back",
    "FullyShardedDataParallel": "without FullyShardedDataParallel: fully_shard (FSDP2) takes its "
    "place",
}


def _group_of(modules: Iterable[nn.Module]) -> Any:
    """The process group that modules are trained by; the default one where there are several."""
    found: dict[str, Any] = {}
    for module in modules:
        for name, allowed in _UNSUPPORTED.items():
            if is_a(module, name):
                raise bad_argument("model", allowed, type(module).__name__)
        if isinstance(module, DistributedDataParallel):
            group: Any = module.process_group
            found[group.group_name] = group
        for parameter in module.parameters(recurse=False):
            mesh: Any = getattr(parameter, "device_mesh", None)  # of a DTensor
            for group in () if mesh is None else mesh.get_all_groups():
                found[group.group_name] = group
    if len(found) > 1:
        return distributed.group.WORLD
    return next(iter(found.values()), None)


def is_a(thing: Any, name: str) -> bool:
    """Whether it is of a class of that name, which need not be imported for it."""
    return any(base.__name__ == name for base in type(thing).__mro__)


def whole(value: torch.Tensor) -> torch.Tensor:
    """The value itself; of one that is spread over ranks, put together."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # type: ignore[operator]


def check_freezing(name: str, model: nn.Module) -> None:
    """Refuses to freeze parameters of a model that takes note of them when it is wrapped.

    Raises:
        ValueError: It is one of `DistributedDataParallel` that does not look for unused parameters,
            or of `fully_shard`.
    """
    for module in model.modules():
        fixed = isinstance(module, DistributedDataParallel) and (
            module.static_graph or not module.find_unused_parameters
        )
        if fixed or is_a(module, "FSDPModule"):
            allowed = "None with fully_shard, or DistributedDataParallel unless its "
            allowed += "find_unused_parameters is True: others do not see what is frozen later"
            raise bad_argument(name, allowed, type(module).__name__)


def _is_over(work: Any) -> bool:
    """Waits a little for work; raises what it failed with."""
    try:
        work.wait(_A_LOOK)
    except RuntimeError:  # out of time, or failed
        if not work.is_completed():
            return False
        work.wait()
    return True


def _is_of_communication(error: BaseException | None) -> bool:
    """Whether it came from the connections to other ranks, or was caused by such an error."""
    while error is not None:
        if isinstance(error, distributed.DistError):
            return True
        if isinstance(error, RuntimeError) and "gloo" in str(error):
            return True
        error = error.__cause__
    return False


def _first_words(error: BaseException) -> str:
    """The beginning of what a backend says, without its place in the sources."""
    return re.sub(r"\[[^\]]*\](:\d+)?", "", str(error)).strip().split(".")[0].strip()[:80]
