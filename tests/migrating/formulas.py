"""What libraries that are not installed here do, as formulas, under their own names.

Each is called as the library's own would be. It gives the rate as a function of the step `n`, from
0 on; or, for what ends by itself, the array of all rates. Written from, and compared once with,
fastai 2.8.12, Lightning 2.6.6, torch-lr-finder 0.2.2, timm 1.0.31 and Transformers 5.23; written
from TensorFlow Addons 0.23 and bckenstler/CLR of 2020, which no longer run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

STEPS_PER_EPOCH, EPOCHS, GROUPS = 25, 8, 3  # as on the page


def triangle(low, high, half, scale, by_cycle):
    """low + (high - low) * max(0, 1 - |n / half - 2 cycle + 1|) * scale(cycle or n)."""

    def rate(n):
        cycle = math.floor(1 + n / (2 * half))
        height = max(0.0, 1 - abs(n / half - 2 * cycle + 1))
        return low + (high - low) * height * scale(cycle if by_cycle else n)

    return rate


def _halved(cycle):
    return 2.0 ** (1 - cycle)


def _whole(_count):
    return 1.0


def _clr(
    base_lr, max_lr, step_size, *, mode="triangular", gamma=1.0, scale_fn=None, scale_mode=None
):
    if scale_fn is not None:
        return triangle(base_lr, max_lr, step_size, scale_fn, scale_mode == "cycle")
    scale = {"triangular": _whole, "triangular2": _halved, "exp_range": lambda n: gamma**n}[mode]
    return triangle(base_lr, max_lr, step_size, scale, mode != "exp_range")


def _addons(low, high, half, scale_fn, scale_mode="cycle"):
    return triangle(low, high, half, scale_fn, scale_mode == "cycle")


CALLBACKS_FOR_KERAS_2 = {"CyclicLR": _clr}
TENSORFLOW_ADDONS = {
    "TriangularCyclicalLearningRate": lambda low, high, half: _addons(low, high, half, _whole),
    "Triangular2CyclicalLearningRate": lambda low, high, half: _addons(low, high, half, _halved),
    "ExponentialCyclicalLearningRate": lambda low, high, half, gamma: _addons(
        low, high, half, lambda n: gamma**n, "iterations"
    ),
    "CyclicalLearningRate": _addons,
}


# fastai: a curve over the share p = n / N of a training, for its steps n = 0 to N - 1.


@dataclass(frozen=True)
class OverShare:
    """A value for a share of the training, 0 to 1."""

    at: Callable[[float], float]

    def trained(self, epochs=EPOCHS):
        """The values of all steps."""
        steps = epochs * STEPS_PER_EPOCH
        shares = itertools.accumulate(itertools.repeat(1 / steps, steps - 1), initial=0.0)
        return np.array([self.at(share) for share in shares])


def _straight(start, end):
    return OverShare(lambda p: start + (end - start) * p)


def _cosine(start, end):
    return OverShare(lambda p: start + (end - start) * (1 - math.cos(math.pi * p)) / 2)


def _exponential(start, end):
    return OverShare(lambda p: start * (end / start) ** p)


def _constant(start, _end):
    return OverShare(lambda _p: start)


def _joined(shares, curves):
    """The i-th curve over the i-th share; where one ends, the next has begun.

    The boundaries are in float32 and `p` is a sum of many parts: it may fall short of a boundary.
    """
    starts = np.cumsum(np.array([0.0, *shares], np.float32))

    def value(p):
        i = min(int(np.flatnonzero(np.float32(p) >= starts)[-1]), len(curves) - 1)
        return curves[i].at(float((p - starts[i]) / (starts[i + 1] - starts[i])))

    return OverShare(value)


def _two_cosines(share, start, middle, end):
    return _joined([share, 1 - share], [_cosine(start, middle), _cosine(middle, end)])


def _fit_one_cycle(epochs, lr_max, div=25.0, div_final=1e5, pct_start=0.25):
    if isinstance(lr_max, slice):  # spread evenly in the logarithm, over the groups
        lr_max = np.geomspace(lr_max.start, lr_max.stop, GROUPS)
    return _two_cosines(pct_start, lr_max / div, lr_max, lr_max / div_final).trained(epochs)


def _fit_flat_cos(epochs, lr, div_final=1e5, pct_start=0.75):
    return _two_cosines(pct_start, lr, lr, lr / div_final).trained(epochs)


def _fit_sgdr(n_cycles, cycle_len, lr_max, cycle_mult=2):
    lengths = [cycle_len * cycle_mult**i for i in range(n_cycles)]
    shares = [length / sum(lengths) for length in lengths]
    return _joined(shares, [_cosine(lr_max, 0.0)] * n_cycles).trained(sum(lengths))


def _sweep(low, high, exponents):
    return low * (high / low) ** np.asarray(exponents)


def _fastai_lr_find(start_lr=1e-7, end_lr=10, num_it=100, stop_div=True):
    return _sweep(start_lr, end_lr, np.arange(num_it) / num_it)


FASTAI = {
    "learn": SimpleNamespace(
        fit_one_cycle=_fit_one_cycle,
        fit_flat_cos=_fit_flat_cos,
        fit_sgdr=_fit_sgdr,
        lr_find=_fastai_lr_find,
    ),
    "combined_cos": _two_cosines,
    "combine_scheds": _joined,
    "SchedLin": _straight,
    "SchedCos": _cosine,
    "SchedExp": _exponential,
    "SchedNo": _constant,
}


# The sweeps of the other finders.


def _lightning_lr_find(_module, min_lr, max_lr, num_training, early_stop_threshold):
    done = np.arange(1, num_training + 1) / num_training
    return _sweep(min_lr, max_lr, [0.0, *done[1:]])


def _lr_finder_range_test(_loader, start_lr, end_lr, num_iter, diverge_th):
    return _sweep(start_lr, end_lr, np.arange(num_iter) / (num_iter - 1))


LIGHTNING = {
    "Tuner": lambda _trainer: SimpleNamespace(lr_find=_lightning_lr_find),
    "trainer": None,
    "module": None,
}
TORCH_LR_FINDER = {"LRFinder": lambda *_training: SimpleNamespace(range_test=_lr_finder_range_test)}


# timm: cycles that grow by `cycle_mul`, with a peak that shrinks by `cycle_decay`.


def _timm(shape):
    def scheduler(
        optimizer,
        t_initial,
        *,
        power=0.5,
        lr_min=0.0,
        cycle_mul=1.0,
        cycle_decay=1.0,
        cycle_limit=1,
        warmup_t=0,
        warmup_prefix=False,
    ):
        max_lr = optimizer.defaults["lr"]

        def rate(n):
            if n < warmup_t:
                return max_lr * n / warmup_t
            left, length, i = n - warmup_t if warmup_prefix else n, t_initial, 0
            while left >= length:
                left, length, i = left - length, length * cycle_mul, i + 1
            if i >= cycle_limit:
                return lr_min
            return lr_min + (max_lr * cycle_decay**i - lr_min) * shape(left / length, power)

        return rate

    return scheduler


def _half_wave(p, _power=None):
    return (1 + math.cos(math.pi * p)) / 2


def _poly(p, power):
    return (1 - p) ** power


TIMM = {"CosineLRScheduler": _timm(_half_wave), "PolyLRScheduler": _timm(_poly)}


# Transformers: the optimizer's rate times a factor, after a straight warmup from 0.


def _warmed(after):
    """Schedules with the factor `after(p, max_lr, **options)` at the share p after the warmup."""

    def get_schedule(optimizer, warmup, total=None, **options):
        max_lr = optimizer.defaults["lr"]

        def rate(n):
            if n < warmup:
                return max_lr * n / warmup
            share = (n - warmup) / (total - warmup) if total else 0.0
            return max_lr * after(share, max_lr, **options)

        return rate

    return get_schedule


def _with_floor(p, max_lr, min_lr):
    return min_lr / max_lr + (1 - min_lr / max_lr) * _half_wave(p)


def _hard_restarts(p, _max_lr, num_cycles):
    return _half_wave((num_cycles * p) % 1.0) if p < 1 else 0.0


def _polynomial(p, max_lr, lr_end, power):
    return (lr_end + (max_lr - lr_end) * max(0.0, 1 - p) ** power) / max_lr


def _get_wsd_schedule(optimizer, warmup, decay, total):
    max_lr = optimizer.defaults["lr"]

    def rate(n):
        if n < warmup:
            return max_lr * n / warmup
        return max_lr * _half_wave(min(1.0, max(0, n - (total - decay)) / decay))

    return rate


TRANSFORMERS = {
    "get_constant_schedule": lambda optimizer: lambda _n: optimizer.defaults["lr"],
    "get_constant_schedule_with_warmup": _warmed(lambda _p, _max_lr: 1.0),
    "get_linear_schedule_with_warmup": _warmed(lambda p, _max_lr: max(0.0, 1 - p)),
    "get_cosine_schedule_with_warmup": _warmed(lambda p, _max_lr: _half_wave(p)),
    "get_cosine_with_min_lr_schedule_with_warmup": _warmed(_with_floor),
    "get_cosine_with_hard_restarts_schedule_with_warmup": _warmed(_hard_restarts),
    "get_polynomial_decay_schedule_with_warmup": _warmed(_polynomial),
    "get_wsd_schedule": _get_wsd_schedule,
}
