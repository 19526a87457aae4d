"""Who computed a sweep: the ledger's accounts of its trials, together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import ray

from hydrahive.core.durable import write_whole
from hydrahive.runtime.coordinator.actor import CoordinatorLine, coordinator
from hydrahive.tuning.folder import SweepFolder


@dataclass(frozen=True)
class Earned:
    """What an owner did for a sweep.

    Attributes:
        owner: The account.
        env_steps: Paid ones.
        microtokens: What they earned.
    """

    owner: str
    env_steps: int
    microtokens: int


def note_tokens(folder: SweepFolder, ledger: Path | None, *, embedded: bool) -> None:
    """Ask the cluster's ledger, which is at `ledger` where it has none yet, for a sweep's accounts, and keep them."""
    CoordinatorLine(ledger, embedded=embedded)
    rows = ray.get(coordinator().work_of.remote(folder.name))
    earned = [Earned(row["owner"], row["env_steps"], row["earned"]) for row in rows]
    write_whole(folder.path / "accounts.json", json.dumps([asdict(one) for one in earned], indent=1).encode())


def tokens_of(folder: SweepFolder) -> list[Earned]:
    """What was kept; nothing where no accounts are."""
    path = folder.path / "accounts.json"
    return [Earned(**plain) for plain in json.loads(path.read_text("utf-8"))] if path.is_file() else []
