"""Single things that a snapshot puts back, or must leave alone; and where copies are kept."""

from __future__ import annotations

import tempfile
import weakref
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cyclerate.torch as ct
from cyclerate.torch import _state
from cyclerate.torch._state import Snapshot
from tests.torch.small import BATCHES, Regression, squared_error

DTYPES = [
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def snapshot_of(*things, place="memory"):
    return Snapshot(things, place, ExitStack())


def test_state_that_only_the_module_knows_goes_through_its_extra_state():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.table: Any = type("Table", (), {"entries": [1, 2]})()

        def get_extra_state(self):
            return self.table.entries

        def set_extra_state(self, state):
            self.table.entries = state

    module = Counter()
    snapshot = snapshot_of(nn.Sequential(module))
    for _ in range(2):
        module.table.entries.append(3)
        snapshot.put_back()
        assert module.table.entries == [1, 2]


def test_containers_of_every_kind_are_refilled_and_stay_the_same_objects():
    module: Any = nn.Module()
    module.names = {"a"}
    module.recent = deque([1, 2], maxlen=2)
    module.tree = {"leaf": [torch.zeros(2), (torch.ones(1),)]}
    containers = (module.names, module.recent, module.tree, module.tree["leaf"])
    snapshot = snapshot_of(module)
    module.names.add("b")
    module.recent.append(3)
    module.tree["leaf"][0].fill_(7.0)
    module.tree["leaf"][1][0].fill_(7.0)
    module.tree["leaf"].append(None)
    module.tree |= {"more": {}}
    for name in ("names", "recent", "tree"):
        setattr(module, name, ())
    snapshot.put_back()
    held = (module.names, module.recent, module.tree, module.tree["leaf"])
    assert all(a is b for a, b in zip(held, containers, strict=True))
    assert module.names == {"a"}
    assert list(module.recent) == [1, 2]
    assert list(module.tree) == ["leaf"]
    first, (second,) = module.tree["leaf"]
    assert (first.tolist(), second.tolist()) == ([0.0, 0.0], [1.0])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_scripted_module_is_put_back():
    model: Any = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    before = [p.detach().clone() for p in model.parameters()]
    snapshot = snapshot_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3.0)
    snapshot.put_back()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_tensors_that_cannot_change_are_left_alone():
    module: Any = nn.Module()
    module.register_buffer("expanded", torch.zeros(1).expand(4))
    module.register_buffer("nowhere", torch.zeros(4, device="meta"))
    with torch.inference_mode():
        module.register_buffer("inferred", torch.zeros(4))
    snapshot = snapshot_of(module)
    snapshot.put_back()
    assert module.expanded.tolist() == [0.0] * 4


def test_gradients_are_set_aside_without_a_copy():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = gradient = torch.full((2,), 5.0)
    module = nn.ParameterList([weight])
    snapshot = snapshot_of(module)
    snapshot.set_gradients_aside()
    assert weight.grad is None
    weight.sum().backward()
    snapshot.put_back()
    assert weight.grad is gradient
    assert gradient.tolist() == [5.0, 5.0]


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_gradients_leave_the_memory_with_the_rest(place):
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 5.0)
    watch = weakref.ref(weight.grad)
    with ExitStack() as stack:
        snapshot = Snapshot([nn.ParameterList([weight])], place, stack)
        snapshot.set_gradients_aside()
        assert watch() is None
        for _ in range(2):
            snapshot.put_back()
            assert weight.grad.tolist() == [5.0, 5.0]
            weight.grad.zero_()


def test_weights_moved_to_other_storage_are_put_back_there():
    weight = nn.Parameter(torch.ones(2))
    snapshot = snapshot_of(nn.ParameterList([weight]))
    weight.data = torch.full((2,), 9.0)
    snapshot.put_back()
    assert weight.tolist() == [1.0, 1.0]


def test_gradients_that_are_part_of_a_buffer_are_copied():
    bucket = torch.full((4,), 5.0)
    weight = nn.Parameter(torch.ones(2))
    weight.grad = bucket[:2]
    snapshot = snapshot_of(nn.ParameterList([weight]))
    snapshot.set_gradients_aside()
    bucket.zero_()
    snapshot.put_back()
    assert weight.grad.tolist() == [5.0, 5.0]
    assert weight.grad.data_ptr() == bucket.data_ptr()


def test_a_lazy_model_is_to_see_a_batch_first():
    model = nn.Sequential(nn.LazyLinear(2))
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match=r"model must be initialised: run one batch through it"):
        ct.range_test(model, optimizer, squared_error, BATCHES)


@pytest.mark.parametrize("place", _state.PLACES)
def test_values_of_every_dtype_and_layout_come_back_any_number_of_times(place):
    tensors = [torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES]
    flat = torch.arange(8.0)
    tensors += [flat[:4], flat[4:], torch.ones(2, 3).t(), torch.ones(()), torch.ones(0)]
    tensors += [torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last)]
    before = [tensor.clone() for tensor in tensors]
    with ExitStack() as stack:
        snapshot = Snapshot([tensors], place, stack)
        for _ in range(2):
            for tensor in tensors:
                tensor.zero_()
            snapshot.put_back()
            for tensor, value in zip(tensors, before, strict=True):
                assert torch.equal(tensor, value)
                assert tensor.stride() == value.stride()


def test_on_disk_there_is_each_value_once_in_files_of_limited_size(monkeypatch, tmp_path):
    monkeypatch.setattr(_state, "_SHARD_BYTES", 1000)
    tensors = [torch.rand(100), torch.rand(100), torch.rand(200), torch.rand(3)]
    with ExitStack() as stack:
        Snapshot([tensors], "disk", stack)
        sizes = sorted(file.stat().st_size for file in tmp_path.glob("cyclerate-*/*.safetensors"))
        assert len(sizes) == 2
        assert sum(sizes) < sum(tensor.nbytes for tensor in tensors) + 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", _state.PLACES)
def test_a_large_tensor_is_copied_in_pieces(monkeypatch, tmp_path, place):
    monkeypatch.setattr(_state, "_SHARD_BYTES", 1000)
    large = [torch.rand(30, 41), torch.rand(41, 30).t(), torch.rand(1, 700), torch.rand(())]
    weight = nn.Parameter(torch.rand(50, 20))
    weight.grad = gradient = torch.rand(50, 20)
    before = [tensor.clone() for tensor in (*large, weight.detach(), gradient)]
    with ExitStack() as stack:
        snapshot = Snapshot([[*large, weight]], place, stack)
        snapshot.set_gradients_aside()
        for file in tmp_path.glob("cyclerate-*/*.safetensors"):
            assert file.stat().st_size < 1300 or "[1,700]" in str(file.read_bytes()[:400])
        for _ in range(2):
            for tensor in (*large, weight.detach()):
                tensor.zero_()
            snapshot.put_back()
            now = [*large, weight.detach(), weight.grad]
            assert all(torch.equal(a, b) for a, b in zip(now, before, strict=True))


@pytest.mark.parametrize("method", ["range", "probe"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, None])
def test_files_are_gone_however_the_test_ends(error, method, tmp_path):
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    files = []

    def loss_fn(output, target):
        files.extend(tmp_path.glob("cyclerate-*/*"))
        if error is not None and len(files) > 3:
            raise error
        return squared_error(output, target)

    if error is None:
        ct.range_test(model, optimizer, loss_fn, BATCHES, snapshot="disk", steps=20, method=method)
    else:
        with pytest.raises(error):
            ct.range_test(
                model, optimizer, loss_fn, BATCHES, snapshot="disk", steps=20, method=method
            )
    assert files
    assert list(tmp_path.iterdir()) == []
    assert model.w.tolist() == [0.0] * 4


def test_files_are_gone_when_they_cannot_be_written(monkeypatch, tmp_path):
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def full(*_):
        assert [Path(folder).name[:10] for folder in tmp_path.iterdir()] == ["cyclerate-"]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        ct.range_test(model, optimizer, squared_error, BATCHES, snapshot="disk")
    assert list(tmp_path.iterdir()) == []
    assert optimizer.param_groups[0]["lr"] == 0.1
