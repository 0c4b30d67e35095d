"""Tables made ready for a network: read, inspected, split, encoded; every decision is said."""

from cyclerate.tables._bundled import digits as digits
from cyclerate.tables._mistakes import DataMistake as DataMistake
from cyclerate.tables._prepare import Tabular as Tabular, load_csv as load_csv, prepare as prepare
from cyclerate.tables._preprocessing import Preprocessing as Preprocessing
