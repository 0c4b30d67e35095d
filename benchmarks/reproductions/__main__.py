"""The page of the published experiments, from their stored records; nothing is trained.

python -m benchmarks.reproductions              (docs/reproductions.md and its pictures)
python -m benchmarks.reproductions keep DIR...  (stores the records of `cyclerate reproduce`)
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.reproductions import page, stored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["page", "keep"], nargs="?", default="page")
    parser.add_argument("folders", type=Path, nargs="*", metavar="DIR")
    arguments = parser.parse_args()
    if arguments.what == "page":
        print(page.write())
    for folder in arguments.folders:
        kept = stored.keep(folder)
        print(f"{kept}: {kept.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
