"""Whose a run is, as far as running the code that it names goes: a run is one's own if this user's key signed it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path

from hydrahive.core.durable import read_json, write_whole

FILE = "signature.json"
KEY_BYTES = 32


def sign(folder: Path, run_id: str, config: bytes) -> None:
    """Sign a run's config as this user's word; without a place for a key the run stays unsigned."""
    key = _key(make=True)
    if key is not None:
        write_whole(folder / FILE, json.dumps({"signed": _signature(key, run_id, config)}).encode())


def is_signed(folder: Path, run_id: str, config: bytes) -> bool:
    """Whether this user signed that this is the config of the run of this id."""
    key, said = _key(make=False), read_json(folder / FILE) or {}
    signed = said.get("signed")
    return key is not None and isinstance(signed, str) and hmac.compare_digest(signed, _signature(key, run_id, config))


def _signature(key: bytes, run_id: str, config: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) in hex."""
    said = json.dumps([run_id, hashlib.sha256(config).hexdigest()])
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """This user's key, in the user's own folder of configuration; nobody else can read it."""
    try:
        base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        path = Path(base) / "hydrahive" / "key"
        if not path.is_file():
            if not make:
                return None
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(path, secrets.token_bytes(KEY_BYTES), 0o600)
        key = path.read_bytes()
    except (OSError, RuntimeError):  # nowhere to keep one
        return None
    return key if len(key) == KEY_BYTES else None
