"""Published experiments, each running again: what the article says, and what is found here."""

from reproductions._experiment import Experiment as Experiment
from reproductions._record import Reproduction as Reproduction, Size as Size
from reproductions.catalogue import EXPERIMENTS as EXPERIMENTS
from reproductions.running import run as run
