"""What makes many small trainings in one process quick."""

from __future__ import annotations

import functools
import gc
import tempfile

import keras

if keras.backend.backend() == "jax":
    import jax

    # Many tests compile the same step: it is read back from disk.
    _FOLDER = tempfile.TemporaryDirectory(prefix="cyclerate-tests-")
    jax.config.update("jax_compilation_cache_dir", _FOLDER.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def free_graphs() -> None:
    """Frees what a test made: the more graphs TensorFlow has, the longer it takes to free one."""
    if keras.backend.backend() == "tensorflow":
        _leave_out_what_was_imported()
        gc.collect()


@functools.cache
def _leave_out_what_was_imported() -> None:
    gc.freeze()
