"""The loss of a batch, as the Trainer computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.trainer_pt_utils import LabelSmoother

from cyclerate._errors import bad_argument

ComputeLoss = Callable[[Any, Any], Any]
"""Of a model and a batch."""


def usual_loss(label_smoothing_factor: float) -> ComputeLoss:
    """Returns what gives the model's own loss, or that of smoothed labels, as the Trainer does."""
    if not label_smoothing_factor:
        return _own_loss
    smoother = LabelSmoother(epsilon=label_smoothing_factor)

    def smoothed_loss(model: Any, batch: Any) -> Any:
        inputs = dict(batch)
        if "labels" not in inputs:
            return _own_loss(model, inputs)
        labels = inputs.pop("labels")
        causal = type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        return smoother(model(**inputs), labels, shift_labels=causal)

    return smoothed_loss


def _own_loss(model: Any, batch: Any) -> Any:
    outputs = model(**batch)
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs[0]
    if loss is None:
        raise bad_argument("compute_loss", "given for a model that returns no loss", None)
    return loss
