"""Where a result comes from: time, versions and machine, as text."""

from __future__ import annotations

import functools
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cyclerate

BACKENDS = ("jax", "tensorflow", "torch")


def provenance() -> dict[str, Any]:
    """Time, versions and machine of a result that is computed now."""
    return {"created": now(), "versions": versions(), "machine": machine()}


def versions(backend: str | None = None) -> dict[str, str]:
    """Versions of Python, cyclerate, and the packages that computed.

    Args:
        backend: What computed under Keras, or without it. Default: as Keras says, if it is loaded,
            else what is loaded.
    """
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
