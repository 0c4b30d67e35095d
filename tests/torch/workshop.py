"""A training with everything that a range test could leave changed, and a picture of all of it."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import cyclerate as cr
import cyclerate.torch as ct


class Net(nn.Module):
    """Buffers of both kinds, tied and frozen weights, dropout, noise, and attributes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.norm = nn.BatchNorm1d(6)
        self.frozen_norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.3)
        self.middle = nn.Linear(6, 6)
        self.again = nn.Linear(6, 6)
        self.again.weight = self.middle.weight
        self.last = nn.Linear(6, 2)
        self.last.bias.requires_grad_(False)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.noise = torch.Generator().manual_seed(5)
        self.running = torch.zeros(6)
        self.calls = 0
        self.history = []
        self.hidden = None
        self.statistics = {"sum": np.zeros(2)}

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = self.frozen_norm(self.drop(self.again(self.middle(x))))
        x = x + 0.01 * torch.randn(x.shape, generator=self.noise)
        self.calls += 1
        self.seen += 1
        self.running.add_(x.detach().mean(0))
        self.history.append(self.calls)
        self.hidden = x.detach()
        out = self.last(x)
        self.statistics["sum"] += out.detach().double().sum(0).numpy()
        return out


class Loss(nn.Module):
    """A criterion with a parameter and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.zeros(()))
        self.watch: Any = None

    def forward(self, output, target):
        loss = nn.functional.cross_entropy(output / self.temperature, target)
        self.get_buffer("mean").lerp_(loss.detach(), 0.1)
        return loss if self.watch is None else self.watch(loss)


class Noisy(Dataset):
    """Rows augmented by the generators of Python, NumPy and PyTorch, and by one of its own."""

    def __init__(self):
        self.rng = np.random.default_rng(3)
        self.x = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
        self.read = 0
        self.at: Any = lambda x: x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.read += 1
        noise = random.gauss(0, 1) + np.random.normal() + self.rng.normal()  # noqa: NPY002
        row = self.x[i] + 0.01 * float(noise) + 0.01 * torch.randn(3)
        return row if self.read % 8 else self.at(row), int(self.x[i, 0] > 0)


class InPlace(torch.utils.data.Sampler):
    """Shuffles its own list at each pass, as some do."""

    def __init__(self):
        self.order = list(range(24))
        self.places = np.arange(24)
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        random.shuffle(self.order)
        np.random.shuffle(self.places)  # noqa: NPY002
        return iter([self.order[place] for place in self.places])

    def __len__(self):
        return len(self.order)


LOADERS = {
    "shuffled": lambda: DataLoader(Noisy(), 8, shuffle=True),
    "shuffled by its own generator": lambda: DataLoader(
        Noisy(), 8, shuffle=True, generator=torch.Generator().manual_seed(9)
    ),
    "shuffled in place": lambda: DataLoader(Noisy(), 8, sampler=InPlace()),
}


class Workshop:
    """Model, criterion, optimizer, scaler, scheduler and data, in the midst of a training."""

    def __init__(self, *, trained=True, loader="shuffled by its own generator", scaled=False):
        random.seed(1)
        np.random.seed(2)  # noqa: NPY002
        torch.manual_seed(3)
        self.model, self.loss_fn = Net(), Loss()
        self.model.frozen_norm.eval()
        outside = self.model.norm.bias  # of the optimizer: gradients add up in it
        groups = [
            {"params": [p for p in self.model.parameters() if p is not outside], "lr": 0.01},
            {"params": [*self.loss_fn.parameters()], "lr": 0.001},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8) if scaled else None
        policy = cr.OneCycle(0.01, 50)
        self.scheduler = ct.ScheduledLR(
            self.optimizer, policy, policy.mirrored(0.85, 0.95), group_scale="keep"
        )
        self.loader: Any = LOADERS[loader]()
        self.hooks_called = 0
        self.model.last.register_forward_hook(self._hook)
        if trained:
            self.train(5)

    def _hook(self, module, inputs, output):
        self.hooks_called += 1

    def train(self, steps):
        """Goes on training; the last step leaves its gradients, but for one weight."""
        losses = []
        batches = (batch for _ in iter(int, 1) for batch in self.loader)
        for _, (x, y) in zip(range(steps), batches, strict=False):
            self.optimizer.zero_grad()
            loss = self.loss_fn(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        self.model.first.bias.grad = None
        return losses

    def range_test(self, **options):
        sweep = {"method": "range", "steps": 30, "start_lr": 1e-5, "end_lr": 100.0}
        options = {**sweep, "scaler": self.scaler, **options}
        return ct.range_test(self.model, self.optimizer, self.loss_fn, self.loader, **options)

    def picture(self):
        """Everything, by value, under the name of what it is."""
        model, optimizer, sampler = self.model, self.optimizer, self.loader.sampler
        weights = [*model.parameters(), *self.loss_fn.parameters()]
        return {
            "parameters": copied(weights),
            "buffers": copied([*model.buffers(), *self.loss_fn.buffers()]),
            "tensor attributes": copied(model.running),
            "attributes": copied([model.calls, model.hidden]),
            "lists": copied(model.history),
            "arrays": copied(model.statistics),
            "optimizer state": copied([optimizer.state.get(weight) for weight in weights]),
            "rates": copied([group["lr"] for group in optimizer.param_groups]),
            "groups": copied(
                [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
            ),
            "gradients": copied([weight.grad for weight in weights]),
            "requires_grad": [weight.requires_grad for weight in weights],
            "modes": [module.training for module in model.modules()],
            "hooks": [len(module._forward_hooks) for module in model.modules()],
            "random state of Python": random.getstate(),
            "random state of NumPy": copied(np.random.get_state()),  # noqa: NPY002
            "random state of PyTorch": copied(torch.get_rng_state()),
            "generator of a module": copied(model.noise.get_state()),
            "generator of the data set": copied(self.loader.dataset.rng.bit_generator.state),
            "attributes of the data set": self.loader.dataset.read,
            "generator of the loader": copied(
                self.loader.generator and self.loader.generator.get_state()
            ),
            "order of the sampler": copied(
                [getattr(sampler, name, None) for name in ("order", "places", "epoch")]
            ),
            "scaler": copied(self.scaler and self.scaler.state_dict()),
            "scheduler": self.scheduler.state_dict(),
            "called": getattr(optimizer, "_opt_called", None),
        }

    def identities(self):
        """Which objects there are: those who hold on to them must find the same ones."""
        state = [v for held in self.optimizer.state.values() for v in held.values()]
        kept = [*self.model.parameters(), *self.model.buffers(), *self.model.modules(), *state]
        return [id(thing) for thing in [*kept, *self.optimizer.param_groups, self.optimizer.state]]


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(item) for item in value]
    return value


def same(a, b):
    """Whether two pictures agree to the last bit."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


class Shadow:
    """An average of weights as many write it: tensors in a dictionary, and how many there were."""

    def __init__(self, module):
        self.module, self.updates, self.last = module, 0, None
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}
        self.log = []

    def update(self):
        self.updates += 1
        for name, p in self.module.named_parameters():
            self.values[name].lerp_(p.detach(), 0.1)
        self.last = self.module.bias.detach().clone()
        self.log.append(self.updates)


def shadow_of(shadow):
    return [shadow.values, shadow.updates, shadow.log, shadow.last]


class Everything(Workshop):
    """With all that may be reached around the model, and user code at each place, which may fail.

    `at(place, value)` is called where code of the user runs, and gives the value back.
    """

    def __init__(self):
        self.at: Any = lambda place, value=None: value
        super().__init__(scaled=True)
        self.by_closure, self.by_method, self.by_partial = (nn.BatchNorm1d(2) for _ in range(3))
        self.shadow = Shadow(self.model.last)
        self.average = torch.optim.swa_utils.AveragedModel(self.model.last)
        norm, model, average = self.by_closure, self.model.last, self.average

        def follow(module, inputs, output):
            norm(output.detach())

        model.register_forward_hook(follow)
        self.optimizer.register_step_pre_hook(lambda *_: self.at("optimizer"))
        self.optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
        shadow = self.shadow
        self.optimizer.register_step_post_hook(lambda *_: shadow.update())
        self.model.first.register_forward_pre_hook(lambda *_: self.at("forward"))
        self.loss_fn.watch = lambda loss: self.at("loss", loss)
        self.loader.dataset.at = lambda x: self.at("loader", x)

    def range_test(self, **options):
        forward = functools.partial(run_through, self.by_partial)
        told = {"metric": self.measure, "mode": "min", "autocast": False}
        return super().range_test(forward=forward, **told, **options)

    def measure(self, output, target):
        """A metric, whose owner has a module."""
        self.by_method(output)
        return nn.functional.cross_entropy(self.at("metric", output), target)

    def picture(self):
        reached = {
            "state behind a closure": self.by_closure,
            "state behind a bound method": self.by_method,
            "state behind a partial": self.by_partial,
            "the average that a hook keeps": self.average,
        }
        told = super().picture() | {
            "an average in a hook's dictionary": copied(shadow_of(self.shadow)),
            "gradients outside the optimizer": copied(self.model.norm.bias.grad),
            "hooks": [
                [*hooks]
                for m in self.model.modules()
                for hooks in (m._forward_hooks, m._backward_hooks)
            ],
        }
        return told | {name: copied([*m.state_dict().values()]) for name, m in reached.items()}


def run_through(norm, model, batch):
    """A `forward` that has a module among its arguments, and registers a hook."""
    x, y = batch
    output = model(x)
    norm(output.detach())
    model.last.register_forward_hook(lambda *_: None)
    return output, y
