"""What `make lint` asks of the house besides ruff, mypy and import-linter: nothing grows until nobody finds it.

    python tests/house.py

Prints a line for each thing that is too large or in the wrong room, and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "hydrahive"

FILES, LINES, FUNCTION_LINES, ROOMS = 16, 400, 60, 12
"""The most files of a folder, lines of a file and of a function, and rooms of the runtime."""

WITH_RAY = ("runtime/cluster", "runtime/coordinator", "rllib", "tuning", "serving", "bench")
"""Who imports Ray: two rooms of the runtime, what stands between us and RLlib, and what is built on Tune and Serve."""


def too_much(source: Path = SOURCE) -> Iterator[str]:
    """What is wrong, a line each."""
    for folder in sorted({path.parent for path in source.rglob("*.py")}):
        files = len(list(folder.glob("*.py")))
        if files > FILES:
            yield f"{folder.relative_to(source)}: {files} files; at most {FILES}"
        if not (folder / "__init__.py").is_file() or ast.get_docstring(_parsed(folder / "__init__.py")) is None:
            yield f"{folder.relative_to(source)}: an __init__.py with a docstring says what a folder is for"
    rooms = [path for path in (source / "runtime").iterdir() if (path / "__init__.py").is_file()]
    if len(rooms) > ROOMS:
        yield f"runtime: {len(rooms)} rooms; at most {ROOMS}"
    for path in sorted(source.rglob("*.py")):
        yield from _of_file(path, path.relative_to(source).as_posix())


def _of_file(path: Path, name: str) -> Iterator[str]:
    lines = len(path.read_text().splitlines())
    if lines > LINES:
        yield f"{name}: {lines} lines; at most {LINES}"
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines; at most {FUNCTION_LINES}"
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(module.partition(".")[0] == "ray" for module in modules) and not name.startswith(WITH_RAY):
            yield f"{name}:{node.lineno}: imports Ray; only {', '.join(WITH_RAY)} do"


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


if __name__ == "__main__":
    found = list(too_much())
    print("\n".join(found) or "The house: nothing too large, Ray where it belongs")
    sys.exit(bool(found))
