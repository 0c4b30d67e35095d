"""Published experiments, each running again: what the article says, and what is found here."""

from reproductions.catalogue import EXPERIMENTS as EXPERIMENTS
from reproductions.experiment import Experiment as Experiment
from reproductions.record import Reproduction as Reproduction, Size as Size
from reproductions.running import run as run
