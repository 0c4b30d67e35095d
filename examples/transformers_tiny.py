"""Transformers: a small BERT made from scratch, and the callback that finds its Trainer's rate.

The task: is the first token of the sequence one of the upper half of the vocabulary?

pip install 'cyclerate[transformers]'
python examples/transformers_tiny.py
"""

from __future__ import annotations

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.transformers import RangeTestCallback

STEPS, VOCABULARY, LENGTH = 80, 32, 8

torch.manual_seed(0)
tokens = torch.randint(0, VOCABULARY, (1200, LENGTH))
labels = (tokens[:, 0] >= VOCABULARY // 2).long()
rows = [{"input_ids": row, "labels": label} for row, label in zip(tokens, labels, strict=True)]

model = BertForSequenceClassification(
    BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LENGTH,
    )
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
# The callback multiplies the cycle such that its highest rate is the found one.
cycle = cr.OneCycle(max_lr=1e-3, total_steps=STEPS)
scheduler = ct.ScheduledLR(optimizer, cycle, momentum=cycle.mirrored(low=0.85, high=0.95))
finder = RangeTestCallback()

with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=64,
            save_strategy="no",
            logging_steps=40,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=rows[:1000],
        callbacks=[finder],
        optimizers=(optimizer, scheduler),
    )
    trainer.train()
    predicted = trainer.predict(rows[1000:]).predictions.argmax(axis=1)

print(finder.result)
print(f"the cycle's highest rate is {scheduler.max_lr:.2g}")
accuracy = (predicted == labels[1000:].numpy()).mean()
print(f"accuracy on the {len(predicted)} sequences held out: {accuracy:.3f}")
assert accuracy > 0.9
