# %% [markdown]
# # A table with scikit-learn
#
# Classify the rows of a table by a network that finds its own learning rate, in a pipeline, and
# compare it with scikit-learn's by cross-validation.
#
# ```console
# $ pip install 'cyclerate[sklearn]'
# ```
# %%
from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cyclerate.sklearn import CyclicClassifier

x, y = load_breast_cancer(return_X_y=True, as_frame=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)

# %% [markdown]
# Features are standardised inside; the step before stands for one of your own. `fit` runs a range
# test on these rows, and then trains in cycles that double.
# %%
network = CyclicClassifier(hidden=(32,), networks=2, random_state=0)
model = make_pipeline(SimpleImputer(), network).fit(x_train, y_train)
print(f"accuracy {model.score(x_test, y_test):.3f}, top of the rate {network.max_lr_:.2g}")
print(network.range_test_.verdict)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
left.plot(network.history_["learning_rate"])
left.set(xlabel="epoch", ylabel="learning rate at its end")
right.plot(network.history_["loss"])
right.set(xlabel="epoch", ylabel="loss")

# %% [markdown]
# With `max_lr` given, the folds need no range test of their own.
# %%
quick = CyclicClassifier(hidden=(32,), networks=2, max_lr=network.max_lr_, random_state=0)
theirs = make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=1000, random_state=0))
scores = {
    "CyclicClassifier": cross_val_score(quick, x, y, cv=3),
    "MLPClassifier": cross_val_score(theirs, x, y, cv=3),
}
for name, values in scores.items():
    print(f"{name}: {values.mean():.3f} ± {values.std():.3f}")

# %%
assert scores["CyclicClassifier"].mean() > 0.94
