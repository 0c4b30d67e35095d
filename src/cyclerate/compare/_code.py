"""Code to copy: a schedule and the optimizer that follows it, in every framework.

Each text has a place for the schedule: here it is filled with one of a comparison, and the page
fills it with what is chosen there.
"""

from __future__ import annotations

import dataclasses
import keyword
from dataclasses import dataclass
from typing import Any

import cyclerate.schedules
from cyclerate.compare._answer import Answer
from cyclerate.compare._wording import whole
from cyclerate.schedules import Constant, Schedule

# Classes that both frameworks, or Keras alone, have by these names.
OPTIMIZERS = {
    *("SGD", "Adam", "AdamW", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Lion", "Ftrl", "Lamb"),
    *("Muon", "Nadam", "NAdam", "RAdam", "Rprop"),
}
_IN_TORCH = {
    *("SGD", "Adam", "AdamW", "Adamax", "Adagrad", "Adadelta", "RMSprop", "NAdam", "RAdam"),
    "Rprop",
}
_IN_OPTAX = {
    *("SGD", "Adam", "AdamW", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Lion", "Lamb"),
    *("NAdam", "RAdam", "Rprop"),
}
SCHEDULE, RATE = "{schedule}", "{rate}"
_UNKNOWN = "# Put your own optimizer here: the comparison had another one.\n"


@dataclass(frozen=True)
class Framework:
    """The code for one framework.

    Attributes:
        name: As people call it.
        code: With a schedule: `SCHEDULE` stands where its expression comes.
        constant: With one rate: `RATE` stands where it comes.
        how: What else there is to do.
    """

    name: str
    code: str
    constant: str
    how: str


def frameworks(config: dict[str, Any]) -> tuple[Framework, ...]:
    """Returns the code for a recorded optimizer in every framework.

    What is no optimizer of Keras or PyTorch with plain settings becomes an SGD with a remark. The
    settings go to the framework that they come from; to the others goes the momentum of SGD alone.
    """
    return (_keras(config), *_of_torch(config), _optax(config))


def own_framework(config: dict[str, Any]) -> int:
    """Returns the place in `frameworks` of the one that an optimizer was recorded in."""
    return 1 if config.get("framework") == "torch" else 0


def _keras(config: dict[str, Any]) -> Framework:
    remark, call = _optimizer("keras", config)
    return Framework(
        "Keras",
        "import keras\nimport cyclerate as cr\nimport cyclerate.keras as ck\n\n"
        f"{remark}schedule = {SCHEDULE}\n"
        f"optimizer = keras.optimizers.{call('learning_rate=ck.as_schedule(schedule)')}",
        f"import keras\n\n{remark}optimizer = keras.optimizers.{call(f'learning_rate={RATE}')}",
        "Compile your model with it: model.compile(optimizer=optimizer, ...).",
    )


def _of_torch(config: dict[str, Any]) -> list[Framework]:
    remark, call = _optimizer("torch", config)
    head = "import torch\nimport cyclerate as cr\nimport cyclerate.torch as ct\n\n"
    own, mine = (f"torch.optim.{call(f'{who}.parameters(), lr=schedule(0)')}" for who in _WHOSE)
    still = [f"torch.optim.{call(f'{who}.parameters(), lr={RATE}')}" for who in _WHOSE]
    rates = "rates = ct.ScheduledLR(optimizer, schedule)"
    method = "def configure_optimizers(self):  # of your LightningModule\n    "
    trainer = "trainer = Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, {}))"
    return [
        Framework(
            "PyTorch",
            f"{head}{remark}schedule = {SCHEDULE}\noptimizer = {own}\n{rates}",
            f"import torch\n\n{remark}optimizer = {still[0]}",
            "After every optimizer.step(): rates.step().",
        ),
        Framework(
            "Lightning",
            f"{head}{remark}{method}schedule = {SCHEDULE}\n    optimizer = {mine}\n    {rates}\n"
            '    cycle = {"scheduler": rates, "interval": "step"}\n'
            '    return {"optimizer": optimizer, "lr_scheduler": cycle}',
            f"import torch\n\n{remark}{method}return {still[1]}",
            "The Trainer calls it.",
        ),
        Framework(
            "Transformers",
            f"{head}from transformers import Trainer\n\n".replace("\n\nfrom", "\nfrom")
            + f"{remark}schedule = {SCHEDULE}\noptimizer = {own}\n{rates}\n"
            + trainer.format("rates"),
            "import torch\nfrom transformers import Trainer\n\n"
            f"{remark}optimizer = {still[0]}\n"
            "rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)\n"
            + trainer.format("rates"),
            "Then trainer.train().",
        ),
    ]


_WHOSE = ("model", "self")


def _optax(config: dict[str, Any]) -> Framework:
    remark, call = _optimizer("optax", config)
    return Framework(
        "Optax",
        f"import optax\nimport cyclerate as cr\n\n{remark}schedule = {SCHEDULE}\n"
        f"optimizer = optax.{call('schedule')}",
        f"import optax\n\n{remark}optimizer = optax.{call(RATE)}",
        "A schedule is one of Optax as it is.",
    )


def _optimizer(framework: str, config: dict[str, Any]) -> tuple[str, Any]:
    """A remark, "" if none is due, and a function that writes the call with further arguments."""
    known = _is_plain(config)
    name, settings = (config["class"], config["settings"]) if known else ("SGD", {})
    if framework != config.get("framework", "keras"):
        folded = {own.lower(): own for own in _FOREIGN[framework]}
        known = known and name.lower() in folded
        name = folded.get(name.lower(), "SGD")
        settings = {k: v for k, v in settings.items() if name == "SGD" and k == "momentum"}
    if framework == "optax":
        name = name.lower()
    given = [f"{key}={value!r}" for key, value in settings.items()]
    return "" if known else _UNKNOWN, lambda first: f"{name}({', '.join([first, *given])})"


_FOREIGN = {"keras": OPTIMIZERS, "torch": _IN_TORCH, "optax": _IN_OPTAX}


def filled(framework: Framework, schedule: Schedule) -> str:
    """Returns the code of a framework with a schedule.

    Its place comes before all that a record says, so the first one found is it.
    """
    if isinstance(schedule, Constant):
        return framework.constant.replace(RATE, repr(schedule.value), 1)
    return framework.code.replace(SCHEDULE, schedule_code(schedule), 1)


@dataclass(frozen=True)
class Use:
    """What to train with, after a comparison."""

    label: str
    schedule: Schedule
    remark: str  # what to change for a training of another length
    load: str  # loads the best model of the comparison, or ""
    load_label: str  # the policy that trained that one


_FOR_NEW_ROWS = """

# For new rows, a DataFrame like that of the table:
from cyclerate.tables import Preprocessing

prepare = Preprocessing.load("preprocessing.json")
answers = prepare.answers(model.predict(prepare.features(new_rows)))"""


def use(answer: Answer) -> Use | None:
    """Returns the best policy of a comparison to copy, or None if there is no best one."""
    about, row = answer.comparison.about, answer.best
    schedule = answer.comparison.schedules.get(row.policy) if row else None
    if row is None or schedule is None or not schedule_code(schedule):
        return None
    best = about.best
    remark = (
        f"Its lengths count optimizer steps: this training had {whole(about.total_steps)} "
        f"({whole(about.epochs)} epochs of {whole(about.steps_per_epoch)}). "
        "With another batch size or number of epochs, change them in proportion."
    )
    # repr makes a literal of any text, so a file's name cannot leave its quotes.
    load = "import keras\nimport cyclerate.keras\n\nmodel = keras.saving.load_model({!r})"
    if about.command:
        load += _FOR_NEW_ROWS
    return Use(
        label=answer.name(row.policy),
        schedule=schedule,
        remark="" if isinstance(schedule, Constant) else remark,
        load=load.format(best.file) if best and best.file else "",
        load_label=answer.name(best.policy) if best else "",
    )


def _is_plain(config: dict[str, Any]) -> bool:
    """Whether code can be made of it: a known class, names, and values that repr as literals."""
    settings = config.get("settings")
    return (
        config.get("class") in OPTIMIZERS
        and isinstance(settings, dict)
        and all(
            str(name).isidentifier()
            and not keyword.iskeyword(str(name))
            and isinstance(value, (bool, int, float, str, type(None)))
            for name, value in settings.items()
        )
    )


def schedule_code(schedule: Schedule) -> str:
    """Returns a schedule as Python, without the arguments that have their default.

    "" where it has a function of the user's own that cannot be imported.

    >>> import cyclerate as cr
    >>> schedule_code(cr.OneCycle(max_lr=0.1, total_steps=500, up_frac=0.2))
    'cr.OneCycle(max_lr=0.1, total_steps=500, up_frac=0.2)'
    """
    name = type(schedule).__name__
    fields = dataclasses.fields(schedule)  # type: ignore[arg-type]
    values = {field.name: getattr(schedule, field.name) for field in fields}
    plain = all(isinstance(value, (int, float, str, type(None))) for value in values.values())
    if not plain or not hasattr(cyclerate.schedules, name):
        try:
            return f"cr.from_dict({schedule.to_dict()!r})"
        except ValueError:
            return ""
    shown = [f.name for f in fields if f.default != values[f.name]]
    return f"cr.{name}({', '.join(f'{field}={values[field]!r}' for field in shown)})"
