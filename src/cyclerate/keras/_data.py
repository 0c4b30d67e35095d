"""Data for the range test: whatever `fit` takes, and any iterable, lent and left as it was."""

from __future__ import annotations

import functools
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from cyclerate._errors import bad_argument, check_count
from cyclerate._randomness import Gate, PutBack, after_closing, remember_order
from cyclerate.finder._run import SCORE_ROWS
from cyclerate.keras._internals import data_adapter, tensorflow_pipeline

LARGEST_COPY_BYTES = 2**28

_SEEDS_AT = {"ShuffleDatasetV3": 2, "ShuffleAndRepeatDatasetV2": 2}
"""Operations that shuffle, and which of their inputs is the first of two seeds."""


def is_tf_dataset(x: Any) -> bool:
    """Recognises a `tf.data.Dataset` without loading TensorFlow."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(x, tensorflow.data.Dataset)


def unshared_copies(dataset: Any) -> Callable[[int], Any]:
    """Returns a function of a seed: it gives a copy of the data set that shuffles from that seed.

    Each pass over a shuffled data set moves the state of its shuffle, so a pass made by a range
    test would change the order of the next fit. The state lives in a resource that the graph of
    the data set names; copies are made from that graph with resources of their own. The data set
    itself is given if it has no such state, holds more than 256 MB of tensors, or cannot be written
    as a graph.
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


A_BATCH = "at least one batch of data"
_DATA = (
    "arrays, a tf.data.Dataset, a keras PyDataset, a torch DataLoader, an iterable of batches, or "
    "a function that returns one"
)


def _nothing() -> Any:
    """There is nothing to note, and nothing to put back."""
    return _nothing


@dataclass(frozen=True)
class Data:
    """Training data in two forms, both as keyword arguments of `fit`.

    Attributes:
        as_given: For building the model the way its first fit would.
        lend: Gives those for a sweep, which must not move the position or the order of the data.
        remember: Notes what reading changes all the same; the call that it returns puts it back.
        endless: Whether what is lent has no end.
    """

    as_given: dict[str, Any]
    lend: Callable[[], dict[str, Any]]
    remember: Callable[[], PutBack] = _nothing
    endless: bool = False


# Batches that come ready are not shuffled by Keras, which warns if asked to.
_READY_MADE = {"shuffle": False}


def borrow(
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
) -> Data:
    """Looks at what kind of data this is, without reading any."""
    if batch_size is not None:
        batch_size = check_count("batch_size", batch_size, below=2**31)
    if is_arrays(x):
        return _arrays(x, y, batch_size, sample_weight, class_weight)
    if not (callable(x) or isinstance(x, Iterable)) or isinstance(
        x, (list, tuple, dict, str, bytes)
    ):
        raise bad_argument("x", _DATA, x)
    alone = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    for name, value in alone.items():
        if value is not None:
            raise bad_argument(name, f"None: {_name(x)} brings batches of its own", value)
    weights = {"class_weight": class_weight}
    if isinstance(x, keras.utils.PyDataset):
        return _py_dataset(x, weights)
    if is_tf_dataset(x):
        return _tf_dataset(x, weights)
    if class_weight is not None:
        raise bad_argument("class_weight", f"None with {_name(x)}", class_weight)
    if _is_torch_loader(x):
        return _torch_loader(x)
    return _iterable(x)


def number_of_batches(x: Any, batch_size: int | None) -> int | None:
    """Returns the batches in a pass over the data, or None if the data do not say."""
    if is_arrays(x):
        samples = next(leaf.shape[0] for leaf in keras.tree.flatten(x) if leaf is not None)
        return math.ceil(samples / (batch_size or 32))
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    if is_tf_dataset(x):
        return max(int(x.cardinality()), 0) or None
    return len(x) if _is_torch_loader(x) and hasattr(x.dataset, "__len__") else None


def rows_of_an_update(x: Any, batch_size: int | None, optimizer: Any) -> int | None:
    """Returns the rows that an update of the weights sees; None if the data do not say."""
    rows = batch_size or (32 if is_arrays(x) else None)
    return rows and rows * (optimizer.gradient_accumulation_steps or 1)


def shuffled_by_keras(x: Any) -> bool:
    """Says whether `fit` shuffles such data; it warns if asked to shuffle others."""
    return is_arrays(x) or isinstance(x, keras.utils.PyDataset)


def _name(x: Any) -> str:
    return f"a {type(x).__name__}"


def is_arrays(x: Any) -> bool:
    return {*map(_is_array, (leaf for leaf in keras.tree.flatten(x) if leaf is not None))} == {True}


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and not callable(leaf.shape)  # as that of NumPy itself is


def _is_torch_loader(x: Any) -> bool:
    return any(
        kind.__name__ == "DataLoader" and kind.__module__.startswith("torch.utils.data")
        for kind in type(x).__mro__
    )


def _arrays(x: Any, y: Any, batch_size: Any, sample_weight: Any, class_weight: Any) -> Data:
    lengths = {leaf.shape[:1] for leaf in keras.tree.flatten(x) if leaf is not None}
    if (0,) in lengths or () in lengths:
        raise bad_argument("x", A_BATCH, f"arrays of shape {next(iter(lengths))}")
    _check_rows("x", x, lengths)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            _check_rows(name, value, lengths)
    if class_weight is not None and not isinstance(class_weight, dict):
        raise bad_argument("class_weight", "a dict of classes and their weights", class_weight)
    arguments = {
        "x": x,
        "y": y,
        "sample_weight": sample_weight,
        "class_weight": class_weight,
        "batch_size": batch_size,
    }
    return Data(arguments, lambda: arguments)


def _check_rows(name: str, value: Any, lengths: set[Any]) -> None:
    leaves = [leaf for leaf in keras.tree.flatten(value) if leaf is not None]
    found = {leaf.shape[:1] if _is_array(leaf) else None for leaf in leaves}
    if not found or found - lengths:
        rows = ", ".join(str(one[0]) for one in lengths if one)
        given = [f"{one[0]} rows" for one in found if one and one not in lengths]
        raise bad_argument(name, f"arrays of as many rows as x ({rows})", given or value)
    for leaf in leaves:
        texts = isinstance(leaf, np.ndarray) and leaf.dtype == object
        if texts and not all(isinstance(one, (str, bytes)) for one in leaf.ravel()):
            raise bad_argument(name, "arrays of numbers or texts", f"an array of {leaf.dtype}")


def _py_dataset(dataset: Any, weights: dict[str, Any]) -> Data:
    if dataset.num_batches == 0:
        raise bad_argument("x", A_BATCH, dataset)
    gates: list[Gate] = []
    return Data(
        {"x": _PyDatasetView(dataset, Gate(), begin=dataset.on_epoch_begin), **weights},
        lambda: {"x": _PyDatasetView(dataset, Gate.among(gates)), **weights},
        lambda: after_closing(gates, remember_order(dataset)),
    )


class _PyDatasetView(keras.utils.PyDataset):
    """The batches of a data set, without the calls at an epoch's end by which many reshuffle."""

    def __init__(self, dataset: Any, gate: Gate, begin: Callable[[], Any] | None = None) -> None:
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self._dataset, self._gate, self._begin = dataset, gate, begin

    def __getitem__(self, index: int) -> Any:
        with self._gate:
            return self._dataset[index]

    @property
    def num_batches(self) -> int | None:
        return self._dataset.num_batches

    def on_epoch_begin(self) -> None:
        if self._begin is not None:
            self._begin()


def _tf_dataset(dataset: Any, weights: dict[str, Any]) -> Data:
    if int(dataset.cardinality()) == 0:
        raise bad_argument("x", A_BATCH, dataset)
    copies = functools.cache(lambda: unshared_copies(dataset))
    options = {**weights, **_READY_MADE}

    def lend() -> dict[str, Any]:
        # In an order that follows from the global seed, as that of arrays does.
        return {"x": copies()(random.randrange(2**31)), **options}  # noqa: S311

    return Data({"x": dataset, **options}, lend)


def _torch_loader(loader: Any) -> Data:
    if hasattr(loader.dataset, "__len__") and len(loader) == 0:
        raise bad_argument("x", A_BATCH, loader)
    arguments = {"x": loader, **_READY_MADE}
    return Data(arguments, lambda: arguments, lambda: remember_order(loader))


def _iterable(x: Any) -> Data:
    make: Callable[[], Any]
    if callable(x):
        make = x
    elif isinstance(x, Iterator):
        make = functools.partial(_remembered, x, [])
    else:
        make = functools.partial(iter, x)
    gates: list[Gate] = []
    return Data(
        {"x": _endless(make, Gate()), **_READY_MADE},
        lambda: {"x": _endless(make, Gate.among(gates)), **_READY_MADE},
        lambda: after_closing(gates, remember_order(x)),
        endless=True,
    )


def _remembered(once: Iterator[Any], kept: list[Any]) -> Iterator[Any]:
    """What an iterator has given is gone, so its batches are kept and given again."""
    yield from kept
    for batch in once:
        kept.append(batch)
        yield batch


_END = object()


def _endless(make: Callable[[], Iterable[Any]], gate: Gate) -> Iterator[Any]:
    """Batches without end: a generator, which is what `fit` takes."""
    for epoch in itertools.count():
        with gate:
            batches = iter(make())
            batch = first = next(batches, _END)
        while batch is not _END:
            yield tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            with gate:
                batch = next(batches, _END)
        if first is _END:
            raise bad_argument("x", A_BATCH, f"nothing in pass {epoch + 1}")


def lent_again(data: Data) -> Callable[[], dict[str, Any]]:
    """Gives the data for several fits from the same random state, each in the same order.

    TensorFlow takes longer to make a pipeline of arrays than to train some steps, so that is made
    only once; where TensorFlow is seeded, each pass over it is in the same order.
    """
    if keras.backend.backend() != "tensorflow" or "y" not in data.as_given:
        return data.lend
    return functools.cache(
        lambda: {"x": tensorflow_pipeline(**data.lend(), shuffle=True), **_READY_MADE}
    )


def whole(data: Data) -> dict[str, Any]:
    """All of the data. `evaluate` neither shuffles nor weighs classes."""
    return in_a_pipeline(
        {k: v for k, v in data.lend().items() if k not in ("shuffle", "class_weight")}
    )


def in_a_pipeline(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `fit` or `evaluate`; on TensorFlow arrays as the data set that Keras makes.

    Made by Keras itself, it is tuned, and its end waits for that.
    """
    arrays = keras.backend.backend() == "tensorflow" and "y" in arguments
    return {"x": tensorflow_pipeline(**arguments)} if arrays else arguments


def rows_of(data: Data) -> dict[str, Any]:
    """The first batches of a pass over the data, up to `SCORE_ROWS` rows, kept in memory.

    The order of the pass follows from the global seed. Weights of samples and classes are in it.
    """
    arguments = data.lend()
    shuffle = {"shuffle": shuffled_by_keras(arguments["x"])}
    adapter = data_adapter(**{**arguments, **shuffle})
    try:
        if keras.backend.backend() != "tensorflow":
            return {"x": _KeptBatches(_first(adapter.get_numpy_iterator()))}
        if is_tf_dataset(arguments["x"]):
            # As it is: some of its tensors may be of a kind that only TensorFlow has.
            dataset = adapter.get_tf_dataset()
            return {"x": _cached(dataset.take(len(_first(dataset))))}
        kept = _KeptBatches(_first(adapter.get_numpy_iterator()))
        return {"x": _cached(tensorflow_pipeline(x=kept))}
    finally:
        adapter.on_epoch_end()  # stops its workers


class _KeptBatches(keras.utils.PyDataset):
    """Batches that are there."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index]


def _cached(dataset: Any) -> Any:
    cached = dataset.cache()
    # A cache is filled by a pass to the very end, which `evaluate` does not make.
    for _ in cached:
        pass
    return cached


def _first(batches: Any) -> list[Any]:
    """So many batches that they have the rows; without a smaller one at the end, if there are more.

    A batch of another size would be compiled again.
    """
    found: list[Any] = []
    sizes: list[int] = []
    for batch in batches:
        found.append(batch)
        sizes.append(int(keras.tree.flatten(batch)[0].shape[0]))
        if sum(sizes) >= SCORE_ROWS:
            break
    if len(found) > 1 and sizes[-1] < sizes[0]:
        del found[-1]
    return found
