"""What to do with the answer: the code that trains with the policy that came out best."""

from __future__ import annotations

import dataclasses
import keyword
import re
from dataclasses import dataclass

import cyclerate.schedules
from cyclerate.compare._headline import policy_name
from cyclerate.compare._ranking import rank
from cyclerate.compare._rates import schedule_of
from cyclerate.compare._record import Record
from cyclerate.compare._wording import count
from cyclerate.schedules import Constant, Schedule

OPTIMIZERS = (
    "SGD",
    "Adam",
    "AdamW",
    "Adamax",
    "Adagrad",
    "Adadelta",
    "Nadam",
    "RMSprop",
    "Lion",
    "Ftrl",
    "Lamb",
    "Muon",
)
# "SGD (momentum 0.9, nesterov)" or "SGD(momentum=0.9, nesterov=True)": nothing but a known class,
# names and numbers.
CALL = re.compile(r"(?:keras\.optimizers\.)?([A-Za-z]+) ?(?:\(([^()]*)\))?")
SETTING = re.compile(
    r"([a-z_]\w*)(?: ?[= ] ?(True|False|None|[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?))?", re.ASCII
)


@dataclass(frozen=True)
class NextSteps:
    """Code to copy.

    Attributes:
        label: What the policy it trains with is called.
        code: Python that makes the optimizer; runnable as it is.
        remark: What to change for a training of another length, or "".
        load: Python that loads the best model of the comparison, or "".
        load_label: The policy that trained that model, or "".
    """

    label: str
    code: str
    remark: str
    load: str
    load_label: str


def next_steps(record: Record) -> NextSteps | None:
    """Returns the code for the best policy of a record, or None if there is no best one."""
    best = rank(record).best
    policies = [policy for policy in record.policies if best and policy.name == best.policy]
    schedule = schedule_of(policies[0]) if policies else None
    if schedule is None:
        return None
    return NextSteps(
        label=policy_name(record, policies[0].name),
        code=optimizer_code(schedule, record.model.optimizer),
        remark=_remark(record, schedule),
        load=_load_code(record),
        load_label=policy_name(record, record.best.policy) if record.best else "",
    )


def optimizer_code(schedule: Schedule, optimizer: str) -> str:
    """Returns Python that makes a Keras optimizer with a schedule's rates.

    Args:
        schedule: The rates.
        optimizer: The optimizer as a record describes it, such as "SGD (momentum 0.9)". What is
            not a Keras optimizer with plain settings becomes a plain SGD with a remark: text of a
            file never turns into code.
    """
    understood = _optimizer(optimizer)
    name, settings = understood or ("SGD", [])
    constant = isinstance(schedule, Constant)
    rates = repr(schedule.value) if constant else "ck.as_schedule(schedule)"
    call = f"keras.optimizers.{name}({', '.join([f'learning_rate={rates}', *settings])})"
    lines = ["import keras"]
    if not constant:
        lines += ["import cyclerate as cr", "import cyclerate.keras as ck"]
    lines.append("")
    if understood is None:
        lines.append("# Put your own optimizer here: the comparison had another one.")
    if not constant:
        lines.append(f"schedule = {schedule_code(schedule)}")
    return "\n".join([*lines, f"optimizer = {call}"])


def schedule_code(schedule: Schedule) -> str:
    """Returns a schedule as Python, without the arguments that have their default.

    >>> import cyclerate as cr
    >>> schedule_code(cr.OneCycle(max_lr=0.1, total_steps=500, up_frac=0.2))
    'cr.OneCycle(max_lr=0.1, total_steps=500, up_frac=0.2)'
    """
    name = type(schedule).__name__
    fields = dataclasses.fields(schedule)  # type: ignore[arg-type]
    values = {field.name: getattr(schedule, field.name) for field in fields}
    plain = all(isinstance(value, (int, float, str, type(None))) for value in values.values())
    if not plain or not hasattr(cyclerate.schedules, name):
        return f"cr.from_dict({schedule.to_dict()!r})"
    shown = [f.name for f in fields if f.default != values[f.name]]
    return f"cr.{name}({', '.join(f'{field}={values[field]!r}' for field in shown)})"


def _optimizer(text: str) -> tuple[str, list[str]] | None:
    """The class and the settings of an optimizer, or None if the text is not one."""
    call = CALL.fullmatch(text.strip())
    if call is None or call[1] not in OPTIMIZERS:
        return None
    parts = call[2].split(",") if call[2] else []
    found = [SETTING.fullmatch(part.strip()) for part in parts]
    settings = [(match[1], match[2] or "True") for match in found if match]
    if len(settings) < len(parts) or any(keyword.iskeyword(name) for name, _ in settings):
        return None
    return call[1], [f"{name}={value}" for name, value in settings if name != "learning_rate"]


def _remark(record: Record, schedule: Schedule) -> str:
    if isinstance(schedule, Constant):
        return ""
    return (
        f"Its lengths count optimizer steps: this training had {count(record.total_steps)} "
        f"({count(record.epochs)} epochs of {count(record.steps_per_epoch)}). "
        "With another batch size or number of epochs, change them in proportion."
    )


def _load_code(record: Record) -> str:
    if record.best is None or record.best.file is None:
        return ""
    # repr makes a literal of any text, so a file's name cannot leave its quotes.
    return (
        "import keras\n"
        "import cyclerate.keras\n\n"
        f"model = keras.saving.load_model({record.best.file!r})"
    )
