"""What `mkdocs` makes besides what is written: the reference of config keys, and links that lead out of docs/."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from reference import pages

ROOT = Path(__file__).parents[2]

OUTSIDE = {"CHANGELOG.md": "changes.md", "SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md"}
"""Files of the project that are pages of the manual, too."""

LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add what is generated, and what lies outside."""
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    for outside, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=_moved((ROOT / outside).read_text())))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files that are no pages into their names."""
    here = posixpath.dirname(page.file.src_uri)
    return LINK.sub(lambda found: _link(found, here), markdown)


def _link(found: re.Match[str], here: str) -> str:
    text, target, anchor = found[1], found[2], found[3] or ""
    if "://" in target or target.startswith("mailto:"):
        return found[0]
    place = posixpath.normpath(posixpath.join("docs", here, target))
    if place.startswith("docs/") or place in {f"docs/{page}" for page in OUTSIDE.values()}:
        return found[0]
    if place in OUTSIDE:
        return f"[{text}]({posixpath.relpath(OUTSIDE[place], here or '.')}{anchor})"
    assert (ROOT / place).exists(), f"docs/{here}: {target} is nowhere"
    named = f"`{place}`"
    return named if text.strip("`") in (place, posixpath.basename(place)) else f"{text} ({named})"


def _moved(text: str) -> str:
    """The text of a file of the project's root, whose links begin at docs/ instead."""

    def moved(found: re.Match[str]) -> str:
        shown, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target or target.startswith("#"):
            return found[0]
        inside = target.removeprefix("docs/") if target.startswith("docs/") else f"../{target}"
        return f"[{shown}]({inside}{anchor})"

    return LINK.sub(moved, text)
