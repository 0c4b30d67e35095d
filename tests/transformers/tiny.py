"""Tiny models of Transformers, made from scratch, and Trainers that write nothing."""

from __future__ import annotations

import random

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

ROWS, BATCH = 96, 16
BATCHES = ROWS // BATCH
IDS = torch.randint(2, 40, (ROWS, 6), generator=torch.Generator().manual_seed(0))


def seeded():
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)


def bert(**options):
    seeded()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=40, intermediate_size=32, max_position_embeddings=8, **sizes, **options
    )
    return BertForSequenceClassification(config)


def gpt():
    seeded()
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_positions=8, n_embd=16, n_layer=1, n_head=2, bos_token_id=0)
    )


def rows(labels=None):
    """Examples; the label says whether the first token is a high one."""
    labels = (IDS[:, 0] > 20).long() if labels is None else labels
    return [{"input_ids": i, "labels": y} for i, y in zip(IDS, labels, strict=True)]


DATA = {"bert": (bert, rows), "gpt": (gpt, lambda: rows(IDS))}


def trainer(folder, *callbacks, name="bert", model=None, optimizers=(None, None), **options):
    make, data = DATA[name]
    arguments = {
        "per_device_train_batch_size": BATCH,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        **options,
    }
    return Trainer(
        make() if model is None else model,
        TrainingArguments(str(folder), **arguments),
        train_dataset=data(),
        callbacks=[*callbacks],
        optimizers=optimizers,
    )


class Picture(TrainerCallback):
    """Keeps by value all that there is when a training begins, and when it ends."""

    def __init__(self):
        self.begun = self.ended = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.begun = picture(state, kwargs)

    def on_train_end(self, args, state, control, **kwargs):
        self.ended = picture(state, kwargs)


def picture(state, kwargs):
    model, optimizer = kwargs["model"], kwargs["optimizer"]
    sampler = kwargs["train_dataloader"].base_dataloader.sampler
    logged = [{k: v for k, v in entry.items() if "train_" not in k} for entry in state.log_history]
    return copied(
        {
            "weights": model.state_dict(),
            "gradients": [p.grad for p in model.parameters()],
            "modes": [part.training for part in model.modules()],
            "optimizer": optimizer.state_dict(),
            "scheduler": kwargs["lr_scheduler"].state_dict(),
            "python": list(random.getstate()[1]),
            "numpy": np.random.get_state(legacy=False)["state"]["key"],  # noqa: NPY002
            "torch": torch.get_rng_state(),
            "sampler": [getattr(sampler, name, None) for name in ("epoch", "initial_seed")],
            "loader": kwargs["train_dataloader"].iteration,
            "state": [state.global_step, state.epoch, state.max_steps],
            "logged": [entry for entry in logged if "range_test_steps" not in entry],
        }
    )


def copied(value):
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return torch.as_tensor(value).detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, (list, tuple)) else value
