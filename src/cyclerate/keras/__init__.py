"""cyclerate for Keras 3, on JAX, TensorFlow and PyTorch."""

from cyclerate.keras.callback import ScheduleCallback as ScheduleCallback
from cyclerate.keras.schedule import as_schedule as as_schedule
