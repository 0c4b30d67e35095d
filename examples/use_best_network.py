"""Use the network that `cyclerate compare` kept as the best, on rows it has not seen.

pip install 'cyclerate[cli]'
cyclerate compare people.csv --target income --out runs/people
python examples/use_best_network.py runs/people new_people.csv
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
import keras
import pandas as pd

from cyclerate.tables import Preprocessing


def main(folder: Path, rows_file: Path) -> None:
    # The columns, medians, means, scales and categories of the training part; plain JSON.
    preprocessing = Preprocessing.load(folder / "preprocessing.json")
    model = keras.models.load_model(folder / "best.keras")

    rows = pd.read_csv(rows_file)
    outputs = model.predict(preprocessing.features(rows), verbose=0)
    rows[f"predicted {preprocessing.target.name}"] = preprocessing.answers(outputs)
    print(rows.to_csv(index=False), end="")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {Path(sys.argv[0]).name} FOLDER NEW_ROWS.csv")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
