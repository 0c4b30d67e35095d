"""What is kept in a file: plain JSON values, hashes of arrays, and where results come from."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import cyclerate

T = TypeVar("T")
_DIGEST = 16


def plain(value: Any) -> Any:
    """Turns a value into what JSON holds, which has no NaN and no tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(part) for part in value]
    return finite_or_none(value) if isinstance(value, float) else value


def finite_or_none(value: float | None) -> float | None:
    """Gives a number as JSON holds it: NaN and infinity become None."""
    return None if value is None or not math.isfinite(value) else float(value)


def digest(parts: Iterable[bytes | NDArray[Any]]) -> str:
    """Hashes bytes and arrays, shapes and dtypes included.

    >>> digest([np.zeros(2)]) == digest([np.zeros((1, 2))])
    False
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).tobytes())
        else:
            sha.update(part)
    return sha.hexdigest()[:_DIGEST]


BACKENDS = ("jax", "tensorflow", "torch")


def provenance() -> dict[str, Any]:
    """Time, versions and machine of a result that is computed now."""
    return {"created": now(), "versions": versions(), "machine": machine()}


def versions(backend: str | None = None) -> dict[str, str]:
    """Versions of Python, cyclerate, and the packages that computed."""
    if backend is None and (keras := sys.modules.get("keras")) is not None:
        backend = keras.backend.backend()
    backends = BACKENDS if backend is None else (backend,)
    # Asked of the modules: the same module comes in packages of several names.
    loaded = [name for name in ("keras", *backends, "numpy") if name in sys.modules]
    return {
        "cyclerate": cyclerate.__version__,
        "python": platform.python_version(),
        **{name: str(sys.modules[name].__version__) for name in loaded},
        **({} if backend is None else {"backend": backend}),
    }


@functools.cache
def _machine() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": str(cores or 1), "memory": _memory()}


def machine() -> dict[str, str]:
    """The processor, the cores this process may use, and the memory."""
    return dict(_machine())


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"
