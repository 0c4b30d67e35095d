"""Every way in which a file can fail is one sentence that says what to do."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from cyclerate.tables import DataMistake
from cyclerate.tables._read import check_columns, read_table

PEOPLE = "age;city\n31;Rome\n42;Oslo\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz", "no_suffix"])
@pytest.mark.parametrize("zipped", [False, True])
def test_it_looks_at_the_bytes_not_at_the_name(tmp_path: Path, name: str, zipped: bool):
    content = gzip.compress(PEOPLE.encode()) if zipped else PEOPLE.encode()
    frame, notes, _ = read_table(write(tmp_path / name, content), sep=";")
    assert frame.to_dict("list") == {"age": [31, 42], "city": ["Rome", "Oslo"]}
    assert notes == []


def test_tabs_may_be_spelt_out(tmp_path: Path):
    file = write(tmp_path / "a.csv", "x\ty\n1\t2\n")
    assert list(read_table(file, sep="\\t")[0].columns) == ["x", "y"]


def test_names_are_stripped_and_a_byte_order_mark_is_no_name(tmp_path: Path):
    file = write(tmp_path / "a.csv", b"\xef\xbb\xbf x , y\n1,2\n")
    assert list(read_table(file)[0].columns) == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("x,y\nÄ,1\n".encode("latin-1"), "a.csv is not UTF-8: it was read as Latin-1."),
        ("x,y\nÄ,1\n".encode("utf-16"), "a.csv is written in UTF-16."),
    ],
)
def test_other_encodings_are_read_and_said(tmp_path: Path, content: bytes, note: str):
    frame, notes, _ = read_table(write(tmp_path / "a.csv", content))
    assert frame["x"].tolist() == ["Ä"]
    assert notes == [note]


BROKEN_GZIP = gzip.compress(PEOPLE.encode() * 1000)[:-20]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"age,city\n", r"has a header \(age, city\) but no rows"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "is not text"),
        (b"PK\x03\x04rest", "is a zip or Excel file, not CSV text: save the table as CSV"),
        (b"age\n31\n", "only one column.*--sep"),
        (b"a,b\n1,2\n1,2,3\n", r"table: line 3 has 3 columns, those before it 2\..*--sep"),
        (b"a,b\n1,2,3\n4,5,6\n", "table: rows have more columns than the header names"),
        (b'a,b\n1,2\n1,"2\n', "table: a quote that opens in line 3 is never closed"),
        (BROKEN_GZIP, "broken gzip file"),
        (b"\x1f\x8bnot really", "broken gzip file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, says: str):
    with pytest.raises(DataMistake, match=says):
        read_table(write(tmp_path / "a.csv", content))


def test_a_missing_file_says_which_may_be_meant(tmp_path: Path):
    write(tmp_path / "people.csv", PEOPLE)
    with pytest.raises(DataMistake, match=r"no file .*peple\.csv\. Did you mean .*people\.csv\?"):
        read_table(tmp_path / "peple.csv")
    with pytest.raises(DataMistake, match=r"no file .*\. Check the path\."):
        read_table(tmp_path / "nowhere" / "x.csv")


def test_a_folder_says_what_is_in_it(tmp_path: Path):
    write(tmp_path / "people.csv", PEOPLE)
    with pytest.raises(DataMistake, match=r"is a folder.* It holds people\.csv"):
        read_table(tmp_path)


@pytest.mark.parametrize("sep", ["", ";;", "abc"])
def test_a_separator_is_one_character(tmp_path: Path, sep: str):
    with pytest.raises(ValueError, match="sep must be one character"):
        read_table(write(tmp_path / "a.csv", PEOPLE), sep=sep)


def test_an_unknown_column_lists_the_columns_and_the_nearest(tmp_path: Path):
    frame, *_ = read_table(write(tmp_path / "a.csv", PEOPLE), sep=";")
    with pytest.raises(DataMistake, match=r"no column 'Cty'\. Did you mean 'city'\?\nColumns: age"):
        check_columns(frame, ["age", "Cty"], "a.csv")


def test_a_file_without_a_header_says_so(tmp_path: Path):
    frame, *_ = read_table(write(tmp_path / "a.csv", "1,2\n3,4\n"))
    with pytest.raises(DataMistake, match="first line seems to hold data"):
        check_columns(frame, ["y"], "a.csv")


@pytest.mark.parametrize(
    ("content", "sep"),
    [
        ("a;b;c\n1,5;2;3\n4,5;5;6\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b|c\n1|x, y|3\n", "|"),
        ('a,b\n"1;2;3",2\n', ","),
        ("a b,c\n1,2\n", ","),
    ],
)
def test_the_separator_is_found_and_said(tmp_path: Path, content: str, sep: str):
    frame, notes, found = read_table(write(tmp_path / "a.csv", content))
    assert found == sep
    assert frame.shape == (len(content.splitlines()) - 1, len(content.splitlines()[0].split(sep)))
    said = [f"The columns of a.csv are separated by {sep!r}."]
    assert notes == ([] if sep == "," else said)
    assert read_table(tmp_path / "a.csv", sep).notes == []


def test_a_separator_that_is_named_is_taken(tmp_path: Path):
    with pytest.raises(DataMistake, match=r"only one column \(age;city\).*With --sep ';' it has 2"):
        read_table(write(tmp_path / "a.csv", PEOPLE), sep="|")


def test_parquet_and_feather_need_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for magic, kind in ((b"PAR1", "Parquet"), (b"ARROW1", "Feather")):
        file = write(tmp_path / "a.table", magic + b"rest")
        with pytest.raises(DataMistake, match=f"is a {kind} file.*: pip install pyarrow, or save"):
            read_table(file)


def test_parquet_and_feather_are_read_where_pyarrow_is(tmp_path: Path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"n": [1.5, None], "t": ["a", "b"], "d": pd.to_datetime(["2021-03-04", "2021-03-05"])}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "b.feather")
    for name in ("a.parquet", "b.feather"):
        read, notes, _ = read_table(tmp_path / name)
        pd.testing.assert_frame_equal(read, frame)
        assert notes == []
        content = (tmp_path / name).read_bytes()
        with pytest.raises(DataMistake, match=r"is a broken (Parquet|Feather) file"):
            read_table(write(tmp_path / "cut", content[: len(content) // 2]))
