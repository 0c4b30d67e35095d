"""Published files: the user's folder, then the cache, then a checked download, or one sentence."""

from __future__ import annotations

import gc
import hashlib
import http.server
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cyclerate.tables import DataMistake
from reproductions.datasets import Origin, fetch, find_given

CONTENT = b"rate,loss\n0.1,0.5\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of one small file, on this machine."""
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "table.csv").write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
    # pooch leaves the connection of an answer that it refuses to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CYCLERATE_DATA", raising=False)
    return tmp_path / "cache" / "cyclerate"


def test_a_download_is_kept_and_not_fetched_again(server: str, cache: Path):
    path = fetch("toy", Origin(f"{server}/table.csv", SHA256))
    assert path == cache / "toy" / "table.csv"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]
    nowhere = Origin("http://127.0.0.1:9/table.csv", SHA256)
    assert fetch("toy", nowhere) == path


def test_a_damaged_file_in_the_cache_is_fetched_anew(server: str, cache: Path):
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "table.csv").write_bytes(CONTENT[:5])
    assert fetch("toy", Origin(f"{server}/table.csv", SHA256)).read_bytes() == CONTENT


def test_what_is_not_the_known_file_is_refused_and_not_kept(server: str, cache: Path):
    origin = Origin(f"{server}/table.csv", "0" * 64)
    with pytest.raises(DataMistake, match=r"not the known one \(its SHA-256 differs\)") as caught:
        fetch("toy", origin)
    assert origin.url in str(caught.value)
    assert list((cache / "toy").iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/table.csv", "{server}/other.csv"])
def test_offline_says_one_sentence_and_what_to_do(url: str, server: str):
    with pytest.raises(DataMistake) as caught:
        fetch("toy", Origin(url.format(server=server), SHA256))
    assert "cannot be downloaded. Go online and run this again, or download it yourself" in (
        str(caught.value)
    )
    assert str(caught.value).endswith("into the folder toy of a folder named CYCLERATE_DATA.")
    assert "\n" not in str(caught.value)


def test_the_users_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert find_given("toy", ["a.csv"]) is None
    monkeypatch.setenv("CYCLERATE_DATA", str(tmp_path))
    assert find_given("toy", ["a.csv"]) is None
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "b.csv.gz").touch()
    assert find_given("toy", ["b.csv", "b.csv.gz"]) == tmp_path / "toy" / "b.csv.gz"
    (tmp_path / "toy" / "b.csv").touch()
    assert find_given("toy", ["b.csv", "b.csv.gz"]) == tmp_path / "toy" / "b.csv"
