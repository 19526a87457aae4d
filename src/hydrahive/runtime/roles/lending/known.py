"""A known fragment: whoever computes it to the same digest is of the run's machine class, whatever he says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch
from blake3 import blake3

from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.receipt import acted_digest, seen_digest, told_digest
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.shard import Shard


def nothing() -> None:
    """Show no sign of life."""


def known_digest(config: RunConfig, nonce: int, still_alive: Callable[[], None] = nothing) -> str:
    """The digest, in hex, of a fragment by fresh weights in fresh environments, all drawn from `nonce`, at least 0."""
    drawn = replace(config, seed=nonce)
    network = build_network(drawn, torch.Generator().manual_seed(nonce))
    with closing(drawn.env.make_vector(drawn.envs_per_shard)) as env:
        env.still_alive = still_alive
        fragment, summary = Shard(drawn, "known", 0, env).simulate(0, 0, network)
    return digest_of(fragment, summary)


def digest_of(fragment: Fragment, summary: FragmentSummary) -> str:
    """BLAKE3 of all that a fragment holds and that is said of it."""
    parts = seen_digest(fragment, whole=True), acted_digest(fragment), told_digest(summary)
    return blake3("/".join(parts).encode()).hexdigest()
