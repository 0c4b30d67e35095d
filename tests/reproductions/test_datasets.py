"""The published sets, each written small in its own format: read, checked, or refused."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cyclerate.tables import DataMistake
from reproductions import datasets

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder; sets of 20 + 10 images are whole ones here."""
    monkeypatch.setenv("CYCLERATE_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "_TRAIN_ROWS", dict.fromkeys(datasets._TRAIN_ROWS, 20))
    monkeypatch.setattr(datasets, "_TEST_ROWS", 10)

    def offline(_folder: str, origin: object) -> Path:
        raise DataMistake(f"not on the disk: {origin}")

    monkeypatch.setattr(datasets, "fetch", offline)
    for name in ("mnist", "fashion_mnist", "cifar10", "boston", "cardio"):
        (tmp_path / name).mkdir()
    return tmp_path


def pictures(*shape: int) -> dict[str, Any]:
    labels = np.arange(20, dtype=np.uint8) % 10
    return {
        "x_train": RNG.integers(0, 256, (20, *shape), dtype=np.uint8),
        "y_train": labels,
        "x_test": RNG.integers(0, 256, (10, *shape), dtype=np.uint8),
        "y_test": labels[:10],
    }


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_an_archive_of_arrays(name: str, given: Path):
    arrays = pictures(28, 28)
    np.savez(given / name / f"{name}.npz", **arrays)
    found = getattr(datasets, name)()
    assert found.x_train.shape == (20, 28, 28, 1)
    np.testing.assert_array_equal(found.x_test[..., 0], arrays["x_test"])
    np.testing.assert_array_equal(found.y_train, arrays["y_train"])
    assert found.note == ""


def test_objects_in_an_archive_are_not_unpickled(given: Path):
    arrays = {**pictures(28, 28), "y_train": np.array([{"a": 1}] * 20, dtype=object)}
    np.savez(given / "mnist" / "mnist.npz", **arrays)
    with pytest.raises(DataMistake, match="cannot be read as MNIST"):
        datasets.mnist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": np.zeros((19, 28, 28), np.uint8)}, "20 train images"),
        ({"x_test": np.zeros((10, 28, 28), np.float32)}, "10 test images"),
        ({"y_test": np.zeros(10, np.uint8)}, "10 test images"),
    ],
)
def test_other_arrays_are_refused(change: dict[str, Any], message: str, given: Path):
    np.savez(given / "mnist" / "mnist.npz", **{**pictures(28, 28), **change})
    with pytest.raises(DataMistake, match=message):
        datasets.mnist()


def test_a_broken_archive_is_refused(given: Path):
    (given / "mnist" / "mnist.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataMistake, match="cannot be read as MNIST"):
        datasets.mnist()


def test_the_four_files_of_fashion_mnist(given: Path, monkeypatch: pytest.MonkeyPatch):
    arrays = pictures(28, 28)
    files: dict[str, Path] = {}
    for name, origin in datasets._FASHION.items():
        array = arrays[name]
        shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
        files[origin.file] = given / origin.file
        content = bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()
        files[origin.file].write_bytes(gzip.compress(content))
    monkeypatch.setattr(datasets, "fetch", lambda _folder, origin: files[origin.file])
    found = datasets.fashion_mnist()
    np.testing.assert_array_equal(found.x_train[..., 0], arrays["x_train"])
    np.testing.assert_array_equal(found.y_test, arrays["y_test"])


def test_the_binary_archive_of_cifar10(given: Path):
    arrays = pictures(32, 32, 3)
    rows = {
        part: np.concatenate(
            [
                arrays[f"y_{part}"][:, None],
                arrays[f"x_{part}"].transpose(0, 3, 1, 2).reshape(-1, 3072),
            ],
            axis=1,
        )
        for part in ("train", "test")
    }
    contents = {
        f"cifar-10-batches-bin/data_batch_{i + 1}.bin": part.tobytes()
        for i, part in enumerate(np.split(rows["train"], 5))
    }
    contents["cifar-10-batches-bin/test_batch.bin"] = rows["test"].tobytes()
    with tarfile.open(given / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    found = datasets.cifar10()
    np.testing.assert_array_equal(found.x_train, arrays["x_train"])
    np.testing.assert_array_equal(found.y_train, arrays["y_train"])
    np.testing.assert_array_equal(found.x_test, arrays["x_test"])
    assert found.note == ""


def test_cifar10_as_jpeg_says_that_it_lost_detail(given: Path):
    from PIL import Image

    arrays: dict[str, Any] = {}
    for part, rows in (("train", 20), ("test", 10)):
        files: list[bytes] = []
        for number in range(rows):
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (10 * number, 0, 200)).save(file, "JPEG", quality=75)
            files.append(file.getvalue())
        arrays[f"jpeg_{part}"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"offset_{part}"] = np.cumsum([0, *map(len, files)])
        arrays[f"y_{part}"] = (np.arange(rows) % 10).astype(np.uint8)
    np.savez(given / "cifar10" / "cifar10_full_jpegbytes.npz", **arrays)
    found = datasets.cifar10()
    assert abs(int(found.x_train[7, 5, 5, 0]) - 70) <= 4
    assert "JPEG, which loses detail" in found.note


def test_a_set_that_is_nowhere_is_asked_for(given: Path):
    with pytest.raises(DataMistake, match=r"not on the disk: .*cifar-10-binary"):
        datasets.cifar10()
    with pytest.raises(
        DataMistake, match=r"needs a login at its origin: download https://www\.kag"
    ):
        datasets.cardio()


def test_the_table_of_examinations(given: Path, monkeypatch: pytest.MonkeyPatch):
    columns = datasets._CARDIO_COLUMNS
    frame = pd.DataFrame({name: np.arange(70_000) % 2 for name in columns})
    frame.to_csv(given / "cardio" / "cardio_train.csv", sep=";", index=False)
    assert datasets.cardio().shape == (70_000, 13)
    frame[:100].to_csv(given / "cardio" / "cardio_train.csv", sep=";", index=False)
    with pytest.raises(DataMistake, match="has 100 rows; the published table has 70,000"):
        datasets.cardio()
    frame.drop(columns="ap_hi").to_csv(given / "cardio" / "cardio_train.csv", sep=";", index=False)
    with pytest.raises(DataMistake, match="has no column 'ap_hi'"):
        datasets.cardio()


@pytest.mark.parametrize("first", ["", "506,13,,,,,,,,,,,,\n"])
def test_boston_housing_with_and_without_its_shape(first: str, given: Path):
    frame = pd.DataFrame({name: np.arange(506) / 10 for name in datasets._BOSTON_COLUMNS})
    text = first + frame.to_csv(index=False)
    (given / "boston" / "boston_house_prices.csv").write_text(text)
    found = datasets.boston_housing()
    assert found.shape == (506, 14)
    assert found["MEDV"].iloc[-1] == 50.5
