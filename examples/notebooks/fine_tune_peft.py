# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportMissingImports=false
# %% [markdown]
# # Fine-tune with PEFT and the Trainer
#
# Adapters of PEFT train a few weights beside a frozen model, and want another learning rate than
# the model did. Let the training find it. The model here is a tiny BERT that is made on the spot:
# nothing is downloaded.
#
# ```console
# $ pip install 'cyclerate[transformers]' peft
# ```
# %%
from __future__ import annotations

import tempfile

import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from cyclerate.transformers import RangeTestCallback, SelfFindingCycle

torch.manual_seed(0)
folder = tempfile.mkdtemp()


# %% [markdown]
# The task: does a sequence begin with a token of the upper half of the vocabulary? A second data
# set has the labels the other way round.
# %%
def task(swapped, rows=2048):
    tokens = torch.randint(0, 32, (rows, 8))
    labels = ((tokens[:, 0] >= 16) ^ swapped).long()
    return [{"input_ids": row, "labels": label} for row, label in zip(tokens, labels, strict=True)]


def train(model, rows, steps, callback):
    arguments = TrainingArguments(
        folder,
        max_steps=steps,
        per_device_train_batch_size=64,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=rows[256:], callbacks=[callback])
    trainer.train()
    held_out = trainer.predict(rows[:256])
    return (held_out.predictions.argmax(axis=1) == held_out.label_ids).mean()


# %% [markdown]
# The base model learns from scratch: `fine_tuned=False`.
# %%
sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
config = BertConfig(vocab_size=32, num_hidden_layers=2, max_position_embeddings=8, **sizes)
base = BertForSequenceClassification(config)
cycle = SelfFindingCycle(fine_tuned=False)
print(f"accuracy {train(base, task(swapped=False), 150, cycle):.2f}")
print(cycle.cycle.verdict)

# %% [markdown]
# LoRA adds adapters, and `get_peft_model` freezes the rest. `SelfFindingCycle` takes the place of
# `learning_rate` and of the scheduler, and expects a model that was trained before.
# %%
lora = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
adapted = get_peft_model(base, lora)
adapted.print_trainable_parameters()
cycle = SelfFindingCycle()
accuracy = train(adapted, task(swapped=True), 150, cycle)
print(f"with swapped labels: accuracy {accuracy:.2f}")
print(cycle.cycle.verdict)

# %% [markdown]
# To keep the Trainer's own scheduler, measure the rate when its training begins:
# `RangeTestCallback` sets it, and leaves all else as it was.
# %%
finder = RangeTestCallback()
train(adapted, task(swapped=False), 20, finder)
print(finder.result)

# %%
assert accuracy > 0.9
