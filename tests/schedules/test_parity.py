"""Equal by value to the schedulers people have, where those are right."""

from __future__ import annotations

import numpy as np
import pytest

import cyclerate as cr

torch = pytest.importorskip("torch")
from torch.optim import lr_scheduler as tls  # noqa: E402 - after the check that torch is there


def recorded(make, steps, *, momentum=None):
    """The rates (and momenta) that a torch scheduler uses at steps 0 .. steps - 1."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=momentum or 0.0)
    scheduler = make(optimizer)
    rates, momenta = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    return (rates, momenta) if momentum else rates


def assert_equal(schedule, expected):
    np.testing.assert_allclose(schedule(np.arange(len(expected))), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("down", [None, 13])
@pytest.mark.parametrize(
    ("mode", "make"),
    [
        ("triangular", cr.Triangular),
        ("triangular2", cr.Triangular2),
        ("exp_range", lambda *a, **k: cr.ExpRange(*a, gamma=0.99, **k)),
    ],
)
def test_cyclic_lr(mode, make, down):
    rates, momenta = recorded(
        lambda o: tls.CyclicLR(o, 0.001, 0.1, 20, down, mode=mode, gamma=0.99, base_momentum=0.85),
        200,
        momentum=0.9,
    )
    schedule = make(0.001, 0.1, 20, step_size_down=down)
    assert_equal(schedule, rates)
    assert_equal(schedule.mirrored(0.85, 0.9), momenta)


def test_cyclic_lr_with_a_custom_scale():
    def scale(cycle):
        return 1 / 5 ** (cycle * 0.5)

    rates = recorded(
        lambda o: tls.CyclicLR(
            o, 0.001, 0.1, 20, scale_fn=scale, scale_mode="cycle", cycle_momentum=False
        ),
        200,
    )
    assert_equal(cr.Cyclic(0.001, 0.1, 20, scale_fn=scale), rates)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize(("anneal", "shape"), [("cos", "cosine"), ("linear", "linear")])
def test_one_cycle_lr(anneal, shape, three_phase):
    rates, momenta = recorded(
        lambda o: tls.OneCycleLR(
            o, 0.5, total_steps=200, pct_start=0.3, anneal_strategy=anneal, three_phase=three_phase
        ),
        200,
        momentum=0.9,
    )
    schedule = cr.OneCycle(0.5, 200, 0.3, shape=shape, three_phase=three_phase)
    assert_equal(schedule, rates)
    assert_equal(schedule.mirrored(0.85, 0.95), momenta)


def test_one_cycle_lr_where_torch_is_wrong():
    """Past its end torch's linear 1cycle hands out a negative rate; small runs crash it."""
    rates = recorded(lambda o: tls.OneCycleLR(o, 1.0, 10, anneal_strategy="linear"), 10)
    assert cr.OneCycle(1.0, 10, shape="linear")(9) == pytest.approx(rates[-1])
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    scheduler = tls.OneCycleLR(optimizer, 1.0, 10, anneal_strategy="linear")
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] < 0
    assert cr.OneCycle(1.0, 10, shape="linear")(10) == cr.OneCycle(1.0, 10, shape="linear")(9) > 0
    with pytest.raises(ZeroDivisionError):
        recorded(lambda o: tls.OneCycleLR(o, 1.0, 10, pct_start=0.1), 10, momentum=0.9)
    assert cr.OneCycle(1.0, 10, up_frac=0.1)(1) == 1.0


@pytest.mark.parametrize("mult", [1, 2, 3])
def test_cosine_annealing_warm_restarts(mult):
    rates = recorded(lambda o: tls.CosineAnnealingWarmRestarts(o, 10, mult, eta_min=0.01), 500)
    assert_equal(cr.WarmRestarts(1.0, 10, mult, min_lr=0.01), rates)


def test_cosine_annealing_warm_restarts_where_torch_is_wrong():
    """Asked for a step by number, torch finds the cycle with a logarithm and misses a restart."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = tls.CosineAnnealingWarmRestarts(optimizer, 10, 3)
    optimizer.step()
    scheduler.step(1210)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-6)
    assert cr.WarmRestarts(1.0, 10, 3)(1210) == 1.0


def test_optax_sgdr():
    optax = pytest.importorskip("optax")
    cycles = [
        {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": steps}
        for steps in (10, 20, 40)
    ]
    theirs = optax.schedules.sgdr_schedule(
        [cycle | {"end_value": 0.01, "warmup_steps": 1} for cycle in cycles]
    )
    ours = cr.WarmRestarts(1.0, 9, 1, min_lr=0.01)
    # Their cycle begins with at least one step of warmup; from its peak on the cosine is the same.
    expected = [float(theirs(step)) for step in range(1, 10)]
    np.testing.assert_allclose(ours(np.arange(9)), expected, rtol=1e-5)


def test_optax_ramps_and_one_cycle():
    optax = pytest.importorskip("optax")
    steps = np.arange(120)

    def same(ours, theirs):
        np.testing.assert_allclose(ours(steps), [float(theirs(s)) for s in steps], rtol=2e-5)

    same(cr.Linear(0.1, 1.0, 100), optax.linear_schedule(0.1, 1.0, 100))
    same(cr.Polynomial(1.0, 0.1, 100, 2.0), optax.polynomial_schedule(1.0, 0.1, 2.0, 100))
    same(cr.Cosine(1.0, 0.1, 100), optax.cosine_decay_schedule(1.0, 100, alpha=0.1))


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_keras_decays(alpha):
    keras = pytest.importorskip("keras")
    schedules = keras.optimizers.schedules
    steps = np.arange(0, 120, 7)

    def same(ours, theirs):
        values = [float(theirs(int(step))) for step in steps]
        np.testing.assert_allclose(ours(steps), values, rtol=2e-5, atol=1e-7)

    same(cr.Cosine(1.0, alpha, 100), schedules.CosineDecay(1.0, 100, alpha=alpha))
    same(
        cr.Polynomial(1.0, alpha, 100, 2.0),
        schedules.PolynomialDecay(1.0, 100, end_learning_rate=alpha, power=2.0),
    )
