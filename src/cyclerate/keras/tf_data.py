"""tf.data: copies of a data set that share no shuffling with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

LARGEST_COPY_BYTES = 2**28

_SEEDS_AT = {"ShuffleDatasetV3": 2, "ShuffleAndRepeatDatasetV2": 2}
"""Operations that shuffle, and which of their inputs is the first of two seeds."""


def is_tf_dataset(x: Any) -> bool:
    """Whether `x` is a `tf.data.Dataset`; TensorFlow is not loaded to find out."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(x, tensorflow.data.Dataset)


def unshared_copies(dataset: Any) -> Callable[[int], Any]:
    """Data sets with the same content whose shuffles begin anew, from a seed.

    Each pass over a shuffled data set moves the state of its shuffle, so a pass made by a range
    test would change the order of the next fit. The state lives in a resource that the graph of
    the data set names; copies are made from that graph with resources of their own.

    Returns:
        A function of a seed that gives a copy; or one that gives the data set itself if that has
        no such state, holds more than 256 MB of tensors, or cannot be written as a graph.
    """
    import tensorflow as tf

    graph = None if _bytes_in(dataset) > LARGEST_COPY_BYTES else _graph_of(dataset)
    own_state = [node for node in graph.node if _is_seed_generator(node)] if graph else []
    if graph is None or not own_state:
        return lambda seed: dataset
    for node in own_state:
        node.ClearField("attr")
        node.op = "DummySeedGenerator"
    end = next(node for node in graph.node if node.op == "_Retval")
    graph.node.remove(end)
    places = [(node, _SEEDS_AT[node.op]) for node in graph.node if node.op in _SEEDS_AT]
    seeds = [name for node, first in places for name in node.input[first : first + 2]]

    def copy(seed: Any) -> Any:
        given = dict.fromkeys(map(_output, seeds), seed)
        outputs = [_output(end.input[0])]
        return tf.graph_util.import_graph_def(
            graph, input_map=given, return_elements=outputs, name=""
        )[0]

    # Wrapped once: the tensors in the graph are shared by all copies.
    make = tf.compat.v1.wrap_function(copy, [tf.TensorSpec((), tf.int64)])
    return lambda seed: tf.data.experimental.from_variant(
        make(tf.constant(seed, tf.int64)), dataset.element_spec
    )


def _graph_of(dataset: Any) -> Any:
    import tensorflow as tf

    try:
        serialized = tf.raw_ops.DatasetToGraphV2(
            input_dataset=tf.data.experimental.to_variant(dataset),
            external_state_policy=tf.data.experimental.ExternalStatePolicy.IGNORE.value,
        )
    except tf.errors.OpError:
        return None
    return tf.compat.v1.GraphDef.FromString(serialized.numpy())


def _is_seed_generator(node: Any) -> bool:
    handles = node.attr["value"].tensor.resource_handle_val if node.op == "Const" else ()
    return any("SeedGenerator" in handle.name for handle in handles)


def _output(name: str) -> str:
    """An input of a node, as a graph names the tensor."""
    return name if ":" in name else f"{name}:0"


def _bytes_in(dataset: Any) -> int:
    """The size of the tensors that a data set and those it was made from hold."""
    total, waiting = 0, [dataset]
    while waiting:
        node = waiting.pop()
        for tensor in getattr(node, "_tensors", ()):
            total += tensor.shape.num_elements() * tensor.dtype.size
        waiting += node._inputs()  # noqa: SLF001 - the only way to the data sets underneath
    return total
