"""Boundaries on disk: atomic, checked when read, loadable without pickle."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from hydrahive.core.durable import TEMPORARY_SUFFIX, whole_folder, write_synced, write_whole
from hydrahive.core.errors import CheckpointError
from hydrahive.runtime.runs import others
from hydrahive.runtime.runs.boundary import Block, Boundary, Progress

FORMAT = 1
"""Version of the layout: `state.safetensors` with the arrays, and `manifest.json`, written last.

A replay's episodes lie beside them in `replay/`, in blocks that several checkpoints share; each is named by its digest.
"""

BLOCKS = "replay"

DIGEST = re.compile(r"[0-9a-f]{64}")

FACTS, CUT = ("seconds", "machine_class", "digest", "state_digest"), ("updates", "resumable", "score_mean", "progress")
"""What every manifest says of a checkpoint, and of the boundary in it."""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_mapping(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(fits(one) for one in value.values())


FITS: dict[str, Callable[[Any], bool]] = {
    "run_id": lambda value: value is None or isinstance(value, str),
    "segment": _is_count,
    "updates": _is_count,
    "resumable": lambda value: isinstance(value, bool),
    "seconds": lambda value: _is_number(value) and value >= 0,
    "machine_class": lambda value: isinstance(value, str),
    "digest": lambda value: isinstance(value, str),
    "state_digest": lambda value: isinstance(value, str),
    "fingerprint": lambda value: value is None or _is_mapping(value, lambda one: isinstance(one, str)),
    "score_mean": lambda value: value is None or _is_number(value),
    "progress": lambda value: isinstance(value, dict),
    "replay_blocks": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "files": lambda value: _is_mapping(value, lambda one: isinstance(one, str)),
    "standings": lambda value: _is_mapping(value, lambda one: _is_mapping(one, _is_count)),
}
"""What a manifest's values are like; whoever can write the folder can write anything."""


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
        outbox: What the ledger had not answered yet; None if no accounts were kept.
        standings: What was known of the nodes that work for the run.
        fingerprint: Which code its bytes were made with; None where that was not written down.
    """

    path: Path
    boundary: Boundary
    seconds: float
    machine_class: str
    digest: str
    state_digest: str
    outbox: bytes | None
    standings: dict[str, Any]
    fingerprint: dict[str, str] | None = None


@dataclass(frozen=True)
class Segment:
    """A part of a run's line: from an update on, behind which nothing of the parts before is the run's any more.

    Attributes:
        from_update: Where it begins.
        why: In words.
        tainted: Whether dishonest work may be in what it begins with.
        owed: Postings of the part before that the ledger must have, as plain data.
        accepted: Other versions than those of the part before, with which it goes on; in words.
    """

    from_update: int
    why: str
    tainted: bool = False
    owed: Sequence[dict[str, Any]] = ()
    accepted: str = ""


class CheckpointStore:
    """The checkpoints of one run, in a folder of its own."""

    def __init__(
        self, folder: Path, keep: int = 3, segments: Sequence[Segment] = (), run_id: str | None = None
    ) -> None:
        """Look after `folder`, which need not exist yet.

        Args:
            folder: Of the checkpoints.
            keep: How many of the newest.
            segments: Of the run, behind its first one.
            run_id: The run's, which others' checkpoints do not have; None for any.
        """
        self._folder, self._keep, self._segments, self._run_id = folder, keep, segments, run_id
        self._sound_blocks: set[str] = set()

    def write(
        self,
        boundary: Boundary,
        seconds: float,
        machine_class: str,
        *,
        fingerprint: Mapping[str, str] | None = None,
        outbox: bytes | None = None,
        standings: dict[str, Any] | None = None,
        way_back: int | None = None,
        held: Collection[int] = (),
    ) -> Path:
        """Write a boundary, whole or not at all, then remove what need not be kept.

        Args:
            boundary: The cut.
            seconds: Training time up to it.
            machine_class: Where its bytes were made.
            fingerprint: Which code they were made with.
            outbox: What the ledger has not answered yet.
            standings: What is known of the nodes that work for the run.
            way_back: An update that the run may have to return to; the newest checkpoint up to it is kept.
            held: Updates whose checkpoints are kept.

        Raises:
            OSError: If the disk does not take it; nothing half-written is left.
        """
        self._write_blocks(boundary.blocks)
        with ThreadPoolExecutor(2) as hashing:  # SHA-256 works beside other threads; training waits for one pass
            digest, state_digest = hashing.submit(boundary.digest), hashing.submit(boundary.state_digest)
            files, tensors = others.parted(boundary.state)
        manifest = {
            "format": FORMAT,
            "run_id": self._run_id,
            "segment": len(self._segments),
            "updates": boundary.updates,
            "resumable": boundary.resumable,
            "seconds": seconds,
            "machine_class": machine_class,
            "fingerprint": None if fingerprint is None else dict(fingerprint),
            "digest": digest.result(),
            "state_digest": state_digest.result(),
            "state_blake3": blake3(tensors).hexdigest(),
            "score_mean": boundary.progress.score_mean,
            "progress": boundary.progress.as_plain(),
            "replay_blocks": [block.digest for block in boundary.blocks],
            **others.said_of(files),
            "standings": standings or {},
            "outbox_sha256": None if outbox is None else hashlib.sha256(outbox).hexdigest(),
        }
        path = self._folder / f"{boundary.updates:09d}"
        with whole_folder(path) as partial:
            write_synced(partial / "state.safetensors", tensors)
            if outbox is not None:
                write_synced(partial / "outbox.json", outbox)
            others.write(partial, files)
            sealed = manifest | {"manifest_sha256": _sealed(manifest)}
            write_synced(partial / "manifest.json", json.dumps(sealed, indent=1).encode())
        self._prune(way_back, held)
        return path

    def _write_blocks(self, blocks: Sequence[Block]) -> None:
        """Write a replay's blocks that are not known to be there, whole."""
        for block in blocks:
            if block.digest not in self._sound_blocks:
                path = _block_path(self._folder, block.digest)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, save_tensors(block.arrays))
                self._sound_blocks.add(block.digest)

    def newest(
        self, *, resumable: bool = False, up_to: int | None = None, with_replay: bool = False
    ) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, and why newer ones were passed over.

        Args:
            resumable: Only consider those that the run can be continued from.
            up_to: Only consider those up to this update.
            with_replay: Read the replay's episodes, too, without which a run cannot be continued.
        """
        passed_over = []
        for path in sorted(self._paths(), reverse=True):
            if up_to is not None and int(path.name) > up_to:
                continue
            try:
                manifest = _manifest(path)
                if not self._is_on_the_line(manifest):
                    continue
                self._refuse_anothers(path, manifest)
                checkpoint = read_checkpoint(path, with_replay=with_replay)
            except CheckpointError as error:
                passed_over.append(str(error))
                continue
            if checkpoint.boundary.resumable or not resumable:
                return checkpoint, passed_over
        return None, passed_over

    def at(self, updates: int, *, with_replay: bool = False) -> Checkpoint | None:
        """The checkpoint of one boundary of the run's line; None if there is none. `with_replay`: with its episodes.

        Raises:
            CheckpointError: If it is altered, or another run's.
        """
        path = self._folder / f"{updates:09d}"
        if not path.is_dir():
            return None
        manifest = _manifest(path)
        self._refuse_anothers(path, manifest)
        return read_checkpoint(path, with_replay=with_replay) if self._is_on_the_line(manifest) else None

    def _paths(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (path for path in self._folder.iterdir() if path.name.isdigit())

    def _refuse_anothers(self, path: Path, manifest: dict[str, Any]) -> None:
        whose = manifest.get("run_id")  # which older ones do not say
        if None not in (whose, self._run_id) and whose != self._run_id:
            raise CheckpointError(f"checkpoint {path}: is of another run ({whose}), not of this one ({self._run_id})")

    def _is_on_the_line(self, manifest: dict[str, Any]) -> bool:
        """Whether a checkpoint belongs to the run as it is now: no later segment begins before it."""
        later = self._segments[manifest.get("segment", 0) :]
        return all(manifest["updates"] <= segment.from_update for segment in later)

    def _prune(self, way_back: int | None, held: Collection[int]) -> None:
        """Keep the newest ones, the best by score_mean, those held, the newest to continue from, and the way back."""
        manifests = {}
        for path in sorted(self._paths(), reverse=True):
            try:
                manifests[path] = _manifest(path)
            except CheckpointError:
                continue
        beside = {path for path, manifest in manifests.items() if not self._is_on_the_line(manifest)}
        for path in beside:
            del manifests[path]
        scored = [path for path, manifest in manifests.items() if manifest["score_mean"] is not None]
        kept = set(list(manifests)[: self._keep])
        kept |= {max(scored, key=lambda path: manifests[path]["score_mean"])} if scored else set()
        resumable = [path for path, manifest in manifests.items() if manifest["resumable"]]
        kept |= set(resumable[:1])
        kept |= {path for path in manifests if int(path.name) in held}
        if way_back is not None:
            kept |= set([path for path in resumable if manifests[path]["updates"] <= way_back][:1])
        for path in (set(manifests) - kept) | beside:
            path.rename(path.with_name(path.name + TEMPORARY_SUFFIX))  # gone at once, not file by file
        for path in self._folder.iterdir():
            if path.name.endswith(TEMPORARY_SUFFIX):
                shutil.rmtree(path)
        shared = {digest for path in kept for digest in manifests[path].get("replay_blocks", ())}
        for path in (self._folder / BLOCKS).glob("*"):
            if path.stem not in shared:
                path.unlink()
                self._sound_blocks.discard(path.stem)


def _block_path(folder: Path, digest: str) -> Path:
    return folder / BLOCKS / f"{digest}.safetensors"


def _read_block(folder: Path, digest: str) -> Block:
    """A replay's block.

    Raises:
        CheckpointError: If it is missing, truncated or altered.
    """
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise CheckpointError(f"checkpoint in {folder}: names a replay block {digest!r}, which is no digest")
    path = _block_path(folder, digest)
    try:
        block = Block(load_tensors(path.read_bytes()))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"replay block {path}: cannot be read ({error})") from None
    if block.digest != digest:
        raise CheckpointError(f"replay block {path}: is altered")
    return block


def read_checkpoint(path: Path, *, with_replay: bool = False) -> Checkpoint:
    """The checkpoint in a folder; `with_replay`: with its replay's episodes.

    Raises:
        CheckpointError: If it is missing, truncated, altered, or of another format version.
    """
    manifest = _manifest(path)
    try:
        tensors = (path / "state.safetensors").read_bytes()
        if not _is_whole(tensors, manifest):
            raise CheckpointError(f"checkpoint {path}: its arrays are truncated or altered")
        outbox = (path / "outbox.json").read_bytes() if manifest.get("outbox_sha256") else None
        if outbox is not None and hashlib.sha256(outbox).hexdigest() != manifest["outbox_sha256"]:
            raise CheckpointError(f"checkpoint {path}: its outbox is truncated or altered")
        digests = manifest.get("replay_blocks", ()) if with_replay else ()
        blocks = tuple(_read_block(path.parent, digest) for digest in digests)
        progress = Progress.from_plain(manifest["progress"])
        state = load_tensors(tensors) | others.read(path, manifest)
        boundary = Boundary(state, progress, manifest["resumable"], blocks)
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: cannot be read ({error})") from None
    seconds, machine_class, digest, state_digest = (manifest[key] for key in FACTS)
    standings = manifest.get("standings", {})
    made_with = manifest.get("fingerprint")
    return Checkpoint(path, boundary, seconds, machine_class, digest, state_digest, outbox, standings, made_with)


def _is_whole(tensors: bytes, manifest: dict[str, Any]) -> bool:
    """Whether these are the arrays that a manifest is of."""
    if "state_blake3" in manifest:
        return bool(blake3(tensors).hexdigest() == manifest["state_blake3"])
    return bool(hashlib.sha256(tensors).hexdigest() == manifest["state_sha256"])  # of older checkpoints


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text("utf-8"))
        format_ = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: its manifest cannot be read ({error})") from None
    if format_ != FORMAT:
        raise CheckpointError(f"checkpoint {path}: is of format {format_}, this version reads format {FORMAT}")
    missing = [key for key in (*FACTS, *CUT) if key not in manifest]
    if missing:
        raise CheckpointError(f"checkpoint {path}: its manifest lacks {', '.join(missing)}")
    wrong = [key for key, fits in FITS.items() if key in manifest and not fits(manifest[key])]
    if wrong:
        raise CheckpointError(f"checkpoint {path}: its manifest says of {', '.join(wrong)} what cannot be")
    if "manifest_sha256" in manifest and manifest["manifest_sha256"] != _sealed(manifest):  # older ones have none
        raise CheckpointError(f"checkpoint {path}: its manifest is altered")
    return manifest


def _sealed(manifest: dict[str, Any]) -> str:
    """The SHA-256 of all else that a manifest says."""
    said = json.loads(json.dumps({key: value for key, value in manifest.items() if key != "manifest_sha256"}))
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
