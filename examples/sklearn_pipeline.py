"""A network as one step of a scikit-learn pipeline: mixed columns, and a grid over folds.

pip install 'cyclerate[sklearn]' pandas
python examples/sklearn_pipeline.py
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cyclerate.sklearn import CyclicClassifier


def bikes(rows: int = 600) -> pd.DataFrame:
    """Hours of a day and weathers, and whether many bikes were lent."""
    random = np.random.default_rng(0)
    hour = random.uniform(0, 24, rows)
    weather = random.choice(["dry", "rain", "snow"], rows)
    wanted = np.exp(-(((hour - 8) / 2) ** 2)) + np.exp(-(((hour - 17) / 3) ** 2))
    wanted *= pd.Series(weather).map({"dry": 1.0, "rain": 0.5, "snow": 0.2}).to_numpy()
    lent = np.where(wanted > 0.3, "many", "few")
    return pd.DataFrame({"hour": hour, "weather": weather, "lent": lent})


def main() -> None:
    frame = bikes()
    x, y = frame[["hour", "weather"]], frame["lent"]
    prepare = make_column_transformer(
        (StandardScaler(), ["hour"]),
        (OneHotEncoder(sparse_output=False), ["weather"]),
    )
    # These rows have no noise that a network could memorise: no weight decay.
    network = CyclicClassifier(hidden=(32,), epochs=40, weight_decay=0.0, random_state=0)
    model = make_pipeline(prepare, network).fit(x, y)
    print(f"the peak of the rate, found: {model[-1].max_lr_:.2g}")
    print(model[-1].range_test_.verdict)

    # Given a rate, the folds and the points of the grid need no range test of their own.
    model.set_params(cyclicclassifier__max_lr=model[-1].max_lr_)
    search = GridSearchCV(model, {"cyclicclassifier__epochs": [4, 40]}, cv=3).fit(x, y)
    print(f"best: {search.best_params_}, accuracy in three folds {search.best_score_:.3f}")


if __name__ == "__main__":
    main()
