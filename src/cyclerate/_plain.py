"""Plain JSON values, hashes of arrays, and where results come from."""

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


_COMPUTE = ("keras", "jax", "tensorflow", "torch")


def provenance() -> dict[str, Any]:
    """Time, versions and machine of a result that is computed now."""
    loaded = [name for name in _COMPUTE if name in sys.modules]
    backend: dict[str, str] = {}
    if (keras := sys.modules.get("keras")) is not None:
        backend["backend"] = keras.backend.backend()
        loaded = ["keras", backend["backend"]]
    made = {**versions(*loaded), **backend}
    return {"created": now(), "versions": made, "machine": machine()}


def versions(*modules: str) -> dict[str, str]:
    """Versions of cyclerate, Python and NumPy, and of other modules that are loaded, by name.

    >>> list(versions())
    ['cyclerate', 'python', 'numpy']
    """
    python = {"python": platform.python_version()}
    return {**versions_of("cyclerate"), **python, **versions_of(*modules, "numpy")}


def versions_of(*modules: str) -> dict[str, str]:
    """Versions of modules that are loaded."""
    # Asked of the modules: the same module comes in packages of several names.
    return {name: str(sys.modules[name].__version__) for name in modules}


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
