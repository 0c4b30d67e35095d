"""Files appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cyclerate._files import replacing, temporary_prefix, write_bytes, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_bytes_writes_and_returns_the_path(tmp_path):
    path = write_bytes(str(tmp_path / "a.bin"), b"\x00\xff")
    assert path == tmp_path / "a.bin"
    assert path.read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a.bin"]


def test_parent_folders_are_made(tmp_path):
    path = write_text(tmp_path / "runs" / "one" / "note.txt", "x")
    assert path.read_text(encoding="utf-8") == "x"


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "note.txt"
    write_text(path, "the first, which is longer")
    write_text(path, "second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["note.txt"]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    assert write_text(tmp_path / "t", "η = 0.1\n").read_bytes() == b"\xce\xb7 = 0.1\n"


def test_the_name_of_a_file_that_is_not_utf8_can_be_written(tmp_path: Path):
    name = os.fsdecode(b"\xe9l.csv")
    written = write_json(tmp_path / "a.json", {"data": name, "target": "\u00e9"})
    assert json.loads(written.read_text("utf-8")) == {"data": name, "target": "\u00e9"}
    assert "\u00e9" in written.read_text("utf-8")  # what is a character stays readable
    assert write_text(tmp_path / "a.html", name).read_bytes() == b"\\udce9l.csv"


def test_json_is_strict_and_readable(tmp_path):
    path = write_json(tmp_path / "r.json", {"name": "η", "losses": [0.5, None]})
    assert path.read_text(encoding="utf-8") == (
        '{\n "name": "η",\n "losses": [\n  0.5,\n  null\n ]\n}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, object()])
def test_what_is_not_json_leaves_the_old_file(tmp_path, value):
    path = write_json(tmp_path / "r.json", {"a": 1})
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"a": value})
    assert path.read_bytes() == before
    assert names(tmp_path) == ["r.json"]


def test_a_failing_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = write_text(tmp_path / "note.txt", "old")

    def full_disk(self: Path, _: Path) -> None:
        assert Path(self).read_bytes() == b"new"  # the temporary file was there and complete
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "note.txt", "new")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="permission bits are a POSIX idea")
def test_a_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("x")
    path = write_text(tmp_path / "ours", "x")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path):
    script = (
        "import os, signal, sys, tempfile\n"
        "from cyclerate._files import replacing, temporary_prefix\n"
        "from pathlib import Path\n"
        "here = Path(sys.argv[1])\n"
        "tempfile.mkdtemp(dir=here, prefix=temporary_prefix(here, 'cyclerate-'))\n"
        "with replacing(here / 'a.json') as temporary:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    others = [tmp_path / ".a.json.0-1-x.tmp", tmp_path / ".b.json.tmp"]
    with replacing(tmp_path / "a.json") as mine:
        for path in others:
            path.touch()
        temporary_prefix(tmp_path, ".a.json.")
        temporary_prefix(tmp_path, "cyclerate-")
        assert {*tmp_path.iterdir()} == {mine, *others}
    assert {*tmp_path.iterdir()} == {tmp_path / "a.json", *others}
