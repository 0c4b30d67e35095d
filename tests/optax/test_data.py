"""Whatever the data come as, the loss gets batches of it, and the data stay as they were."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cyclerate.optax as co
from cyclerate.optax._trainee import batches_of
from tests.optax.problems import BATCHES, PARAMS, X, Y, loss_fn, sgd_losses
from tests.source import ROOT

CALM = {"method": "range", "start_lr": 1e-3, "end_lr": 0.1, "steps": 20}
ROWS = np.arange(50)


def take(number, data, batch_size=None, seed=0):
    stream = batches_of(data, batch_size)
    stream.begin_repeat(seed)
    return [next(stream) for _ in range(number)]


class Batches:
    """An iterable that is neither a list nor an iterator, as a data loader is."""

    def __init__(self, batches):
        self.batches, self.passes = batches, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.batches)


def with_dict(params, batch):
    return loss_fn(params, (batch["x"], batch["y"]))


@pytest.mark.parametrize(
    "data",
    [
        BATCHES,
        Batches(BATCHES),
        lambda: iter(BATCHES),
        lambda: (batch for batch in BATCHES),
        iter(BATCHES * 10),
        [(jnp.asarray(x), jnp.asarray(y)) for x, y in BATCHES],
        [list(batch) for batch in BATCHES],
    ],
    ids=["list", "iterable", "function", "generators", "iterator", "jax", "lists"],
)
def test_batches_are_used_in_their_order_again_and_again(data):
    result = co.range_test(loss_fn, PARAMS, optax.sgd, data, **CALM)
    assert_allclose(result.losses, sgd_losses(result.lrs, BATCHES), rtol=1e-4)


def test_batches_may_be_of_different_lengths():
    ragged = [(X[:20], Y[:20]), (X[20:40], Y[20:40]), (X[40:], Y[40:])]
    result = co.range_test(loss_fn, PARAMS, optax.sgd, ragged, **CALM)
    assert_allclose(result.losses, sgd_losses(result.lrs, ragged), rtol=1e-4)


def test_arrays_may_be_of_any_kind_and_structure():
    curves = [
        co.range_test(function, PARAMS, optax.sgd, data, batch_size=16, **CALM).losses
        for function, data in [
            (loss_fn, (X, Y)),
            (loss_fn, (jnp.asarray(X), jnp.asarray(Y))),
            (with_dict, {"x": X, "y": Y}),
            (lambda params, rows: loss_fn(params, (rows[:, :-1], rows[:, -1])), np.c_[X, Y]),
        ]
    ]
    for curve in curves[1:]:
        assert_allclose(curve, curves[0], rtol=1e-5)


def test_every_row_of_arrays_comes_once_a_pass_in_batches_of_one_size():
    batches = take(15, ROWS, batch_size=20)
    assert {batch.shape for batch in batches} == {(20,)}
    drawn = np.concatenate(batches)
    for k in range(6):
        assert_array_equal(np.sort(drawn[50 * k : 50 * (k + 1)]), ROWS)


def test_rows_that_belong_together_stay_together():
    for x, double in take(5, (ROWS, 2 * ROWS), batch_size=7):
        assert_array_equal(double, 2 * x)


def test_the_order_is_another_in_every_pass_and_for_every_seed():
    first, second = take(2, ROWS, batch_size=50)
    (other,) = take(1, ROWS, batch_size=50, seed=1)
    assert len({tuple(order) for order in (first, second, other, ROWS)}) == 4


def test_fewer_rows_than_a_batch_make_a_batch_of_all_rows():
    assert take(1, ROWS, batch_size=64)[0].shape == (50,)
    assert take(1, ROWS)[0].shape == (32,)


SHARDED = """
import jax, numpy as np, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import cyclerate.optax as co
from cyclerate.optax._trainee import batches_of
from tests.optax.problems import PARAMS, X, Y, loss_fn

plain = co.range_test(loss_fn, PARAMS, optax.sgd, (X, Y), batch_size=16, method="range")
for kind in (AxisType.Auto, AxisType.Explicit):
    with jax.set_mesh(jax.make_mesh((4,), ("rows",), axis_types=(kind,))) as mesh:
        sharding = NamedSharding(jax.sharding.get_mesh(), PartitionSpec("rows"))
        data = tuple(jax.device_put(part, sharding) for part in (X, Y))
        x, _ = next(batches_of(data, 16))
        assert x.sharding.spec[0] == "rows" and len(x.sharding.device_set) == 4, x.sharding
        result = co.range_test(loss_fn, PARAMS, optax.sgd, data, batch_size=16, method="range")
        np.testing.assert_allclose(result.losses, plain.losses, rtol=1e-3)
        uneven, _ = next(batches_of(data, 6))
        assert uneven.shape[0] == 6 and uneven.sharding.is_fully_replicated
"""


def test_batches_of_sharded_arrays_lie_where_their_rows_did():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env={**os.environ, **flags},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_iterator_that_runs_out_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="of an iterator there is one pass only"):
        co.range_test(loss_fn, PARAMS, optax.sgd, iter(BATCHES), **CALM)


def test_a_torch_data_loader_is_used_and_gives_the_same_order_afterwards():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    dataset = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    own = torch.Generator().manual_seed(5)
    loaders = [
        DataLoader(dataset, batch_size=8, shuffle=True),
        DataLoader(dataset, batch_size=8, shuffle=True, generator=own),
    ]
    torch.manual_seed(3)
    states = [torch.get_rng_state(), own.get_state()]
    for loader in loaders:
        result = co.range_test(loss_fn, PARAMS, optax.sgd, loader, **CALM)
        again = co.range_test(loss_fn, PARAMS, optax.sgd, loader, **CALM)
        assert result.losses[-1] < result.losses[0]
        assert_array_equal(again.losses, result.losses)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(own.get_state(), states[1])


def test_data_that_shuffle_with_global_generators_give_the_same_curve_twice():
    def shuffled():
        rows = np.random.permutation(len(X))[:8]  # noqa: NPY002 - this is what users' data do
        yield X[rows], random.choice((1, -1)) * Y[rows]

    def curve():
        return co.range_test(loss_fn, PARAMS, optax.sgd, shuffled, **CALM).losses

    first = curve()
    assert_array_equal(curve(), first)
    assert len(np.unique(first)) == 20
