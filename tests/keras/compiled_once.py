"""JAX keeps what it compiled for as long as the tests run: many of them compile the same step."""

from __future__ import annotations

import tempfile

import keras

if keras.backend.backend() == "jax":
    import jax

    _FOLDER = tempfile.TemporaryDirectory(prefix="cyclerate-tests-")
    jax.config.update("jax_compilation_cache_dir", _FOLDER.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
