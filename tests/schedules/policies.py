"""Hypothesis strategies for every policy, and one plain example of each."""

from __future__ import annotations

from hypothesis import strategies as st

import cyclerate as cr

SHAPES = ("triangle", "linear", "cosine", "welch")

rates = st.floats(min_value=1e-8, max_value=10.0)
ordered_rates = st.tuples(rates, rates).map(sorted)
lengths = st.integers(1, 3000)
fractions = st.floats(0, 1)
steps = st.integers(0, 100_000)
shapes = st.sampled_from(SHAPES)


def halved(cycle):
    return 0.5 ** (cycle - 1)


def shrunk(step):
    return 1.0 / (1.0 + step * 0.001)


constants = st.builds(cr.Constant, rates)
linears = st.builds(cr.Linear, rates, rates, lengths)
exponentials = st.builds(cr.Exponential, rates, rates, lengths)
cosines = st.builds(cr.Cosine, rates, rates, lengths)
polynomials = st.builds(cr.Polynomial, rates, rates, lengths, st.sampled_from([0.5, 1.0, 2.0, 3.0]))
ramps = st.one_of(linears, exponentials, cosines, polynomials)


def _cyclic(kind, **more):
    return st.builds(
        lambda pair, up, down, shape, **extra: kind(
            pair[0], pair[1], up, step_size_down=down, shape=shape, **extra
        ),
        ordered_rates,
        lengths,
        st.none() | lengths,
        shapes,
        **more,
    )


triangulars = _cyclic(cr.Triangular)
triangular2s = _cyclic(cr.Triangular2)
exp_ranges = _cyclic(cr.ExpRange, gamma=st.floats(0.99, 1.0))
cyclics = _cyclic(
    cr.Cyclic,
    scale_fn=st.sampled_from([None, halved, shrunk]),
    scale_mode=st.sampled_from(["cycle", "step"]),
)
cycles = st.one_of(triangulars, triangular2s, exp_ranges, cyclics)

one_cycles = st.builds(
    lambda max_lr, total, up, start_div, end_div, shape, three: cr.OneCycle(
        max_lr, total, up / 2 if three else up, start_div, end_div, shape, three
    ),
    rates,
    lengths,
    fractions,
    st.floats(1, 100),
    st.floats(1, 1e5),
    st.sampled_from(["cosine", "linear", "triangle"]),
    st.booleans(),
)
cos_logs = st.builds(cr.CosLog, rates, lengths, st.integers(1, 6))
restarts = st.builds(
    lambda pair, steps, mult: cr.WarmRestarts(pair[1], steps, mult, pair[0]),
    ordered_rates,
    lengths,
    st.sampled_from([1, 1.5, 2, 3]),
)
warmup_stable_decays = st.builds(
    lambda pair, total, warmup, decay, shape: cr.WarmupStableDecay(
        pair[1], total, warmup, decay * (1 - warmup), shape, pair[0]
    ),
    ordered_rates,
    lengths,
    fractions,
    fractions,
    st.sampled_from(["sqrt", "linear", "cosine"]),
)
sequences = st.builds(
    lambda a, b, at: cr.Sequence([a, b], [at]), ramps, st.one_of(cycles, restarts), lengths
)

finite = st.one_of(one_cycles, warmup_stable_decays, cos_logs)
policies = st.one_of(constants, ramps, cycles, finite, restarts, sequences)

long = st.integers(0, 61).flatmap(lambda bits: st.integers(2**bits, 2 ** (bits + 1) - 1))
gammas = st.sampled_from([1e-9, 0.5, 0.99, 0.99994, 1 - 1e-12, 1.0])
far_policies = st.one_of(
    st.builds(cr.Linear, rates, rates, long),
    st.builds(cr.Cosine, rates, rates, long),
    st.builds(cr.Polynomial, rates, rates, long),
    st.builds(cr.Exponential, rates, rates, long),
    st.builds(
        lambda pair, up, shape: cr.Triangular(pair[0], pair[1], up, None, shape),
        ordered_rates,
        long,
        shapes,
    ),
    st.builds(lambda pair, up: cr.Triangular2(pair[0], pair[1], up), ordered_rates, long),
    st.builds(
        lambda pair, up, gamma: cr.ExpRange(pair[0], pair[1], up, gamma),
        ordered_rates,
        long,
        gammas,
    ),
    st.builds(cr.OneCycle, rates, long),
    st.builds(cr.CosLog, rates, long, st.integers(1, 20)),
    st.builds(cr.WarmRestarts, rates, long, st.sampled_from([1, 1.5, 2])),
    st.builds(cr.WarmupStableDecay, rates, long),
)

EXAMPLES = [
    cr.Constant(0.01),
    cr.Linear(0.001, 0.1, 700),
    cr.Exponential(1e-7, 10.0, 99),
    cr.Cosine(0.1, 1e-5, 700),
    cr.Polynomial(0.1, 0.0, 700, power=2.0),
    cr.Polynomial(0.0, 0.1, 700, power=2.0),
    cr.Triangular(1e-4, 1e-2, 40),
    cr.Triangular(1e-4, 1e-2, 30, step_size_down=7, shape="cosine"),
    cr.Triangular2(1e-4, 1e-2, 40, shape="welch"),
    cr.ExpRange(1e-4, 1e-2, 40, gamma=0.9994),
    cr.Cyclic(1e-4, 1e-2, 40, scale_fn=halved),
    cr.Cyclic(1e-4, 1e-2, 40, 20, "cosine", shrunk, "step"),
    cr.OneCycle(0.1, 500),
    cr.OneCycle(0.1, 500, shape="linear", three_phase=True),
    cr.CosLog(0.1, 500),
    cr.WarmRestarts(0.1, 100),
    cr.WarmRestarts(0.1, 10, cycle_mult=3, min_lr=1e-4),
    cr.WarmRestarts(0.1, 10, cycle_mult=1.5),
    cr.WarmupStableDecay(0.1, 600),
    cr.WarmupStableDecay(0.1, 600, decay="cosine", min_lr=1e-3),
    cr.Sequence([cr.Linear(0.0, 0.1, 50), cr.WarmRestarts(0.1, 100)], [50]),
    cr.OneCycle(0.1, 500).mirrored(0.85, 0.95),
]
