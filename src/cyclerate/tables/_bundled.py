"""A data set that is there without a download: the digits that come with scikit-learn."""

from __future__ import annotations

from sklearn.datasets import load_digits

from cyclerate.tables._prepare import Tabular, prepare


def digits() -> Tabular:
    """Returns 1,797 handwritten digits of 8x8 pixels, made ready for a network.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    frame = load_digits(as_frame=True).frame
    return prepare(frame, "target", name="digits")
