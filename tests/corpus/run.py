"""Tries the corpus and writes its table: `make corpus`, an hour on two cores.

    python tests/corpus/run.py [--family NAME] [--report FILE] [--folder FOLDER]

What stands in the folder is not tried again, so that it may be stopped and begun again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import measured_on
from corpus.kinds import FAMILIES
from corpus.trying import tried


def main() -> None:
    """Try, say, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--only")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "hydrahive-corpus")
    given = parser.parse_args()
    rows = {}
    for family, kinds in FAMILIES.items():
        for name, kind in kinds.items():
            if given.family not in (None, family) or given.only not in (None, name):
                continue
            place = given.folder / family / name.replace("/", "_").replace(" ", "")
            done = place / "row.json"
            if not done.exists():
                began = time.monotonic()
                row = tried(kind, place)
                done.write_text(json.dumps({**row, "seconds": round(time.monotonic() - began)}))
            rows[family, name] = json.loads(done.read_text())
            print(f"{name:45} {verdict(rows[family, name])}", flush=True)
    if given.report:
        given.report.write_text(as_page(rows))
    bad = [name for (_, name), row in rows.items() if "WRONG" in verdict(row)]
    sys.exit(f"not as it should be: {', '.join(bad)}" if bad else 0)


def verdict(row: dict[str, object]) -> str:
    """One digest, or refused in one line; anything else is wrong."""
    if "refused" in row:
        is_line = row["lines"] == 1 and row["code"] == 2
        return f"refused: {row['refused']}" if is_line else f"WRONG: code {row['code']}, {row['refused']}"
    digests = {row["inline"], row["3 workers"], row["killed"]}
    return f"one digest, {row['inline']}" if len(digests) == 1 else f"WRONG: {digests}"


def as_page(rows: dict[tuple[str, str], dict[str, object]]) -> str:
    """The table as Markdown."""
    lines = [
        "# The corpus of environments",
        "",
        "Written by `make corpus`: each goes through `check-env` and a short training inline, on three workers, and killed",
        "and resumed. It has one digest, or is refused in the line that is shown.",
        "",
        measured_on(),
        "",
        f"{len(rows)} environments: {sum('refused' not in row for row in rows.values())} trained, "
        f"{sum('refused' in row for row in rows.values())} refused.",
    ]
    for family in dict.fromkeys(family for family, _ in rows):
        lines += [
            "",
            f"## {family}",
            "",
            "| environment | `check-env` | inline, 3 workers, killed and resumed |",
            "|---|---|---|",
        ]
        for (of, name), row in rows.items():
            if of == family:
                said = verdict(row).replace("|", "\\|").replace("hydrahive: error: ", "")
                lines.append(f"| {name} | {str(row['check']).replace('hydrahive: error: ', '')} | {said} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
