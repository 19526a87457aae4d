"""Another library's own checkpoint inside of ours: its files lie as they are in a folder, each named by its digest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from safetensors.numpy import save as save_tensors

from hydrahive.core.durable import write_synced
from hydrahive.core.errors import CheckpointError
from hydrahive.core.state import State, nested, under

ARRAYS, FOLDER = "learner/rllib", "rllib"
"""Arrays of a state that are such files' bytes, and the folder in which they lie."""


def parted(state: State) -> tuple[dict[str, bytes], bytes]:
    """The files among a state's arrays, and all other arrays as safetensors."""
    files = {name: array.tobytes() for name, array in sorted(under(ARRAYS, state).items())}
    return files, save_tensors({name: array for name, array in state.items() if not name.startswith(f"{ARRAYS}/")})


def said_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What a manifest says of them."""
    return {"files": {name: _digest(data) for name, data in files.items()}} if files else {}


def write(checkpoint: Path, files: Mapping[str, bytes]) -> None:
    """Write them below a checkpoint's folder."""
    for name, data in files.items():
        place = checkpoint / FOLDER / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_synced(place, data)


def read(checkpoint: Path, manifest: Mapping[str, Any]) -> State:
    """Those that a manifest names, as arrays of a state.

    Raises:
        CheckpointError: If one is truncated or altered, or lies elsewhere.
        OSError: If one is missing.
    """
    found: State = {}
    root = (checkpoint / FOLDER).resolve()
    for name, digest in manifest.get("files", {}).items():
        place = (root / name).resolve()
        if not place.is_relative_to(root):
            raise CheckpointError(f"checkpoint {checkpoint}: names a file {name!r} that is none of its own")
        data = place.read_bytes()
        if _digest(data) != digest:
            raise CheckpointError(f"checkpoint {checkpoint}: its {FOLDER}/{name} is truncated or altered")
        found[name] = np.frombuffer(data, np.uint8)
    return nested(ARRAYS, found)


def _digest(data: bytes) -> str:
    return blake3(data).hexdigest()
