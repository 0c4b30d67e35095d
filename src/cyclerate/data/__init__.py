"""Tables made ready for a network: read, inspected, split, encoded; every decision is said."""

from cyclerate.data.bundled import digits as digits
from cyclerate.data.mistakes import DataMistake as DataMistake
from cyclerate.data.preprocessing import Preprocessing as Preprocessing
from cyclerate.data.tabular import Tabular as Tabular, load_csv as load_csv, prepare as prepare
