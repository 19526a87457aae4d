"""Boundaries on disk: atomic, checked when read, loadable without pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from hydrahive.core.durable import TEMPORARY_SUFFIX, whole_folder, write_synced
from hydrahive.core.errors import CheckpointError
from hydrahive.runtime.boundary import Boundary, Progress

FORMAT = 1
"""Version of the layout: `state.safetensors` with the arrays, and `manifest.json`, written last."""


@dataclass(frozen=True)
class Checkpoint:
    """A boundary read back from disk.

    Attributes:
        path: Its folder.
        boundary: The cut itself.
        seconds: Training time up to it.
        machine_class: Where its bytes were made.
        digest: The boundary's digest.
        state_digest: The boundary's state digest.
    """

    path: Path
    boundary: Boundary
    seconds: float
    machine_class: str
    digest: str
    state_digest: str


class CheckpointStore:
    """The checkpoints of one run, in a folder of its own."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        """Look after `folder`, which need not exist yet."""
        self._folder, self._keep = folder, keep

    def write(self, boundary: Boundary, seconds: float, machine_class: str) -> Path:
        """Write a boundary, whole or not at all, then remove what need not be kept.

        Raises:
            OSError: If the disk does not take it; nothing half-written is left.
        """
        tensors = save_tensors(boundary.state)
        manifest = {
            "format": FORMAT,
            "updates": boundary.updates,
            "resumable": boundary.resumable,
            "seconds": seconds,
            "machine_class": machine_class,
            "digest": boundary.digest(),
            "state_digest": boundary.state_digest(),
            "state_sha256": hashlib.sha256(tensors).hexdigest(),
            "score_mean": boundary.progress.score_mean,
            "progress": boundary.progress.as_plain(),
        }
        path = self._folder / f"{boundary.updates:09d}"
        with whole_folder(path) as partial:
            write_synced(partial / "state.safetensors", tensors)
            write_synced(partial / "manifest.json", json.dumps(manifest, indent=1).encode())
        self._prune()
        return path

    def newest(self, *, resumable: bool = False) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, and why newer ones were passed over.

        Args:
            resumable: Only consider those that the run can be continued from.
        """
        passed_over = []
        for path in sorted(self._paths(), reverse=True):
            try:
                checkpoint = read_checkpoint(path)
            except CheckpointError as error:
                passed_over.append(str(error))
                continue
            if checkpoint.boundary.resumable or not resumable:
                return checkpoint, passed_over
        return None, passed_over

    def _paths(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (path for path in self._folder.iterdir() if path.name.isdigit())

    def _prune(self) -> None:
        """Keep the newest ones, the best by score_mean, and the newest that the run can be continued from."""
        manifests = {}
        for path in sorted(self._paths(), reverse=True):
            try:
                manifests[path] = _manifest(path)
            except CheckpointError:
                continue
        scored = [path for path, manifest in manifests.items() if manifest["score_mean"] is not None]
        kept = set(list(manifests)[: self._keep])
        kept |= {max(scored, key=lambda path: manifests[path]["score_mean"])} if scored else set()
        kept |= set([path for path, manifest in manifests.items() if manifest["resumable"]][:1])
        for path in set(manifests) - kept:
            path.rename(path.with_name(path.name + TEMPORARY_SUFFIX))  # gone at once, not file by file
        for path in self._folder.iterdir():
            if path.name.endswith(TEMPORARY_SUFFIX):
                shutil.rmtree(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises:
        CheckpointError: If it is missing, truncated, altered, or of another format version.
    """
    manifest = _manifest(path)
    try:
        tensors = (path / "state.safetensors").read_bytes()
        if hashlib.sha256(tensors).hexdigest() != manifest["state_sha256"]:
            raise CheckpointError(f"checkpoint {path}: its arrays are truncated or altered")
        boundary = Boundary(load_tensors(tensors), Progress.from_plain(manifest["progress"]), manifest["resumable"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: cannot be read ({error})") from None
    facts = (manifest[key] for key in ("seconds", "machine_class", "digest", "state_digest"))
    return Checkpoint(path, boundary, *facts)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text())
        format_ = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: its manifest cannot be read ({error})") from None
    if format_ != FORMAT:
        raise CheckpointError(f"checkpoint {path}: is of format {format_}, this version reads format {FORMAT}")
    return manifest
