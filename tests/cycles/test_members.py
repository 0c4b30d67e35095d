"""The folder of members can be read at every moment, and only what was saved is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import cyclerate as cr
from cyclerate.cycles._members import (
    MANIFEST,
    Manifest,
    MemberFolder,
    Members,
    NoMembersError,
    checksum,
)
from cyclerate.cycles._rules import fge_schedule

SCHEDULE = fge_schedule(0.1, 0.01, cycle_steps=4)  # a sequence, in JSON a list of lists
OTHER = cr.WarmRestarts(max_lr=0.1, cycle_steps=4)
KERAS = ".keras"


def fill(folder: MemberFolder, *steps: int, text: str = "step") -> None:
    for cycle, step in enumerate(steps, start=1):
        folder.add(step, cycle, 0.01, lambda path, n=step: path.write_text(f"{text} {n}"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def texts(folder: Path, **options: Any) -> list[str]:
    return [path.read_text() for _, path in Members(folder, KERAS, **options).each()]


def test_members_are_files_that_the_manifest_names_with_their_checksums(tmp_path: Path):
    folder = MemberFolder(tmp_path / "new" / "run", SCHEDULE, KERAS)
    member = folder.add(2, 1, 0.01, lambda path: path.write_text("weights"), metric=0.9)
    written = json.loads((tmp_path / "new" / "run" / MANIFEST).read_text())
    assert written == {
        "schema": 1,
        "schedule": json.loads(json.dumps(SCHEDULE.to_dict())),
        "members": [
            {
                "file": "step-00000002.keras",
                "sha256": checksum(tmp_path / "new" / "run" / "step-00000002.keras"),
                "step": 2,
                "cycle": 1,
                "lr": 0.01,
                "metric": 0.9,
            }
        ],
    }
    assert Members(tmp_path / "new" / "run", KERAS).members == (member,)


def test_the_last_ones_are_kept_and_no_file_goes_while_the_manifest_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    named: list[bool] = []
    unlink = Path.unlink

    def watched(self: Path, missing_ok: bool = False) -> None:
        named.append(self.name in (tmp_path / MANIFEST).read_text())
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS, keep=2), 2, 6, 10, 14)
    assert named == [False, False]
    assert texts(tmp_path) == ["step 10", "step 14"]
    assert files(tmp_path) == [MANIFEST, "step-00000010.keras", "step-00000014.keras"]
    assert texts(tmp_path, last=1) == ["step 14"]


def test_a_kill_while_a_member_is_written_leaves_the_others(tmp_path: Path):
    folder = MemberFolder(tmp_path, SCHEDULE, KERAS)
    fill(folder, 2)

    def killed(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.add(6, 2, 0.01, killed)
    # As a kill that nobody can catch leaves it: the temporary file, or the file but no manifest.
    (tmp_path / ".step-00000006.keras.ab_12.tmp.keras").write_text("half")
    (tmp_path / "step-00000006.keras").write_text("whole, but not named")
    assert texts(tmp_path) == ["step 2"]
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS, overwrite=True), 3)
    assert files(tmp_path) == [MANIFEST, "step-00000003.keras"]


def test_a_previous_run_is_not_mixed_with(tmp_path: Path):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2, 6)
    (tmp_path / "notes.keras").write_text("the user's own")
    with pytest.raises(ValueError, match=r"folder must be without.*overwrite=True or resume=True"):
        MemberFolder(tmp_path, SCHEDULE, KERAS)
    with pytest.raises(ValueError, match="schedule must be the one"):
        MemberFolder(tmp_path, OTHER, KERAS, resume=True)
    with pytest.raises(ValueError, match=r"members in \.safetensors files"):
        MemberFolder(tmp_path, SCHEDULE, ".safetensors", resume=True)
    with pytest.raises(ValueError, match="one at a time"):
        MemberFolder(tmp_path, SCHEDULE, KERAS, resume=True, overwrite=True)
    assert texts(tmp_path) == ["step 2", "step 6"]
    overwriting = MemberFolder(tmp_path, OTHER, KERAS, overwrite=True)
    assert texts(tmp_path) == ["step 2", "step 6"]  # until there is something better
    fill(overwriting, 3, text="new")
    assert texts(tmp_path) == ["new 3"]
    assert files(tmp_path) == [MANIFEST, "notes.keras", "step-00000003.keras"]


def test_a_run_that_goes_on_replaces_the_steps_that_it_makes_again(tmp_path: Path):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2, 6, 10)
    resumed = MemberFolder(tmp_path, SCHEDULE, KERAS, resume=True)
    resumed.add(6, 2, 0.01, lambda path: path.write_text("again"))
    assert texts(tmp_path) == ["step 2", "again"]
    assert files(tmp_path) == [MANIFEST, "step-00000002.keras", "step-00000006.keras"]


def test_a_member_that_is_corrupt_or_missing_is_named_and_the_rest_are_read(tmp_path: Path):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2, 6, 10)
    (tmp_path / "step-00000002.keras").write_text("step 3")
    (tmp_path / "step-00000010.keras").unlink()
    with pytest.warns(cr.LostMemberWarning) as warned:
        members = Members(tmp_path, KERAS)
    told = [str(warning.message) for warning in warned]
    assert "step-00000002.keras (cycle 1) is left out of the ensemble: its checksum" in told[0]
    assert "step-00000010.keras (cycle 3) is left out of the ensemble: No such file" in told[1]
    assert list(members.lost) == ["step-00000002.keras", "step-00000010.keras"]
    assert [path.read_text() for _, path in members.each()] == ["step 6"]
    (tmp_path / "step-00000006.keras").write_text("lost, too")
    with (
        pytest.warns(cr.LostMemberWarning),
        pytest.raises(NoMembersError, match=r"3 files lost: .*step-00000006.keras: its checksum"),
    ):
        list(members.each())


def test_a_folder_without_members_says_so(tmp_path: Path):
    with pytest.raises(NoMembersError, match=r"holds no ensemble.json"):
        Members(tmp_path, KERAS)
    Manifest({}).save(tmp_path)
    with pytest.raises(NoMembersError, match="no usable member; 0 files lost"):
        Members(tmp_path, KERAS)


@pytest.mark.parametrize(
    "file", ["../step-00000002.keras", "/etc/passwd", "a/step-00000002.keras", "x.pkl", 3, ""]
)
def test_a_file_outside_the_folder_is_refused(tmp_path: Path, file: Any):
    fill(MemberFolder(tmp_path / "run", SCHEDULE, KERAS), 2)
    manifest = tmp_path / "run" / MANIFEST
    values = json.loads(manifest.read_text())
    values["members"][0]["file"] = file
    manifest.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"no manifest of an ensemble: .*file must be"):
        Members(tmp_path / "run", KERAS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema must be 1. Received: 2"),
        ({"schema": None}, "schema must be 1"),
        ({"schema": True}, "schema must be 1"),
        ({"members": None}, "members must be a list"),
        ({"members": [{"file": "step-00000002.keras"}]}, r"members\[0\] must be made of file, sha"),
        ({"schedule": 3}, "schedule must be an object"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2)
    values = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**values, **change}))
    with pytest.raises(ValueError, match=message):
        Members(tmp_path, KERAS)
    (tmp_path / MANIFEST).write_text("[1, 2")
    with pytest.raises(ValueError, match="holds no manifest"):
        Members(tmp_path, KERAS)


@pytest.mark.parametrize(
    ("name", "junk"),
    [
        ("sha256", ["", 3, None, "f" * 63]),
        ("step", [None, "2", -1, 2.5, True]),
        ("cycle", [None, 0, [1]]),
        ("lr", [None, "0.1", -0.1, float("nan")]),
        ("metric", ["good", {}, float("inf")]),
    ],
)
def test_a_member_that_cannot_be_is_named(tmp_path: Path, name: str, junk: list[Any]):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2)
    values = json.loads((tmp_path / MANIFEST).read_text())
    for value in junk:
        values["members"][0][name] = value
        (tmp_path / MANIFEST).write_text(json.dumps(values))
        with pytest.raises(
            ValueError, match=f"ensemble.json holds no manifest.*: .*({name} must|JSON)"
        ):
            Members(tmp_path, KERAS)


def test_a_member_that_is_named_twice_is_refused(tmp_path: Path):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2)
    values = json.loads((tmp_path / MANIFEST).read_text())
    values["members"] *= 2
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"members must be rising in step\. Received: \[2, 2\]"):
        Members(tmp_path, KERAS)


def test_members_of_another_framework_are_refused(tmp_path: Path):
    fill(MemberFolder(tmp_path, SCHEDULE, KERAS), 2)
    with pytest.raises(ValueError, match=r"one of \.safetensors files"):
        Members(tmp_path, ".safetensors")
