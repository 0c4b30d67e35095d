"""The callback for the Trainer finds a rate, sets it, and leaves all else as it was."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD, AdamW
from transformers import Trainer, get_cosine_schedule_with_warmup

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.transformers import RangeTestCallback
from tests.torch.workshop import same
from tests.transformers.tiny import BATCH, BATCHES, IDS, Picture, bert, gpt, picture, rows, trainer

QUICK = {"method": "range", "steps": 25, "start_lr": 1e-4, "end_lr": 3.0}
SHORT = {**QUICK, "steps": 10}  # where the answer does not matter
FOR_SGD = {"method": "range", "steps": 50, "start_lr": 1e-3, "end_lr": 100.0}

SETUPS = {
    "bert": {},
    "gpt": {"name": "gpt"},
    "accumulated": {"gradient_accumulation_steps": 2},
    "bf16": {"bf16": True},
    "smoothed": {"label_smoothing_factor": 0.1},
    "warmed up": {"warmup_steps": 2, "lr_scheduler_type": "cosine"},
}


def differences(a, b):
    return [name for name in a if not same(a[name], b[name])]


@pytest.mark.parametrize("setup", SETUPS)
def test_training_goes_on_as_if_there_had_been_no_test(setup, tmp_path):
    tried, twin = Picture(), Picture()
    test = RangeTestCallback(apply=False, stop_early=False, **SHORT)
    trainer(tmp_path, test, tried, **SETUPS[setup]).train()
    trainer(tmp_path, twin, **SETUPS[setup]).train()
    assert len(test.result.lrs) == 10
    assert differences(tried.begun, twin.begun) == []
    assert differences(tried.ended, twin.ended) == []
    assert [*tmp_path.iterdir()] == []


def test_so_it_does_after_a_probe(tmp_path):
    tried, twin = Picture(), Picture()
    test = RangeTestCallback(apply=False, steps=15, max_steps=45, end_lr=1.0)
    trainer(tmp_path, test, tried, max_steps=2).train()
    trainer(tmp_path, twin, max_steps=2).train()
    assert test.result.method == "probe"
    assert test.result.steps > 15
    assert differences(tried.ended, twin.ended) == []


class Trouble(Exception):
    pass


@pytest.mark.parametrize("error", [Trouble, KeyboardInterrupt])
def test_everything_comes_back_after_an_error(error, tmp_path):
    before, after, calls = Picture(), [], []

    def failing(model, batch):
        calls.append(1)
        if len(calls) == 8:
            raise error
        return model(**batch).loss

    class Watched(RangeTestCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            try:
                super().on_train_begin(args, state, control, **kwargs)
            finally:
                after.append(picture(state, kwargs))

    test = Watched(compute_loss=failing, **QUICK)
    with pytest.raises(error):
        trainer(tmp_path, before, test).train()
    assert differences(before.begun, after[0]) == []
    assert test.result is None


def found_by(folder, *, test=None, **options):
    test = test or RangeTestCallback(apply=False, stop_early=False, **SHORT)
    trainer(folder, test, max_steps=options.pop("max_steps", 1), **options).train()
    return test.result


def ordered(name):
    """The batches as the Trainer's loader gives them, in the order of a sweep of the same seed."""
    data = rows() if name == "bert" else rows(IDS)
    return torch.utils.data.DataLoader(data, BATCH)  # pyright: ignore[reportArgumentType] - a list will do


def in_order(folder, **options):
    return found_by(folder, train_sampling_strategy="sequential", **options)


BY_PYTORCH = {
    "bert": ("bert", {}, {}),
    "gpt": ("gpt", {}, {}),
    "clipped": ("bert", {"max_grad_norm": 0.01}, {"clip_grad_norm": 0.01}),
    "accumulated": ("bert", {"gradient_accumulation_steps": 3}, {"accumulation_steps": 3}),
    "bf16": ("bert", {"bf16": True}, {"autocast": torch.bfloat16}),
}


@pytest.mark.parametrize("setup", BY_PYTORCH)
def test_a_step_is_that_of_the_trainer(setup, tmp_path):
    name, options, same_options = BY_PYTORCH[setup]
    model = bert() if name == "bert" else gpt()
    found = in_order(tmp_path, name=name, max_grad_norm=options.pop("max_grad_norm", 0), **options)
    expected = ct.range_test(
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0),
        None,
        ordered(name),
        forward=lambda model, batch: model(**batch).loss,
        stop_early=False,
        **same_options,
        **SHORT,
    )
    torch.testing.assert_close(
        torch.tensor(found.losses), torch.tensor(expected.losses), rtol=1e-3, atol=1e-4
    )


def test_smoothed_labels_are_those_of_the_trainer(tmp_path):
    for name in ("bert", "gpt"):
        smoothed = found_by(tmp_path, name=name, label_smoothing_factor=0.2)
        plain = found_by(tmp_path, name=name)
        host = trainer(tmp_path, name=name, label_smoothing_factor=0.2)
        test = RangeTestCallback(
            apply=False,
            stop_early=False,
            compute_loss=lambda model, batch, host=host: host.compute_loss(model, dict(batch)),
            **SHORT,
        )
        expected = found_by(tmp_path, name=name, test=test)
        assert smoothed.losses.tolist() == expected.losses.tolist()
        assert abs(smoothed.losses[0] - plain.losses[0]) > 1e-6


def rates(host):
    return [group["lr"] for group in host.optimizer.param_groups]


class Rates(Picture):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.seen.append([group["lr"] for group in kwargs["optimizer"].param_groups])


@pytest.mark.parametrize(
    "options",
    [
        {"lr_scheduler_type": "constant"},
        {"lr_scheduler_type": "linear", "warmup_steps": 2},
        {"lr_scheduler_type": "cosine"},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    ],
    ids=lambda options: options["lr_scheduler_type"],
)
def test_training_has_the_rates_of_one_that_knew_it_from_the_beginning(options, tmp_path):
    test, seen, expected = RangeTestCallback(**QUICK), Rates(), Rates()
    trainer(tmp_path, test, seen, **options).train()
    rate = test.result.max_lr
    assert 1e-3 < rate < 1.0
    trainer(tmp_path, expected, learning_rate=rate, **options).train()
    assert len(seen.seen) == 4
    torch.testing.assert_close(
        torch.tensor(seen.seen), torch.tensor(expected.seen), rtol=1e-6, atol=0.0
    )


def test_own_optimizer_and_scheduler(tmp_path):
    model = bert()
    groups = [
        {"params": model.classifier.parameters(), "lr": 0.1},
        {"params": model.bert.parameters(), "lr": 0.01},
    ]
    optimizer = SGD(groups, momentum=0.9)
    schedule = cr.OneCycle(0.1, total_steps=4)
    scheduler = ct.ScheduledLR(optimizer, schedule, group_scale="keep")
    test, seen = RangeTestCallback(**FOR_SGD), Rates()
    trainer(tmp_path, test, seen, model=model, optimizers=(optimizer, scheduler)).train()
    rate = test.result.max_lr
    assert rate is not None
    expected = cr.OneCycle(rate, total_steps=4)([0, 1, 2, 3])
    assert scheduler.max_lr == rate != 0.1
    assert [row[0] for row in seen.seen] == pytest.approx(expected.tolist(), rel=1e-12)
    assert [row[1] for row in seen.seen] == pytest.approx((0.1 * expected).tolist(), rel=1e-12)
    again = ct.ScheduledLR(optimizer, cr.OneCycle(rate, total_steps=4), group_scale="keep")
    again.load_state_dict(scheduler.state_dict())
    assert again.last_epoch == 4


def test_own_optimizer_with_the_scheduler_of_transformers(tmp_path):
    model = bert()
    optimizer = AdamW(model.parameters(), lr=0.5)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 1, 4)
    test = RangeTestCallback(**QUICK)
    trainer(tmp_path, test, model=model, optimizers=(optimizer, scheduler)).train()
    assert scheduler.base_lrs == [test.result.max_lr]


def test_the_answer_is_in_the_log_history_and_the_curve_is_whole(tmp_path):
    test = RangeTestCallback(**{**QUICK, "stop_early": False})
    host = trainer(tmp_path, test, max_steps=2)
    host.train()
    assert len(test.result.lrs) == 25
    first, *others = host.state.log_history
    assert first == {
        "range_test_max_lr": test.result.max_lr,
        "range_test_base_lr": test.result.base_lr,
        "range_test_steps": 25,
        "epoch": 0,
        "step": 0,
    }
    assert [entry["step"] for entry in others] == [1, 2, 2]


def test_without_a_clear_answer_the_rate_stays(tmp_path, caplog):
    test = RangeTestCallback(method="range", steps=20, start_lr=1e-9, end_lr=1e-8)
    host = trainer(tmp_path, test, lr_scheduler_type="constant")
    host.train()
    assert test.result.max_lr is None
    assert rates(host) == [1e-3, 1e-3]
    assert "No clear answer, the rate stays as it is" in caplog.text
    assert host.state.log_history[0] == {"range_test_steps": 20, "epoch": 0, "step": 0}


def test_a_training_that_goes_on_is_not_tested(tmp_path):
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "save_only_model": False}
    test, whole = RangeTestCallback(**QUICK), Rates()
    trainer(tmp_path, test, whole, **options).train()
    later, rest = RangeTestCallback(**QUICK), Rates()
    host = trainer(tmp_path, later, rest, **options)
    host.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert later.result is None
    assert rest.seen == whole.seen[2:]
    assert host.state.log_history[0]["range_test_max_lr"] == test.result.max_lr


def test_the_length_of_the_training_is_told(tmp_path, monkeypatch):
    told = []
    real = ct.range_test

    def spy(*args, **options):
        told.append(options["settings"].horizon_steps)
        return real(*args, **options)

    monkeypatch.setattr(ct, "range_test", spy)
    found_by(tmp_path, max_steps=3)
    found_by(tmp_path, max_steps=-1, num_train_epochs=2)
    found_by(tmp_path, test=RangeTestCallback(horizon_steps=50, **SHORT))
    assert told == [3, 2 * BATCHES, 50]


class Own(Trainer):
    """A Trainer whose loss is its own, and teaches nothing."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = 0 * outputs.loss + 1.0
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize("own", ["subclass", "compute_loss_func"])
def test_what_is_tested_is_what_is_trained(own, tmp_path):
    test = RangeTestCallback(**SHORT)
    host = trainer(tmp_path, test, max_steps=1)
    if own == "subclass":
        host.__class__ = Own
    else:
        host.compute_loss_func = lambda outputs, labels, num_items_in_batch: (
            0 * outputs["logits"].sum() + 1.0
        )
    host.train()
    assert test.result.losses.tolist() == [1.0] * len(test.result.losses)


def test_races_are_scored_by_score_fn(tmp_path):
    score = lambda model, batch: torch.tensor(float(model.training))  # noqa: E731
    test = RangeTestCallback(apply=False, score_fn=score, steps=15, max_steps=45, end_lr=1.0)
    trainer(tmp_path, test, max_steps=1).train()
    assert {score for _, score in test.result.races} <= {0.0, None}


def test_a_model_without_a_loss_is_refused(tmp_path):
    test = RangeTestCallback(compute_loss=None, **QUICK)
    host = trainer(tmp_path, test)
    host.train_dataset = [{"input_ids": i} for i in IDS]
    with pytest.raises(ValueError, match="compute_loss must be given for a model that returns no"):
        host.train()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"end_lr": 1e-9}, "end_lr"),
        ({"compute_loss": "own"}, "compute_loss"),
        ({"apply": 2}, "apply"),
        ({"policy": "none"}, "policy"),
        ({"max_steps": 5}, "max_steps"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        RangeTestCallback(**options)
