"""Later tasks: more fresh ones, and fine-tuning, of which half is fresh.

The fresh ones were written down before any of them was trained; nothing is tuned on them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from benchmarks.finders import adapting, data, later_models as later, models, parts
from benchmarks.finders.task import Before, Task

_new_fresh = partial(Task, group="new fresh")
_tuned = partial(Task, group="fine-tuning")
_tuned_fresh = partial(Task, group="fine-tuning fresh")


def _mlp(*widths: int, **options: Any) -> Callable[[], nn.Module]:
    return partial(models.mlp, *widths, **options)


_CNN = partial(models.cnn, 6)

_NEW_FRESH = (
    _new_fresh("iris-mlp-adam-short", parts.iris, _mlp(4, 16, 3), "adam", 16, 150),
    _new_fresh(
        "moons-norm-adamw-long",
        parts.moons,
        partial(later.norm_mlp, 2, 24, 24, 2),
        "adamw",
        32,
        2500,
    ),
    _new_fresh(
        "framingham-deep-momentum",
        data.framingham,
        _mlp(15, 32, 32, 32, 2),
        "momentum",
        64,
        400,
    ),
    _new_fresh("cardio-mlp-rmsprop-large-batch", data.cardio, _mlp(11, 48, 2), "rmsprop", 512, 300),
    _new_fresh(
        "boston-residual-adamw",
        data.boston,
        partial(later.residual_mlp, 13, 24, 2, 1),
        "adamw",
        32,
        800,
        {"weight_decay": 0.1},
    ),
    _new_fresh("diabetes-mlp-sgd-long", data.diabetes, _mlp(10, 24, 1), "sgd", 16, 2000),
    _new_fresh("digits-mixer-adam", data.digits, partial(later.Mixer, 8, 8, 10), "adam", 64, 600),
    _new_fresh(
        "fashion-separable-nesterov", data.fashion, later.separable_cnn, "nesterov", 64, 300
    ),
    _new_fresh(
        "mnist-autoencoder-momentum", parts.mnist_itself, _mlp(196, 24, 196), "momentum", 64, 600
    ),
    _new_fresh("cifar-mlp-lion", data.cifar, _mlp(768, 32, 10), "lion", 64, 400),
    _new_fresh(
        "shakespeare-conv-adam",
        data.shakespeare,
        partial(later.CharacterConv, 24),
        "adam",
        32,
        400,
    ),
    _new_fresh(
        "waves-sines-adagrad", parts.waves, partial(later.Sines, 24, 24), "adagrad", 64, 1000
    ),
    _new_fresh(
        "adult-mlp-nesterov-small-batch", data.adult, _mlp(104, 24, 2), "nesterov", 16, 1500
    ),
    _new_fresh(
        "breast-cancer-mlp-lion-short", data.breast_cancer, _mlp(30, 24, 2), "lion", 32, 150
    ),
    _new_fresh("counts-mlp-sgd", parts.counts, _mlp(10, 32, 32, 1), "sgd", 64, 700),
    _new_fresh(
        "shakespeare-transformer-rmsprop-short",
        data.shakespeare,
        partial(models.CharacterTransformer, 16, 1),
        "rmsprop",
        32,
        200,
    ),
)

_TUNED = (
    _tuned(
        "digits-frozen-adam",
        partial(data.digits_of, 5, 9),
        _mlp(64, 48, 48, 5),
        "adam",
        32,
        300,
        before=Before(500, 2e-3, partial(data.digits_of, 0, 4), adapting.frozen_body),
    ),
    _tuned(
        "fashion-frozen-cnn-momentum",
        data.fashion,
        _CNN,
        "momentum",
        32,
        300,
        before=Before(400, 0.03, data.mnist, adapting.frozen_body),
    ),
    _tuned(
        "mnist-adapters-adamw",
        data.mnist,
        _mlp(196, 64, 64, 10),
        "adamw",
        32,
        400,
        before=Before(500, 2e-3, data.fashion, adapting.adapters_and_new_head),
    ),
    _tuned(
        "capitals-transformer-adapters-adam",
        parts.shakespeare_in_capitals,
        partial(models.CharacterTransformer, 24, 1),
        "adam",
        16,
        300,
        before=Before(500, 5e-3, data.shakespeare, adapting.adapters),
    ),
    _tuned(
        "california-by-layer-momentum",
        partial(parts.side, data.california, 0, above=True),
        _mlp(13, 48, 48, 1),
        "momentum",
        64,
        500,
        before=Before(
            600, 0.01, partial(parts.side, data.california, 0, above=False), adapting.by_layer
        ),
    ),
    _tuned(
        "adult-half-trained-rmsprop",
        data.adult,
        _mlp(104, 32, 2),
        "rmsprop",
        128,
        400,
        before=Before(60, 1e-3),
    ),
    _tuned(
        "digits-half-trained-sgd",
        data.digits,
        _mlp(64, 48, 10),
        "sgd",
        32,
        600,
        before=Before(300, 0.05),
    ),
    _tuned(
        "cardio-moved-adamw",
        partial(parts.side, data.cardio, 0, above=True),
        _mlp(11, 48, 48, 2),
        "adamw",
        64,
        400,
        before=Before(
            400, 3e-3, partial(parts.side, data.cardio, 0, above=False), adapting.as_it_is
        ),
    ),
)

_TUNED_FRESH = (
    _tuned_fresh(
        "fashion-frozen-mlp-adamw",
        data.fashion,
        _mlp(196, 64, 48, 10),
        "adamw",
        64,
        300,
        before=Before(500, 2e-3, data.mnist, adapting.frozen_body),
    ),
    _tuned_fresh(
        "digits-new-head-rmsprop",
        partial(data.digits_of, 0, 4),
        _mlp(64, 48, 32, 5),
        "rmsprop",
        16,
        250,
        before=Before(400, 1e-3, partial(data.digits_of, 5, 9), adapting.new_head),
    ),
    _tuned_fresh(
        "cifar-adapters-adam",
        partial(parts.classes, data.cifar, 5, 9),
        _mlp(768, 48, 48, 5),
        "adam",
        32,
        400,
        before=Before(
            500, 1e-3, partial(parts.classes, data.cifar, 0, 4), adapting.adapters_and_new_head
        ),
    ),
    _tuned_fresh(
        "capitals-transformer-adapters-momentum",
        parts.shakespeare_in_capitals,
        partial(models.CharacterTransformer, 16, 1),
        "momentum",
        32,
        300,
        before=Before(400, 0.1, data.shakespeare, adapting.adapters),
    ),
    _tuned_fresh(
        "framingham-by-layer-nesterov",
        partial(parts.side, data.framingham, 0, above=True),
        _mlp(15, 32, 32, 2),
        "nesterov",
        32,
        400,
        before=Before(
            400, 0.02, partial(parts.side, data.framingham, 0, above=False), adapting.by_layer
        ),
    ),
    _tuned_fresh(
        "friedman-half-trained-adam",
        data.friedman,
        _mlp(10, 32, 32, 1),
        "adam",
        32,
        800,
        before=Before(150, 2e-3),
    ),
    _tuned_fresh(
        "mnist-cnn-moved-lion",
        parts.mnist_upside_down,
        _CNN,
        "lion",
        64,
        300,
        before=Before(300, 1e-3, data.mnist, adapting.as_it_is),
    ),
    _tuned_fresh(
        "adult-half-trained-momentum",
        data.adult,
        _mlp(104, 32, 32, 2),
        "momentum",
        64,
        500,
        before=Before(60, 0.01),
    ),
    _tuned_fresh(
        "capitals-embedding-adamw",
        parts.shakespeare_in_capitals,
        partial(models.CharacterDense, 48),
        "adamw",
        16,
        500,
        before=Before(600, 3e-3, data.shakespeare, adapting.as_it_is),
    ),
    _tuned_fresh(
        "friedman-changed-new-head-sgd",
        parts.friedman_changed,
        _mlp(10, 48, 48, 1),
        "sgd",
        32,
        700,
        before=Before(800, 0.05, data.friedman, adapting.new_head),
    ),
)

LATER = _NEW_FRESH + _TUNED + _TUNED_FRESH
