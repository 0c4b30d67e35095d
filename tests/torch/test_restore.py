"""Whatever a range test touches is as it was, however the test ends."""

from __future__ import annotations

import functools
import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct
from tests.torch.small import BATCHES, Regression, squared_error
from tests.torch.workshop import LOADERS, Workshop, same

WHAT = list(Workshop(trained=False).picture())


class Trouble(Exception):
    pass


def raise_(error):
    raise error


ENDINGS = {
    "range": ({}, {"end_lr": 1e-3}, cr.StopReason.END_OF_RANGE),
    "divergence": ({}, {"steps": 60}, cr.StopReason.DIVERGED),
    "nan": ({12: lambda loss: loss * float("nan")}, {}, cr.StopReason.NON_FINITE),
    "exception": ({12: lambda _: raise_(Trouble("in the loss"))}, {}, Trouble),
    "first step": ({0: lambda _: raise_(Trouble("in the loss"))}, {}, Trouble),
    "Ctrl-C": ({12: lambda _: raise_(KeyboardInterrupt)}, {}, KeyboardInterrupt),
    "second sweep": (
        {40: lambda _: raise_(Trouble("in the loss"))},
        {"repeats": 3, "end_lr": 1e-3},
        Trouble,
    ),
}
# A pass has three batches, and so has the sample: of a probe, the untouched model's score is calls
# 0 to 2, its sweep 3 to 32, and its first race begins at 33.
PROBE = {"method": "probe", "end_lr": 1e-3, "max_steps": 90}
ENDINGS |= {
    "probe": ({}, PROBE, cr.StopReason.END_OF_RANGE),
    "probe that diverges": (
        {},
        {"method": "probe", "steps": 60, "max_steps": 120},
        cr.StopReason.DIVERGED,
    ),
    "nan in the first score": (
        {1: lambda loss: loss * float("nan")},
        PROBE,
        cr.StopReason.END_OF_RANGE,
    ),
    "nan in a race": (
        {35: lambda loss: loss * float("nan")},
        PROBE,
        cr.StopReason.END_OF_RANGE,
    ),
    "exception in the first score": ({1: lambda _: raise_(Trouble("in the loss"))}, PROBE, Trouble),
    "Ctrl-C in the first score": (
        {2: lambda _: raise_(KeyboardInterrupt)},
        PROBE,
        KeyboardInterrupt,
    ),
    "exception in a race": ({37: lambda _: raise_(Trouble("in the loss"))}, PROBE, Trouble),
    "Ctrl-C in a race": ({37: lambda _: raise_(KeyboardInterrupt)}, PROBE, KeyboardInterrupt),
    "second probe": (
        {160: lambda _: raise_(Trouble("in the loss"))},
        {**PROBE, "repeats": 3},
        Trouble,
    ),
}


MIDWAY: list[dict[str, Any]] = []
"""Out of reach of what is put back: a hook's own lists are."""


@functools.cache
def pictures_of(ending, trained, place):
    """A workshop's pictures: before the test, in the midst of it, and after it."""
    at_step, options, expected = ENDINGS[ending]
    shop = Workshop(trained=trained, scaled=True, loader="shuffled in place")
    MIDWAY.clear()
    calls = itertools.count()

    def watch(loss):
        call = next(calls)
        if call == 6:
            MIDWAY.append(shop.picture())
        return at_step.get(call, lambda loss: loss)(loss)

    shop.loss_fn.watch = watch
    before, identities = shop.picture(), shop.identities()
    options = {"snapshot": place, "autocast": False, **options}
    if isinstance(expected, cr.StopReason):
        result = shop.range_test(**options)
        assert result.stop_reason is expected
    else:
        with pytest.raises(expected):
            shop.range_test(**options)
    assert shop.identities() == identities
    return before, [*MIDWAY], shop.picture()


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "new"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_it_is_as_it_was(what, ending, trained):
    before, _, after = pictures_of(ending, trained, "memory")
    assert same(after[what], before[what])


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("ending", ["range", "exception", "probe"])
@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_it_is_as_it_was_wherever_the_copy_is_kept(what, ending, place):
    before, _, after = pictures_of(ending, True, place)
    assert same(after[what], before[what])


UNTOUCHED = {"requires_grad", "modes", "hooks", "scheduler", "generator of the loader"}


@pytest.mark.parametrize("what", [name for name in WHAT if name not in UNTOUCHED])
def test_the_test_itself_had_changed_it(what):
    changed = []
    for trained in (True, False):
        before, [midway], _ = pictures_of("range", trained, "memory")
        changed.append(not same(midway[what], before[what]))
    assert any(changed)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "new"])
@pytest.mark.parametrize("method", ["range", "probe"])
def test_training_goes_on_as_if_there_had_been_no_test(loader, trained, method):
    tried, twin = (Workshop(trained=trained, loader=loader) for _ in range(2))
    tried.range_test(method=method, **({"max_steps": 60} if method == "probe" else {}))
    outcomes = []
    for shop in (tried, twin):  # they share the global generators
        random.seed(8)
        np.random.seed(8)  # noqa: NPY002
        torch.manual_seed(8)
        outcomes.append((shop.train(12), shop.picture()))
    (losses, after), (expected_losses, expected) = outcomes
    assert losses == expected_losses
    assert [name for name in WHAT if not same(after[name], expected[name])] == []


def test_a_second_test_gives_the_same_answer_and_a_test_after_training_works():
    shop = Workshop()
    first = shop.range_test()
    second = shop.range_test()
    assert (first.losses.tolist(), first.max_lr) == (second.losses.tolist(), second.max_lr)
    shop.train(3)
    later = shop.range_test()
    assert len(later.losses) > 10
    assert later.losses.tolist() != first.losses.tolist()


def test_what_the_test_makes_is_gone():
    model = Regression()
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.ones(2, 4, dtype=torch.float64)

    def forward(model, batch):
        model.extra = nn.Linear(2, 2)
        model.note = "new"
        model.register_buffer("late", torch.ones(2))
        model.register_forward_hook(lambda *_: None)
        model.w.requires_grad_(True)
        model.b.requires_grad_(len(calls) % 2 == 0)
        calls.append(1)
        return model(batch[0]), batch[1]

    calls = []
    ct.range_test(
        model, optimizer, squared_error, BATCHES, forward=forward, steps=20, method="range"
    )
    assert calls
    assert sorted(name for name, _ in model.named_modules()) == [""]
    assert [name for name, _ in model.named_buffers()] == []
    assert not hasattr(model, "note")
    assert len(model._forward_hooks) == 0
    assert model.b.requires_grad
    assert dict(optimizer.state) == {}
    assert model(x).tolist() == [0.0, 0.0]


def test_what_the_test_replaces_is_back():
    model: Any = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.register_buffer("table", torch.zeros(2))
    weight, table = model.w, model.table

    def forward(model, batch):
        model.table = torch.ones(3)
        del model.w
        model.w = nn.Parameter(torch.ones(4, dtype=torch.float64))
        return model(batch[0]), batch[1]

    ct.range_test(
        model, optimizer, squared_error, BATCHES, forward=forward, steps=20, method="range"
    )
    assert model.w is weight
    assert model.table is table
    assert (weight.tolist(), table.tolist()) == ([0.0] * 4, [0.0] * 2)


def test_a_scheduler_attached_goes_on_without_a_warning_or_a_step_more():
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    ct.range_test(model, optimizer, squared_error, BATCHES, steps=20, method="range")
    assert (scheduler.last_epoch, scheduler._step_count) == (0, 1)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        scheduler.step()  # the steps of the test were not the training's


def test_workers_that_persist_are_let_go():
    generator = torch.Generator().manual_seed(4)
    state = generator.get_state()
    loader = DataLoader(
        TensorDataset(torch.arange(12.0)),
        batch_size=4,
        shuffle=True,
        generator=generator,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="spawn",  # JAX may be in this process: a fork could hang
    )
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    workers = []

    def forward(model, batch):
        workers.extend(vars(loader._iterator)["_workers"])
        return model(batch[0][:, None]).pow(2).mean()

    ct.range_test(
        model, optimizer, None, loader, forward=forward, steps=10, end_lr=1e-3, method="range"
    )
    assert len({worker.pid for worker in workers}) == 1
    assert not workers[0].is_alive()
    assert loader._iterator is None
    assert torch.equal(generator.get_state(), state)
