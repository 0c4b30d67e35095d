"""The cycle that finds its own top: what a loop by hand does that follows the core's protocol."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import utils
from torch.utils.data import DataLoader, TensorDataset

import cyclerate.torch as ct
from cyclerate._errors import CyclerateError
from cyclerate.finder._prior import kind_of, prior_lr
from cyclerate.finder._warmup import FindingCycle
from cyclerate.torch._self_finding import _Norms
from tests.torch.workshop import copied, same

STEPS, ROWS = 150, 16
X = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
KINDS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.1),
    "tensors": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), capturable=False),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def batches(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randperm(64, generator=generator)[:ROWS] for _ in range(steps)]
    return [(X[r], Y[r]) for r in rows]


def losses_with(troubles: dict[int, float]) -> Any:
    """A mean squared error that is multiplied at some of its calls in train mode."""
    calls = iter(range(10**9))

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.mse_loss(output, target)
        return loss * troubles.get(next(calls), 1.0) if output.requires_grad else loss

    return loss_fn


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    held = [optimizer.state.get(p) for p in model.parameters()]
    return copied([[*model.state_dict().values()], held])


def put_back(model: nn.Module, optimizer: torch.optim.Optimizer, mark: Any) -> None:
    weights, optimized = copied(mark)
    with torch.no_grad():
        for own, value in zip(model.state_dict().values(), weights, strict=True):
            own.copy_(value)
    optimizer.state.clear()
    for parameter, held in zip(model.parameters(), optimized, strict=True):
        if held is not None:
            optimizer.state[parameter] = held


def by_hand(kind: str, loss_fn: Any, steps: int = STEPS, fine_tuned: bool = False) -> Any:
    """The loop of the core's own page, with marks that the test copies by itself."""
    model = network()
    optimizer = KINDS[kind](model.parameters())
    (group,) = optimizer.param_groups
    name = kind_of(
        type(optimizer).__name__,
        momentum=group.get("momentum", 0.0),
        nesterov=group.get("nesterov", False),
    )
    size = sum(p.numel() for p in model.parameters())
    prior = prior_lr(
        name, batch_size=ROWS, total_steps=steps, fine_tuned=fine_tuned, parameters=size
    )
    cycle = FindingCycle(steps, prior)
    told: dict[str, Any] = {"learning_rate": [], "momentum": [], "loss": []}
    stream, mark = iter(batches(steps)), None
    while True:
        if cycle.go_back:
            put_back(model, optimizer, mark)
        if cycle.keep:
            mark = state_of(model, optimizer)
        if cycle.done:
            return model, optimizer, told, cycle.history()
        momentum = 0.95 - (0.95 - 0.85) * cycle.height
        old = group["lr"]
        group["lr"] = old.fill_(cycle.lr) if isinstance(old, torch.Tensor) else cycle.lr
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        elif group["momentum"]:
            group["momentum"] = momentum
        told["learning_rate"].append(cycle.lr)
        told["momentum"].append(momentum)
        x, y = next(stream)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), cycle.clip_norm)
        optimizer.step()
        told["loss"].append(loss.item())
        cycle.tell(loss.item(), norm.item())


TROUBLES: dict[str, dict[int, float]] = {
    "none": {},
    "nan on the way down": {90: float("nan")},
    "nan at once": {2: float("nan")},
}


def loader(steps: int = STEPS) -> DataLoader:
    x, y = (torch.cat(parts) for parts in zip(*batches(steps), strict=True))
    return DataLoader(TensorDataset(x, y), ROWS)


@pytest.mark.parametrize("troubles", TROUBLES.values(), ids=TROUBLES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_is_the_loop_by_hand_bit_for_bit(kind, troubles):
    model = network()
    optimizer = KINDS[kind](model.parameters())
    loss_fn = losses_with(troubles)
    history = ct.fit_one_cycle(model, optimizer, loss_fn, loader(), total_steps=STEPS)
    by_hand_model, by_hand_optimizer, told, found = by_hand(kind, losses_with(troubles))
    assert same(state_of(model, optimizer), state_of(by_hand_model, by_hand_optimizer))
    assert history.finding == found
    if kind == "sgd":
        del told["momentum"]
    assert same(history.steps, told) or troubles
    assert history.steps["learning_rate"] == told["learning_rate"]
    assert len(history.steps["loss"]) == STEPS
    assert ("not finite" in [repair["why"] for repair in found["repairs"]]) == (90 in troubles)
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_the_momentum_goes_against_the_rate():
    model = network()
    optimizer = KINDS["momentum"](model.parameters())
    history = ct.fit_one_cycle(model, optimizer, nn.MSELoss(), loader(), total_steps=STEPS)
    rates, momenta = history.steps["learning_rate"], history.steps["momentum"]
    top = rates.index(history.finding["top"])
    assert (momenta[0], momenta[top]) == (0.95, 0.85)
    assert momenta[top:] == sorted(momenta[top:])
    assert momenta[-1] > 0.94
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("length", [{"max_lr": 0.1}, {}], ids=["given", "found"])
def test_a_first_beta_of_0_is_no_momentum_and_is_left_alone(length):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.0, 0.99))
    betas = []
    optimizer.register_step_pre_hook(lambda *_: betas.append(optimizer.param_groups[0]["betas"]))
    history = ct.fit_one_cycle(model, optimizer, nn.MSELoss(), loader(), total_steps=9, **length)
    assert set(betas) == {(0.0, 0.99)}
    assert "momentum" not in history.steps


@pytest.mark.parametrize(
    ("length", "steps", "epochs"),
    [
        ({"epochs": 3}, 30, 3),
        ({"total_steps": 25}, 25, 3),
        ({"total_steps": 1}, 1, 1),
        ({"epochs": 3, "accumulation_steps": 2}, 15, 3),
        ({"total_steps": 12, "accumulation_steps": 3}, 12, 4),
        ({"total_steps": 80, "find": "probe"}, 80, None),
        ({"total_steps": 400, "find": "sweep"}, 400, None),
    ],
    ids=str,
)
def test_the_steps_are_exactly_as_many_as_asked_for(length, steps, epochs):
    model = network()
    optimizer = KINDS["momentum"](model.parameters())
    taken = itertools.count()  # a list would be given back as it was before the range test
    optimizer.register_step_post_hook(lambda *_: next(taken))
    history = ct.fit_one_cycle(model, optimizer, nn.MSELoss(), loader(10), **length)
    assert next(taken) == steps
    finding = 0 if history.range_test is None else history.range_test.steps
    assert len(history.steps["loss"]) == steps - finding
    assert epochs is None or len(history.epochs["loss"]) == epochs
    assert (history.finding is None) == ("find" in length)


def test_data_that_do_not_say_how_many_batches_they_have_are_one_epoch():
    model = network()
    optimizer = KINDS["adamw"](model.parameters())
    data = lambda: iter(batches(7))  # noqa: E731
    history = ct.fit_one_cycle(model, optimizer, nn.MSELoss(), data, total_steps=20)
    assert (len(history.steps["loss"]), len(history.epochs["loss"])) == (20, 1)


def test_a_training_that_ends_above_its_beginning_ends_as_its_last_mark():
    model = network()
    optimizer = KINDS["adamw"](model.parameters())
    drift = iter(range(10**9))

    def loss_fn(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(output, target) + 0.5 * next(drift)

    history = ct.fit_one_cycle(model, optimizer, loss_fn, loader(), total_steps=STEPS)
    assert history.finding["given_back"]
    assert "the last good mark in place of a worse end" in repr(history)
    drift = iter(range(10**9))
    theirs, their_optimizer, _, found = by_hand("adamw", loss_fn)
    assert found == history.finding
    assert same(state_of(model, optimizer), state_of(theirs, their_optimizer))


class Loop:
    """A training loop of one's own that can be left and gone on with."""

    def __init__(self, kind: str, loss_fn: Any) -> None:
        self.model = network()
        self.optimizer = KINDS[kind](self.model.parameters())
        self.cycle = ct.SelfFindingCycle(self.model, self.optimizer, STEPS, batch_size=ROWS)
        self.loss_fn = loss_fn

    def go_on(self, until: int) -> None:
        for x, y in batches(STEPS)[self.cycle.steps : until]:
            self.optimizer.zero_grad()
            loss = self.loss_fn(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.cycle.step(loss)

    def saved(self) -> bytes:
        file = io.BytesIO()
        parts = (self.model, self.optimizer, self.cycle)
        torch.save([part.state_dict() for part in parts], file)
        return file.getvalue()

    def load(self, saved: bytes) -> None:
        states = torch.load(io.BytesIO(saved), weights_only=True)
        for part, state in zip((self.model, self.optimizer, self.cycle), states, strict=True):
            part.load_state_dict(state)


@pytest.mark.parametrize("at", [0, 1, 20, 60, 91, STEPS])
@pytest.mark.parametrize("kind", ["momentum", "adamw"])
def test_a_training_that_is_left_anywhere_goes_on_exactly(kind, at):
    nan = float("nan")
    whole = Loop(kind, losses_with({90: nan}))
    whole.go_on(STEPS)
    left = Loop(kind, losses_with({90: nan}))
    left.go_on(at)
    saved = left.saved()
    assert same(state_of(left.model, left.optimizer), torch_state(saved))
    resumed = Loop(kind, losses_with({90 - at: nan}))
    resumed.load(saved)
    resumed.go_on(STEPS)
    assert resumed.cycle.done
    assert resumed.cycle.found == whole.cycle.found
    assert same(state_of(resumed.model, resumed.optimizer), state_of(whole.model, whole.optimizer))
    assert len(whole.cycle.found["repairs"]) == 1
    for part in (whole, resumed):
        assert not part.optimizer._optimizer_step_pre_hooks


def torch_state(saved: bytes) -> Any:
    """What the saved model and optimizer hold: saving the mark has changed neither."""
    loop = Loop("adamw", None)
    model, optimizer, _ = torch.load(io.BytesIO(saved), weights_only=True)
    held = [optimizer["state"].get(i) for i, _ in enumerate(loop.model.parameters())]
    return [[*model.values()], held]


def test_equal_seeds_give_equal_trainings():
    ends = []
    for _ in range(2):
        model = network()
        torch.manual_seed(5)
        data = DataLoader(TensorDataset(X, Y), ROWS, shuffle=True)
        optimizer = KINDS["adamw"](model.parameters())
        history = ct.fit_one_cycle(model, optimizer, nn.MSELoss(), data, total_steps=STEPS)
        ends.append((history.finding, state_of(model, optimizer)))
    assert same(list(ends[0]), list(ends[1]))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_is_none(fused: bool):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    cycle = ct.SelfFindingCycle(model, optimizer, 30, scaler=scaler)
    skipped = 0
    for x, y in batches(STEPS):
        before = cycle.steps
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        cycle.step(loss)
        skipped += cycle.steps == before
        if cycle.done:
            break
    assert skipped > 1
    assert cycle.steps == 30
    assert cycle.found["clipped_steps"] < 10  # the norms are those of gradients at their own scale


@pytest.mark.parametrize("named", [False, True])
def test_a_gradient_that_a_closure_computes_is_clipped_as_another(named: bool):
    ends = []
    for inside in (False, True):
        model, loss_fn = network(), losses_with({100: 1e4})
        optimizer = KINDS["momentum"](model.parameters())
        cycle = ct.SelfFindingCycle(model, optimizer, STEPS, batch_size=ROWS)
        for x, y in batches(STEPS):

            def closure(x=x, y=y, model=model, optimizer=optimizer, loss_fn=loss_fn):
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                return loss

            if not inside:
                loss = closure()
                optimizer.step()
            else:
                loss = optimizer.step(closure=closure) if named else optimizer.step(closure)
            cycle.step(loss)
        ends.append([cycle.found, state_of(model, optimizer)])
    assert ends[0][0]["clipped_steps"] > 0
    assert same(*ends)


class Unhooked(torch.optim.Optimizer):
    """As Lookahead of some libraries: `Optimizer.__init__` is not called."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.inner, self.param_groups, self.state = inner, inner.param_groups, inner.state

    def step(self, closure=None):
        self.inner.step(closure)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torch.optim.LBFGS, "step needs no closure"),
        (lambda p: Unhooked(torch.optim.SGD(p)), "hooks"),
    ],
    ids=["LBFGS", "a wrapper"],
)
def test_an_optimizer_whose_steps_it_would_not_see_is_refused(make, message):
    model = network()
    with pytest.raises(ValueError, match=f"optimizer must be one whose step .*{message}|{message}"):
        ct.SelfFindingCycle(model, make(model.parameters()), STEPS)


@pytest.mark.parametrize("find", ["warmup", "probe"])
def test_the_wrapper_of_accelerate_changes_nothing(find: str):
    accelerator = pytest.importorskip("accelerate").Accelerator(cpu=True)
    ends = []
    for wrap in (lambda optimizer: optimizer, accelerator.prepare):
        model = network()
        optimizer = wrap(KINDS["sgd"](model.parameters()))
        history = ct.fit_one_cycle(
            model, optimizer, nn.MSELoss(), loader(), total_steps=90, find=find
        )
        prior = ct.recommend(model, optimizer, nn.MSELoss(), loader(), budget_steps=400).max_lr
        ends.append([prior, history.steps, state_of(model, optimizer)])
    assert same(*ends)


def test_a_scaler_that_accelerate_keeps_is_asked_for():
    model, scaler = network(), torch.amp.GradScaler("cpu")
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator(cpu=True)
    wrapped = accelerate.optimizer.AcceleratedOptimizer(
        KINDS["sgd"](model.parameters()), scaler=scaler
    )
    with pytest.raises(ValueError, match=r"scaler must be accelerator\.scaler"):
        ct.fit_one_cycle(model, wrapped, nn.MSELoss(), loader(), total_steps=9)
    history = ct.fit_one_cycle(model, wrapped, nn.MSELoss(), loader(), total_steps=9, scaler=scaler)
    assert len(history.steps["loss"]) == 9


def test_of_many_gradients_a_part_tells_the_norm_and_no_long_one_passes(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    exact, read, norms = utils.get_total_norm, [], []

    def counted(gradients: list[torch.Tensor]) -> torch.Tensor:
        read.append(len(gradients))
        return exact(gradients)

    monkeypatch.setattr(utils, "get_total_norm", counted)

    def note(*_: Any) -> None:
        norms.append(float(exact([p.grad for p in model.parameters() if p.grad is not None])))

    optimizer.register_step_pre_hook(note)
    cycle = ct.SelfFindingCycle(model, optimizer, 60, max_lr=1e-3)
    optimizer.register_step_pre_hook(note)
    outliers = {33, 38, 45}  # none of them a step at which all gradients are read anyway
    for step in range(60):
        optimizer.zero_grad()
        rows = torch.randn(16, 512)
        loss = nn.functional.mse_loss(model(rows), rows[:, :1])
        (loss * (100 if step in outliers else 1)).backward()
        optimizer.step()
        cycle.step(loss)
    assert 15 <= read.count(4) <= 35
    cut = {step for step in range(60) if norms[2 * step + 1] < norms[2 * step] / 10}
    assert outliers == cut
    assert cycle.found["clipped_steps"] == 3


def test_a_part_of_the_gradients_says_nothing_where_it_is_none_or_not_finite():
    rows = torch.ones(1024, 512)
    norms = _Norms()
    assert norms.of([rows], 1e9)[0] == pytest.approx(1024**0.5 * 512**0.5)
    assert norms.of([2 * rows], 1e9) == (pytest.approx(2 * 1024**0.5 * 512**0.5), None)
    assert norms.of([2 * rows], 0.0)[1] is not None
    assert norms.of([2 * rows], 2800.0)[1] is not None  # too near to what is clipped
    assert norms.of([rows * float("nan")], 1e9)[1].isnan()
    norms.of([torch.cat([torch.zeros(512, 512), rows[:512]])], 1e9)
    assert norms.whole_to_part is None
    assert norms.of([rows[:100]], 1e9)[1] is not None
    assert norms.whole_to_part is None


def test_thawing_goes_on_where_the_training_goes_back():
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(2)), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(ct.layer_groups(model, lr=0.1), momentum=0.9)
    history = ct.fit_one_cycle(
        model,
        optimizer,
        losses_with({12: float("nan")}),
        loader(10),
        epochs=3,
        unfreeze_epochs=1,
    )
    assert len(history.steps["loss"]) == 30
    assert all(parameter.requires_grad for parameter in model.parameters())
    low, middle, top = (group["lr"] for group in optimizer.param_groups)
    assert (low / middle, middle / top) == pytest.approx((1 / 2.6, 1 / 2.6))


def test_what_was_lent_is_given_back_after_an_error():
    model = network()
    model.eval()
    optimizer = KINDS["momentum"](model.parameters())

    def trouble(*_: Any) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ct.fit_one_cycle(model, optimizer, trouble, loader(), total_steps=STEPS)
    assert not optimizer._optimizer_step_pre_hooks
    assert optimizer.param_groups[0]["momentum"] == 0.9
    assert not any(module.training for module in model.modules())


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "options"),
        [
            ("epochs or total_steps must be given, one of them", {}),
            ("epochs or total_steps must be given", {"epochs": 1, "total_steps": 1}),
            ("total_steps must be", {"total_steps": 0}),
            ("find must be one of", {"find": "guess", "epochs": 1}),
            ("find must be left out", {"find": "probe", "max_lr": 0.1, "epochs": 1}),
            ("guard must be left out", {"find": "warmup", "guard": True, "epochs": 1}),
            ("shape must be left out", {"find": "warmup", "shape": "welch", "epochs": 1}),
            ("momentum must be", {"momentum": (0.5, 1.5), "epochs": 1}),
            ("momentum must be", {"momentum": 0.9, "epochs": 1}),
            ("fine_tuned must be", {"fine_tuned": "yes", "epochs": 1}),
            ("total_steps must be a whole number >= 80", {"find": "sweep", "total_steps": 9}),
        ],
    )
    def test_wrong_arguments_train_nothing(self, message: str, options: dict):
        model = network()
        optimizer = KINDS["momentum"](model.parameters())
        before = state_of(model, optimizer)
        with pytest.raises(ValueError, match=f"^{message}"):
            ct.fit_one_cycle(model, optimizer, nn.MSELoss(), loader(10), **options)
        assert same(state_of(model, optimizer), before)
        assert optimizer.param_groups[0]["momentum"] == 0.9
        assert not optimizer._optimizer_step_pre_hooks

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("model", (None, "optimizer", 9)),
            ("optimizer", ("model", None, 9)),
            ("total_steps", ("model", "optimizer", 0.5)),
        ],
    )
    def test_wrong_arguments_of_the_object(self, name: str, arguments: tuple):
        model = network()
        given = {"model": model, "optimizer": KINDS["adamw"](model.parameters())}
        with pytest.raises(ValueError, match=f"^{name} must be"):
            ct.SelfFindingCycle(*(given.get(a, a) if isinstance(a, str) else a for a in arguments))

    def test_a_loss_that_is_no_number(self):
        loop = Loop("adamw", None)
        wrong: list[Any] = [torch.ones(2), "1"]
        for loss in wrong:
            with pytest.raises(ValueError, match="must be a single number"):
                loop.cycle.step(loss)
        assert loop.cycle.steps == 0

    def test_a_step_after_the_last(self):
        loop = Loop("adamw", nn.MSELoss())
        loop.go_on(STEPS)
        assert loop.cycle.verdict.startswith("max_lr")
        with pytest.raises(CyclerateError, match=f"all {STEPS} steps"):
            loop.cycle.step(float("nan"))

    @pytest.mark.parametrize("state", [{}, {"cycle": {}, "mark": None}, {"cycle": 3, "mark": None}])
    def test_what_is_no_state_of_it(self, state: Any):
        with pytest.raises(ValueError, match="state_dict must be the state of a SelfFindingCycle"):
            Loop("adamw", None).cycle.load_state_dict(state)

    def test_a_state_of_another_length(self):
        loop, model = Loop("adamw", None), network()
        other = ct.SelfFindingCycle(model, KINDS["adamw"](model.parameters()), 9)
        with pytest.raises(ValueError, match="state_dict must be saved with the same total_steps"):
            loop.cycle.load_state_dict(other.state_dict())
