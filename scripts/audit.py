"""Are the pinned dependencies free of known vulnerabilities? By a stored answer, without a network.

    python scripts/audit.py                  every pin of requirements/ must stand in the answer
    python scripts/audit.py --database DIR   writes the answer anew, from a clone of
                                             https://github.com/pypa/advisory-database; --source
                                             names a fork of it, where the clone is of one

The answer, scripts/audit.json, says of which commit of that database it is, of which day, and what
it had on each pin. A pin that it does not know fails, and so does one with an advisory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
ANSWER = Path(__file__).with_suffix(".json")


def pins() -> list[tuple[str, str]]:
    """Name and version of every pin, the oldest releases left out: they are there to be tested."""
    files = [file for file in (ROOT / "requirements").glob("*.txt") if file.stem != "oldest"]
    texts = [file.read_text(encoding="utf-8") for file in files]
    found: set[tuple[str, str]] = set()
    for line in "\n".join(texts).splitlines():
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-"):
            pin = Requirement(text)
            (exact,) = pin.specifier
            found.add((canonicalize_name(pin.name), exact.version))
    return sorted(found)


def advisories(database: Path, name: str, version: str) -> list[str]:
    """The numbers of those that concern a version, from the database."""
    import yaml

    listed = git(database, "ls-tree", "--name-only", "HEAD", f"vulns/{name}/").split()
    read = (yaml.safe_load(git(database, "show", f"HEAD:{path}")) for path in listed)
    return [told["id"] for told in read if "withdrawn" not in told and concerns(told, version)]


def concerns(told: dict[str, Any], version: str) -> bool:
    """Whether one of an advisory's versions is this one, or one of its ranges holds it."""
    for affected in told["affected"]:
        if version in affected.get("versions", ()):
            return True
        for span in affected.get("ranges", ()):
            if span["type"] == "ECOSYSTEM" and inside(span["events"], Version(version)):
                return True
    return False


def inside(events: list[dict[str, str]], version: Version) -> bool:
    """Whether a version comes after an event that introduces a fault, and before the next fix.

    >>> inside([{"introduced": "0"}, {"fixed": "2.0"}], Version("1.9"))
    True
    >>> inside([{"introduced": "0"}, {"fixed": "2.0"}], Version("2.0"))
    False
    """
    within = False
    for event in events:
        for kind, told in event.items():
            bound = bound_of(told)
            if bound is None:  # no number at all: it says nothing of any pin
                continue
            reached, past = version >= bound, version > bound
            if kind == "introduced" and reached:
                within = True
            if (kind == "fixed" and reached) or (kind == "last_affected" and past):
                within = False
    return within


def bound_of(told: str) -> Version | None:
    """A version that an advisory names, or the release that one of no scheme begins with.

    >>> bound_of("2.6.0-cu124")
    <Version('2.6.0')>
    """
    try:
        return Version(told)
    except InvalidVersion:
        release = re.match(r"[0-9]+(\.[0-9]+)*", told)
        return None if release is None else Version(release.group())


def git(database: Path, *arguments: str) -> str:
    command = ["git", "-C", str(database), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


def ask(database: Path, source: str) -> None:
    """Writes the answer."""
    commit, day = git(database, "log", "-1", "--format=%H %cs").split()
    found = {f"{n}=={v}": advisories(database, n, v) for n, v in pins()}
    told = {"source": source, "commit": commit, "date": day, "pins": found}
    ANSWER.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def complaints(told: dict[str, Any]) -> list[str]:
    """What is wrong with the pins by an answer."""
    wrong: list[str] = []
    for name, version in pins():
        known = told["pins"].get(f"{name}=={version}")
        if known is None:
            wrong.append(f"{name}=={version}: not in the stored answer; see scripts/audit.py")
        elif known:
            wrong.append(f"{name}=={version}: {', '.join(known)}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", type=Path)
    parser.add_argument("--source", default="https://github.com/pypa/advisory-database")
    arguments = parser.parse_args()
    if arguments.database is not None:
        ask(arguments.database, arguments.source)
    told = json.loads(ANSWER.read_text(encoding="utf-8"))
    wrong = complaints(told)
    for line in wrong:
        print(line)
    if not wrong:
        print(f"{len(pins())} pins, none with an advisory as of {told['date']}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
