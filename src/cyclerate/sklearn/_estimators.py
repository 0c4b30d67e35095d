"""Dense networks for tables, as estimators of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_rate,
)
from cyclerate.compare._networks import OPTIMIZERS, make_objective, usual_batch_size
from cyclerate.cycles._members import mean_of, probabilities_from
from cyclerate.sklearn._fit import Settings, Table, fit_networks
from cyclerate.sklearn._inputs import Categories, Inputs, refuse_dates
from cyclerate.sklearn._networks import Shape, outputs_of

HIGHEST_SEED = 2**31 - 1
_NO_TARGETS: Any = "no_validation"  # as scikit-learn says it
_NO_PARTIAL_FIT = (
    "{} has no partial_fit: how long a cycle is must be known when it begins. Give fit all the "
    "rows; for rows that come in batches, cyclerate.keras and cyclerate.torch train a network."
)


class _Cyclic(BaseEstimator):
    """Base of both estimators: checks, standardises, fits, and computes outputs."""

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        epochs: int = 30,
        batch_size: int | None = None,
        max_lr: float | None = None,
        optimizer: str = "adamw",
        weight_decay: float | None = 0.1,
        networks: int = 4,
        validation_fraction: float | None = 0.1,
        standardize: bool = True,
        bins: int = 32,
        categorical_features: Any = "from_dtype",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.max_lr = max_lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.networks = networks
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.bins = bins
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.verbose = verbose

    def __getattr__(self, name: str) -> Any:
        if name == "partial_fit":
            raise AttributeError(_NO_PARTIAL_FIT.format(type(self).__name__))
        return super().__getattribute__(name)  # raises as ever

    def _fit(
        self,
        x: NDArray[np.float64],
        y: NDArray[Any],
        row_weights: NDArray[np.float64],
        *,
        outputs: int,
        loss: str,
        groups: NDArray[Any] | None = None,
    ) -> None:
        """Trains on these rows and keeps what prediction needs, as plain arrays."""
        check_flag("standardize", self.standardize)
        self._inputs = Inputs(
            x,
            self._categories.counts or [None] * x.shape[1],
            row_weights,
            bins=check_count("bins", self.bins, low=0),
            standardize=self.standardize,
        )
        self._shape = self._shape_of((*_widths(self.hidden), outputs), loss)
        table = Table(
            self._inputs.matrix(x),
            y,
            (row_weights / row_weights.mean()).astype(np.float32),
            self._inputs.constants,
            groups,
        )
        fitted = fit_networks(table, self._settings(len(x)))
        self._weights = fitted.weights
        self.max_lr_ = fitted.max_lr
        self.range_test_ = fitted.found
        self.history_ = fitted.history
        self.n_iter_ = fitted.epochs

    def _shape_of(self, widths: tuple[int, ...], loss: str) -> Shape:
        weight_decay = self.weight_decay
        if weight_decay is not None:
            weight_decay = check_number("weight_decay", weight_decay, low=0)
        return Shape(
            self._inputs.groups,
            widths,
            check_count("networks", self.networks, below=2**16),
            loss,
            check_choice("optimizer", self.optimizer, OPTIMIZERS),
            weight_decay,
        )

    def _settings(self, rows: int) -> Settings:
        max_lr = self.max_lr
        if max_lr is not None:
            max_lr = check_rate("max_lr", max_lr)
        held_out = self.validation_fraction
        if held_out is not None:
            held_out = check_number("validation_fraction", held_out, low=0, low_open=True, high=0.5)
        size = self.batch_size
        return Settings(
            self._shape,
            batch_size=min(
                usual_batch_size(2 * rows) if size is None else check_count("batch_size", size),
                rows,
            ),
            epochs=check_count("epochs", self.epochs, below=2**31),
            max_lr=max_lr,
            held_out=held_out or 0.0,
            seed=_seed(self.random_state),
            verbose=check_choice("verbose", self.verbose, (0, 1, 2)),
        )

    def _checked(self, x: Any, y: Any = _NO_TARGETS, **options: Any) -> Any:
        """The rows as floats, NaN where one is missing, a category as its number; and y."""
        fitted = y is _NO_TARGETS
        if not fitted:
            self.__dict__.pop("_weights", None)  # an earlier fit's do not go with what follows
            refuse_dates("y", "labels or numbers", y)
            self._categories = Categories(x, self.categorical_features)
        elif self._categories:
            _check_feature_names(self, x, reset=False)
            _check_n_features(self, x, reset=False)
        options |= {"dtype": np.float64, "ensure_all_finite": "allow-nan", "reset": not fitted}
        return validate_data(self, self._categories.numbers(x), y, **options)

    def _outputs(self, x: Any) -> NDArray[np.float64]:
        """The outputs of each network."""
        check_is_fitted(self)
        x = self._checked(x)
        return outputs_of(
            self._inputs.matrix(x), self._weights, self._inputs.constants, self._shape
        )

    def __sklearn_is_fitted__(self) -> bool:
        return "_weights" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def _class_weights(class_weight: Any, y: NDArray[Any]) -> NDArray[np.float64]:
    allowed = '{label: weight}, none below zero and some above, "balanced" or None'
    try:
        weights = compute_sample_weight(class_weight, y)
    except (ValueError, TypeError) as error:
        raise bad_argument("class_weight", allowed, class_weight) from error
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.any()):
        raise bad_argument("class_weight", allowed, class_weight)
    return weights


def _check_labels(y: NDArray[Any]) -> None:
    try:
        check_classification_targets(y)
    except TypeError as error:  # they have no order
        kinds = sorted({type(label).__name__ for label in y})
        raise bad_argument("y", "labels of one kind, none missing", ", ".join(kinds)) from error


def _seed(random_state: Any) -> int:
    try:
        return int(check_random_state(random_state).randint(HIGHEST_SEED))
    except (ValueError, TypeError) as error:
        allowed = "None, a whole number or a RandomState"
        raise bad_argument("random_state", allowed, random_state) from error


def _widths(hidden: Any) -> tuple[int, ...]:
    if not isinstance(hidden, (Sequence, np.ndarray)) or isinstance(hidden, str):
        raise bad_argument("hidden", "the widths of the hidden layers, as (64, 64)", hidden)
    return tuple(check_count("hidden", width) for width in np.ravel(np.asarray(hidden, object)))


def _used(
    x: NDArray[np.float64], sample_weight: Any
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Returns the rows with a weight, and all weights; a row of weight 0 does not count."""
    weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    used = weights > 0
    if not used.any():
        raise bad_argument("sample_weight", "above zero for some row", "zero for all")
    return used, weights


class CyclicClassifier(ClassifierMixin, _Cyclic):
    """A dense network that classifies the rows of a table.

    `fit` finds the learning rate by a range test on these rows, then trains a few networks in four
    cycles, each twice as long as the one before (`CosLog`), and keeps each at the best of its low
    points. Weights are kept as arrays: a fitted estimator can be copied, pickled and used in
    threads, and predicts without Keras.

    Args:
        hidden: Widths of the hidden layers, ReLU after each; () for a linear model. Default
            (64, 64).
        epochs: Most passes over the rows. Default 30.
        batch_size: Rows in a step. Default: about 100 steps an epoch, 32 to 1,024 rows. An epoch
            leaves out the few rows that fill no whole batch, each time others.
        max_lr: The peak of the rate. Default: found by a range test on the rows given to `fit`: the
            middle of its `posterior`.
        optimizer: "adamw" (default), "adam", "sgd", "momentum", "nesterov", "nadam", "rmsprop" or
            "adagrad", as Keras has them.
        weight_decay: Decoupled weight decay of the kernels, not of the biases; None for the
            optimizer's own. Default 0.1.
        networks: How many, whose answers are averaged. Default 4.
        validation_fraction: The share of the rows that a network does not see, each network others
            (none of them, where these were fewer than 20). After each cycle all are judged by
            them, and the training ends with a cycle that was no better than the one before. None:
            all rows are seen, for all epochs. Default 0.1.
        standardize: Whether to bring the features to mean 0 and variance 1 first, and what is far
            out smoothly to below 3: `z / sqrt(1 + (z / 3) ** 2)`. Default True.
        bins: Most bins of a number, with as many rows in each. The networks see how much of each
            bin lies below it, and so can bend anywhere; fewer where there are many columns. 0: the
            number itself. Default 32.
        categorical_features: The columns that hold categories: names, places, or a flag for each;
            None for no column; "from_dtype" (default) for those of a DataFrame that hold texts or
            pandas's categories. The 64 most frequent of a column have an input each, the others
            share one; one that was not seen in `fit` counts among those.
        random_state: Of the initial weights and of the order of the rows; as in scikit-learn. With
            a whole number no global generator is used.
        verbose: As in Keras. Default 0.
        class_weight: How much a row of each class counts, as {label: weight}; or "balanced", all
            classes the same in sum. Default: every row the same.

    Attributes:
        classes_: The labels.
        max_lr_: The peak of the rate that was used.
        range_test_: The `RangeTestResult`; None if `max_lr` was given.
        history_: Of all networks: loss, rate and momentum of each epoch, and "held_out_loss" after
            each cycle.
        n_iter_: Epochs after which the networks were kept.
        n_features_in_: Features seen in `fit`.
        feature_names_in_: Their names, if they are all strings.

    Source: cycles and clipping, Holzmueller, Grinsztajn and Steinwart 2024, arXiv 2407.04491; bins,
    Gorishniy, Rubachev and Babenko 2022, arXiv 2203.05556; low points as the places to judge, Smith
    2017, arXiv 1506.01186.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> network = CyclicClassifier(hidden=(16,), max_lr=0.05, random_state=0).fit(x, y)
    >>> network.score(x, y) > 0.9
    True
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        epochs: int = 30,
        batch_size: int | None = None,
        max_lr: float | None = None,
        optimizer: str = "adamw",
        weight_decay: float | None = 0.1,
        networks: int = 4,
        validation_fraction: float | None = 0.1,
        standardize: bool = True,
        bins: int = 32,
        categorical_features: Any = "from_dtype",
        random_state: Any = None,
        verbose: int = 0,
        class_weight: Mapping[Any, float] | str | None = None,
    ) -> None:
        super().__init__(
            hidden,
            epochs=epochs,
            batch_size=batch_size,
            max_lr=max_lr,
            optimizer=optimizer,
            weight_decay=weight_decay,
            networks=networks,
            validation_fraction=validation_fraction,
            standardize=standardize,
            bins=bins,
            categorical_features=categorical_features,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CyclicClassifier:  # noqa: N803
        """Trains the network.

        Args:
            X: Features, one row each: numbers, or categories; some may be missing.
            y: Labels, of two classes or more.
            sample_weight: How much each row counts; a row of weight 0 is as if it were not there.

        Raises:
            ValueError: The data or a parameter cannot be used.
            CyclerateError: The training diverged.

        Warns:
            ConvergenceWarning: The range test found no clear answer; the rate that optimizer,
                batch, length and size let expect was the peak.
        """
        x, y = self._checked(X, y)
        used, weights = _used(x, sample_weight)
        _check_labels(y)
        y = y[used]
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise bad_argument("y", "of two classes or more", "1 class")
        objective = make_objective(len(self.classes_))
        targets = numbers.astype(np.int32)
        if objective.outputs == 1:
            targets = targets.astype(np.float32)[:, None]
        weights = weights[used] * _class_weights(self.class_weight, y)
        counting = weights > 0
        self._fit(
            x[np.flatnonzero(used)[counting]],
            targets[counting],
            weights[counting],
            outputs=objective.outputs,
            loss=objective.loss_name,
            groups=numbers[counting],
        )
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Returns the probability of each class, in the order of `classes_`."""
        convert = probabilities_from("logits")
        each = (
            convert(np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z)
            for z in self._outputs(X)
        )
        return mean_of(each)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Returns the most probable class of each row."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]


class CyclicRegressor(RegressorMixin, _Cyclic):
    """A dense network that predicts one number, or several, for the rows of a table.

    As `CyclicClassifier`, with the squared loss. The targets are standardised for the network, each
    by itself, and predictions come back in their own unit.

    Args:
        hidden: Widths of the hidden layers, ReLU after each; () for a linear model. Default
            (64, 64).
        epochs: Most passes over the rows. Default 30.
        batch_size: Rows in a step. Default: about 100 steps an epoch, 32 to 1,024 rows. An epoch
            leaves out the few rows that fill no whole batch, each time others.
        max_lr: The peak of the rate. Default: found by a range test on the rows given to `fit`: the
            middle of its `posterior`.
        optimizer: "adamw" (default), "adam", "sgd", "momentum", "nesterov", "nadam", "rmsprop" or
            "adagrad", as Keras has them.
        weight_decay: Decoupled weight decay of the kernels, not of the biases; None for the
            optimizer's own. Default 0.1.
        networks: How many, whose answers are averaged. Default 4.
        validation_fraction: The share of the rows that a network does not see, each network others
            (none of them, where these were fewer than 20). After each cycle all are judged by
            them, and the training ends with a cycle that was no better than the one before. None:
            all rows are seen, for all epochs. Default 0.1.
        standardize: Whether to bring the features to mean 0 and variance 1 first, and what is far
            out smoothly to below 3: `z / sqrt(1 + (z / 3) ** 2)`. Default True.
        bins: Most bins of a number, with as many rows in each. The networks see how much of each
            bin lies below it, and so can bend anywhere; fewer where there are many columns. 0: the
            number itself. Default 32.
        categorical_features: The columns that hold categories: names, places, or a flag for each;
            None for no column; "from_dtype" (default) for those of a DataFrame that hold texts or
            pandas's categories. The 64 most frequent of a column have an input each, the others
            share one; one that was not seen in `fit` counts among those.
        random_state: Of the initial weights and of the order of the rows; as in scikit-learn. With
            a whole number no global generator is used.
        verbose: As in Keras. Default 0.

    Attributes:
        max_lr_: The peak of the rate that was used.
        range_test_: The `RangeTestResult`; None if `max_lr` was given.
        history_: Of all networks: loss, rate and momentum of each epoch, and "held_out_loss" after
            each cycle.
        n_iter_: Epochs after which the networks were kept.
        n_features_in_: Features seen in `fit`.
        feature_names_in_: Their names, if they are all strings.

    Source: cycles and clipping, Holzmueller, Grinsztajn and Steinwart 2024, arXiv 2407.04491; bins,
    Gorishniy, Rubachev and Babenko 2022, arXiv 2203.05556; low points as the places to judge, Smith
    2017, arXiv 1506.01186.

    >>> from sklearn.datasets import load_diabetes
    >>> x, y = load_diabetes(return_X_y=True)
    >>> network = CyclicRegressor(hidden=(16,), max_lr=0.05, random_state=0).fit(x, y)
    >>> 0.4 < network.score(x, y) < 0.9
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CyclicRegressor:  # noqa: N803
        """Trains the network.

        Args:
            X: Features, one row each: numbers, or categories; some may be missing.
            y: Numbers: one for each row, or several.
            sample_weight: How much each row counts; a row of weight 0 is as if it were not there.

        Raises:
            ValueError: The data or a parameter cannot be used.
            CyclerateError: The training diverged.

        Warns:
            ConvergenceWarning: The range test found no clear answer; the rate that optimizer,
                batch, length and size let expect was the peak.
        """
        x, y = self._checked(X, y, multi_output=True, y_numeric=True)
        used, weights = _used(x, sample_weight)
        self._one_number = y.ndim == 1
        y = y.reshape(len(y), -1).astype(np.float64)
        self._targets = StandardScaler().fit(y[used], sample_weight=weights[used])
        targets = self._targets.transform(y).astype(np.float32)
        self._fit(
            x[used],
            targets[used],
            weights[used],
            outputs=y.shape[1],
            loss=make_objective(None).loss_name,
        )
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Returns the numbers, in the unit of the targets that the network was trained on."""
        outputs = mean_of(iter(self._outputs(X)))
        values = self._targets.inverse_transform(outputs)
        return values[:, 0] if self._one_number else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
