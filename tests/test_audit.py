"""A pin with an advisory, or one that the stored answer does not know, fails `make check`."""

from __future__ import annotations

import json

import pytest
from packaging.version import Version

from scripts import axe
from scripts.audit import ANSWER, bound_of, complaints, concerns, inside, pins


def stored():
    return json.loads(ANSWER.read_text(encoding="utf-8"))


def test_the_stored_answer_is_about_these_pins():
    assert complaints(stored()) == []
    assert len(pins()) > 100
    assert {*stored()} == {"source", "commit", "date", "pins"}


def test_an_advisory_and_an_unknown_pin_are_named():
    (first, old), (second, new), *_ = pins()
    told = stored()
    told["pins"][f"{first}=={old}"] = ["PYSEC-1", "PYSEC-2"]
    del told["pins"][f"{second}=={new}"]
    assert complaints(told) == [
        f"{first}=={old}: PYSEC-1, PYSEC-2",
        f"{second}=={new}: not in the stored answer; see scripts/audit.py",
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.9", False), ("1.0", True), ("1.9", True), ("2.0", False), ("3.0", True), ("4.1", False)],
)
def test_a_range_has_its_versions(version: str, expected: bool):
    events = [
        {"introduced": "1.0"},
        {"fixed": "2.0"},
        {"introduced": "3.0"},
        {"last_affected": "4"},
    ]
    assert inside(events, Version(version)) is expected
    affected = [{"versions": ["7"], "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
    assert concerns({"affected": affected}, version) is expected
    assert concerns({"affected": affected}, "7")


def test_a_bound_of_no_scheme_is_the_release_it_begins_with():
    events = [{"introduced": "0"}, {"last_affected": "2.6.0-cu124"}]
    found = {told: inside(events, Version(told)) for told in ("2.5.0", "2.6.0", "2.6.1", "2.13.0")}
    assert found == {"2.5.0": True, "2.6.0": True, "2.6.1": False, "2.13.0": False}
    assert bound_of("unknown") is None
    assert inside([{"introduced": "0"}, {"last_affected": "unknown"}], Version("9.9"))


def test_another_package_than_the_pinned_one_is_not_unpacked():
    with pytest.raises(ValueError, match="not the pinned one"):
        axe.unpacked(b"another one")
