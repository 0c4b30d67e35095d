"""Tables made ready for a network: read, inspected, split, encoded; every decision is said."""

from cyclerate._errors import require as _require

_require("pandas", "cli")
_require("sklearn", "cli")

from cyclerate.tables._prepare import (
    Tabular as Tabular,
    digits as digits,
    load_csv as load_csv,
    prepare as prepare,
)
from cyclerate.tables._preprocessing import Preprocessing as Preprocessing
from cyclerate.tables._read import DataMistake as DataMistake
