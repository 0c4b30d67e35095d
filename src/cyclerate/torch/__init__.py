"""Schedules and range tests for PyTorch."""

from cyclerate.torch.range_test import range_test as range_test
from cyclerate.torch.recommend import recommend as recommend
from cyclerate.torch.scheduled_lr import ScheduledLR as ScheduledLR
