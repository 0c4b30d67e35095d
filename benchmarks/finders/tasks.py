"""The tasks: one row each.

Which half a task belongs to follows from its name alone. The fresh tasks are a third group: chosen
before any of them was trained, and run once, on rules that were fixed by then. Later ones are in a
file of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from benchmarks.finders import data, models
from benchmarks.finders.later_tasks import LATER
from benchmarks.finders.task import Before, Task


def _mlp(*widths: int, **options: Any) -> Callable[[], nn.Module]:
    return partial(models.mlp, *widths, **options)


_CNN = partial(models.cnn, 6)
_BATCH = partial(models.resnet, 6)
_GROUP = partial(models.resnet, 8, norm="group")
_TRANSFORMER = partial(models.CharacterTransformer, 24, 1)
_RAW_TARGET = partial(data.boston, scale_target=False)

_HALVES = (
    Task("digits-softmax-sgd", data.digits, _mlp(64, 10), "sgd", 32, 200),
    Task("digits-mlp-momentum", data.digits, _mlp(64, 64, 10), "momentum", 64, 300),
    Task("digits-deep-sgd-small-batch", data.digits, _mlp(64, 32, 32, 32, 10), "sgd", 8, 2000),
    Task("digits-mlp-adam-small-batch", data.digits, _mlp(64, 64, 10), "adam", 16, 1000),
    Task(
        "digits-gru-rmsprop",
        data.digits,
        partial(models.Recurrent, models.Gru, 8, 24, 10),
        "rmsprop",
        32,
        400,
    ),
    Task(
        "digits-finetune-adamw",
        partial(data.digits_of, 5, 9),
        _mlp(64, 48, 48, 5),
        "adamw",
        32,
        300,
        before=Before(600, 1e-3, partial(data.digits_of, 0, 4)),
    ),
    Task("fashion-cnn-momentum", data.fashion, _CNN, "momentum", 32, 400),
    Task("fashion-cnn-adam", data.fashion, _CNN, "adam", 64, 300),
    Task("fashion-batchnorm-nesterov", data.fashion, _BATCH, "nesterov", 32, 200),
    Task("fashion-groupnorm-adamw", data.fashion, _GROUP, "adamw", 32, 200, {"weight_decay": 0.05}),
    Task(
        "fashion-dropout-rmsprop",
        data.fashion,
        _mlp(196, 96, 96, 10, dropout=0.3),
        "rmsprop",
        128,
        500,
    ),
    Task("fashion-mlp-sgd", data.fashion, _mlp(196, 64, 10), "sgd", 128, 600),
    Task("fashion-mlp-lion-large-batch", data.fashion, _mlp(196, 64, 10), "lion", 512, 300),
    Task(
        "fashion-cnn-half-trained-momentum",
        data.fashion,
        _CNN,
        "momentum",
        64,
        300,
        before=Before(200, 0.02),
    ),
    Task(
        "fashion-cnn-finetune-sgd",
        data.fashion,
        _CNN,
        "sgd",
        32,
        400,
        before=Before(400, 0.05, data.mnist),
    ),
    Task("mnist-cnn-lion", data.mnist, _CNN, "lion", 64, 300),
    Task("mnist-mlp-adagrad", data.mnist, _mlp(196, 64, 10), "adagrad", 128, 600),
    Task(
        "cifar-cnn-adamw", data.cifar, partial(models.cnn, 8, inputs=3, side=16), "adamw", 32, 400
    ),
    Task(
        "shakespeare-gru-adam",
        data.shakespeare,
        partial(models.CharacterRecurrent, models.Gru, 24),
        "adam",
        16,
        400,
    ),
    Task(
        "shakespeare-lstm-rmsprop",
        data.shakespeare,
        partial(models.CharacterRecurrent, models.Lstm, 24),
        "rmsprop",
        16,
        300,
    ),
    Task("shakespeare-transformer-adamw", data.shakespeare, _TRANSFORMER, "adamw", 16, 300),
    Task("shakespeare-transformer-lion", data.shakespeare, _TRANSFORMER, "lion", 16, 250),
    Task(
        "shakespeare-embedding-adagrad",
        data.shakespeare,
        partial(models.CharacterDense, 48),
        "adagrad",
        16,
        600,
    ),
    Task(
        "shakespeare-embedding-momentum",
        data.shakespeare,
        partial(models.CharacterDense, 48),
        "momentum",
        16,
        800,
    ),
    Task(
        "adult-embedding-adam",
        data.adult_codes,
        partial(models.CodesDense, 13, 200, 24),
        "adam",
        256,
        300,
    ),
    Task("adult-mlp-sgd-large-batch", data.adult, _mlp(104, 32, 2), "sgd", 512, 400),
    Task("cardio-mlp-momentum", data.cardio, _mlp(11, 48, 48, 2), "momentum", 128, 600),
    Task(
        "cardio-unscaled-adam",
        partial(data.cardio, scale=False),
        _mlp(11, 32, 32, 2),
        "adam",
        64,
        800,
    ),
    Task(
        "framingham-dropout-adamw",
        data.framingham,
        _mlp(15, 64, 64, 2, dropout=0.2),
        "adamw",
        64,
        400,
    ),
    Task(
        "framingham-unscaled-batchnorm-momentum",
        partial(data.framingham, scale=False),
        _mlp(15, 32, 32, 2, batch_norm=True),
        "momentum",
        32,
        500,
    ),
    Task("boston-raw-target-sgd", _RAW_TARGET, _mlp(13, 32, 1), "sgd", 16, 600),
    Task("boston-mlp-adam-long", data.boston, _mlp(13, 32, 32, 1), "adam", 8, 2000),
    Task("california-mlp-nesterov", data.california, _mlp(13, 48, 48, 1), "nesterov", 64, 1000),
    Task(
        "california-deep-half-trained-adam",
        data.california,
        _mlp(13, 32, 32, 32, 32, 1),
        "adam",
        64,
        600,
        before=Before(400, 2e-3),
    ),
    Task("diabetes-mlp-rmsprop", data.diabetes, _mlp(10, 32, 32, 1), "rmsprop", 32, 300),
    Task("breast-cancer-logistic-sgd-long", data.breast_cancer, _mlp(30, 2), "sgd", 16, 5000),
    Task(
        "california-unscaled-batchnorm-lion",
        partial(data.california, scale=False),
        _mlp(13, 32, 32, 1, batch_norm=True),
        "lion",
        128,
        500,
    ),
    Task(
        "mnist-batchnorm-adam-weight-decay",
        data.mnist,
        _BATCH,
        "adam",
        32,
        200,
        {"weight_decay": 5e-4},
    ),
    Task(
        "cifar-batchnorm-momentum",
        data.cifar,
        partial(models.resnet, 6, inputs=3),
        "momentum",
        32,
        300,
        {"weight_decay": 5e-4},
    ),
    Task(
        "california-mlp-momentum-small-batch",
        data.california,
        _mlp(13, 64, 64, 1),
        "momentum",
        32,
        1500,
    ),
    Task("boston-mlp-nesterov-long", data.boston, _mlp(13, 32, 32, 1), "nesterov", 16, 2000),
    Task(
        "diabetes-deep-momentum-long",
        data.diabetes,
        _mlp(10, 32, 32, 32, 1),
        "momentum",
        16,
        1200,
    ),
    Task(
        "california-half-trained-momentum",
        data.california,
        _mlp(13, 48, 48, 1),
        "momentum",
        64,
        600,
        before=Before(500, 5e-3),
    ),
    Task(
        "fashion-mlp-half-trained-adam",
        data.fashion,
        _mlp(196, 64, 10),
        "adam",
        64,
        500,
        before=Before(150, 1e-3),
    ),
    Task(
        "shakespeare-gru-half-trained-adam",
        data.shakespeare,
        partial(models.CharacterRecurrent, models.Gru, 24),
        "adam",
        16,
        500,
        before=Before(300, 5e-3),
    ),
    Task(
        "mnist-cnn-half-trained-adam",
        data.mnist,
        _CNN,
        "adam",
        32,
        400,
        before=Before(150, 2e-3),
    ),
)

_fresh = partial(Task, group="fresh")

_FRESH = (
    _fresh("wine-mlp-adamw", data.wine, _mlp(13, 24, 3), "adamw", 16, 400),
    _fresh("friedman-mlp-momentum-long", data.friedman, _mlp(10, 48, 48, 1), "momentum", 32, 3000),
    _fresh(
        "spirals-tanh-deep-adam",
        data.spirals,
        partial(models.tanh_mlp, 2, 32, 32, 32, 2),
        "adam",
        32,
        1500,
    ),
    _fresh(
        "mnist-groupnorm-nesterov",
        data.mnist,
        partial(models.resnet, 4, norm="group"),
        "nesterov",
        32,
        250,
    ),
    _fresh("fashion-autoencoder-adam", data.fashion_itself, _mlp(196, 24, 196), "adam", 64, 500),
    _fresh(
        "cifar-half-trained-momentum",
        data.cifar,
        partial(models.cnn, 8, inputs=3, side=16),
        "momentum",
        64,
        400,
        {"weight_decay": 5e-4},
        Before(300, 0.02),
    ),
    _fresh(
        "shakespeare-lstm-half-trained-adamw",
        data.shakespeare,
        partial(models.CharacterRecurrent, models.Lstm, 32),
        "adamw",
        16,
        500,
        before=Before(300, 3e-3),
    ),
    _fresh(
        "shakespeare-transformer-deep-momentum",
        data.shakespeare,
        partial(models.CharacterTransformer, 16, 2),
        "momentum",
        32,
        500,
    ),
    _fresh(
        "california-deep-rmsprop-long",
        data.california,
        _mlp(13, 24, 24, 24, 1),
        "rmsprop",
        32,
        2000,
    ),
    _fresh("adult-deep-lion", data.adult, _mlp(104, 32, 32, 32, 2), "lion", 128, 400),
    _fresh(
        "digits-finetune-nesterov",
        partial(data.digits_of, 0, 4),
        _mlp(64, 48, 48, 5),
        "nesterov",
        16,
        400,
        before=Before(500, 0.05, partial(data.digits_of, 5, 9)),
    ),
    _fresh("mnist-mlp-adagrad-large-batch", data.mnist, _mlp(196, 48, 10), "adagrad", 512, 200),
)

TASKS = _HALVES + _FRESH

EVERY = TASKS + LATER

BY_NAME = {task.name: task for task in EVERY}
