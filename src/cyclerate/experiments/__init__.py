"""Published experiments, each running again: what the article says, and what is found here."""

from cyclerate.experiments.catalogue import EXPERIMENTS as EXPERIMENTS
from cyclerate.experiments.experiment import Experiment as Experiment
from cyclerate.experiments.record import Reproduction as Reproduction, Size as Size
from cyclerate.experiments.running import run as run
