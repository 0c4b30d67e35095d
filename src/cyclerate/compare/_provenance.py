"""Where a record comes from: versions and machine, as text."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import cyclerate


def versions(backend: str) -> dict[str, str]:
    """Versions of Python, cyclerate, and the packages that computed; `backend` is Keras's."""
    # Asked of the modules: the same module comes in packages of several names.
    loaded = {
        name: sys.modules[name] for name in ("keras", backend, "numpy") if name in sys.modules
    }
    return {
        "cyclerate": cyclerate.__version__,
        "python": platform.python_version(),
        **{name: str(module.__version__) for name, module in loaded.items()},
        "backend": backend,
    }


def framework_versions(*names: str) -> dict[str, str]:
    """Versions of the frameworks that compute."""
    return {name: str(sys.modules[name].__version__) for name in names}


def machine() -> dict[str, str]:
    """The processor, the cores this process may use, and the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": str(cores or 1), "memory": _memory()}


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
