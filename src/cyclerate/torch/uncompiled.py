"""Code that `torch.compile` leaves out of the functions that it compiles.

A step of a scheduler, traced into a compiled function, would be a constant of it, and every step
would be compiled anew. PyTorch exempts its own schedulers by the file that they are in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import TypeVar, cast

import torch

T = TypeVar("T")


@functools.cache
def leave_out(*code: type | FunctionType) -> None:
    """Marks functions, and the methods of classes, to be run as they are, never traced.

    Unlike `torch.compiler.disable`, which wraps a function, it costs nothing when they run; what
    they call is to be marked, too. It imports the compiler, as making an optimizer does.
    """
    from torch._dynamo.decorators import skip

    for item in code:
        for function in vars(item).values() if isinstance(item, type) else [item]:
            if isinstance(function, FunctionType):
                skip(function)


@functools.cache
def left_out_with_all_it_calls(function: Callable[..., T]) -> Callable[..., T]:
    """The function, run such that nothing is traced, whatever it calls: at half a microsecond."""
    return cast(Callable[..., T], torch.compiler.disable(function))
