"""tf.data: a copy of a data set that shares no shuffling with it."""

from __future__ import annotations

import sys
from typing import Any

LARGEST_COPY_BYTES = 2**28


def is_tf_dataset(x: Any) -> bool:
    """Whether `x` is a `tf.data.Dataset`; TensorFlow is not loaded to find out."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(x, tensorflow.data.Dataset)


def unshared_copy(dataset: Any) -> Any:
    """A data set with the same content whose shuffles count their epochs apart.

    Each pass over a shuffled data set moves the state of its shuffle, so a pass made by a range
    test would change the order of the next fit. The state lives in a resource that the graph of
    the data set names; the copy is made from that graph with resources of its own.

    Returns:
        The copy; or the data set itself if it has no such state, holds more than 256 MB of tensors,
        or cannot be written as a graph.
    """
    import tensorflow as tf

    if _bytes_in(dataset) > LARGEST_COPY_BYTES:
        return dataset
    try:
        serialized = tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset),
            external_state_policy=tf.data.experimental.ExternalStatePolicy.IGNORE.value,
        )
    except tf.errors.OpError:
        return dataset
    graph = tf.compat.v1.GraphDef.FromString(serialized.numpy())
    seeds = [node for node in graph.node if _is_seed_generator(node)]
    if not seeds:
        return dataset
    for node in seeds:
        node.ClearField("attr")
        node.op = "DummySeedGenerator"
    variant = tf.raw_ops.DatasetFromGraph(graph_def=graph.SerializeToString())
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def _is_seed_generator(node: Any) -> bool:
    handles = node.attr["value"].tensor.resource_handle_val if node.op == "Const" else ()
    return any("SeedGenerator" in handle.name for handle in handles)


def _bytes_in(dataset: Any) -> int:
    """The size of the tensors that a data set and those it was made from hold."""
    total, waiting = 0, [dataset]
    while waiting:
        node = waiting.pop()
        for tensor in getattr(node, "_tensors", ()):
            total += tensor.shape.num_elements() * tensor.dtype.size
        waiting += node._inputs()  # noqa: SLF001 - the only way to the data sets underneath
    return total
