"""What a volunteer computes: the known fragment, and the acting that is lent."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import load

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.core.state import State
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.runtime.config.fingerprint import fingerprint_of
from hydrahive.runtime.config.machine_class import machine_class, prepare_torch
from hydrahive.runtime.config.named_code import unfit_for_strangers
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import WORKER_THREADS, build_network
from hydrahive.runtime.roles.lending.acting import lent_of
from hydrahive.runtime.roles.lending.known import known_digest
from hydrahive.runtime.roles.lending.layout import Layout
from hydrahive.runtime.roles.shard import Shard

READING = threading.Lock()
"""The parser goes to another folder for a moment, and so does the whole process."""


def config_of(plain: Mapping[str, Any]) -> RunConfig:
    """The config that a gateway gives, which is believed no more than any other stranger's.

    Raises:
        HydrahiveError: If it names code that does not come with us, or is none.
    """
    named = unfit_for_strangers(dict(plain))
    if named:
        raise HydrahiveError(f"this run names what a stranger is not asked to run: {', '.join(named)[:300]}")
    with READING, tempfile.TemporaryDirectory(prefix="hydrahive-") as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(dict(plain)))
        try:
            return load_run_config(path)
        except UsageError as error:
            raise HydrahiveError(f"this run's config means nothing here: {error}") from None


class Acting:
    """A volunteer's copies of a run's shards, and its policy."""

    def __init__(self, config: RunConfig, run_id: str) -> None:
        """Hold no shard yet."""
        prepare_torch(config, WORKER_THREADS)
        self._config, self._run_id = config, run_id
        self._network = build_network(config, torch.Generator())
        self._weights = FlatWeights(self._network)
        self._layout = Layout(config)
        self._shards: dict[int, Shard] = {}
        self._loaded = ""
        self.weights_bytes = self._weights.vector.nbytes

    def known(self, nonce: int) -> tuple[str, str, dict[str, str]]:
        """The known fragment's digest, this process's machine class, and what it computes with."""
        digest = known_digest(self._config, nonce)
        return digest, machine_class(self._config), fingerprint_of(self._config.env)

    def load(self, name: str, weights: bytes) -> None:
        """Act with these flat float32 weights from now on.

        Raises:
            HydrahiveError: If they are not this policy's.
        """
        if name == self._loaded:
            return
        if len(weights) != self.weights_bytes:
            raise HydrahiveError(f"the gateway gave {len(weights):,} bytes of weights; expected {self.weights_bytes:,}")
        self._weights.load(np.frombuffer(weights, np.float32))
        self._loaded = name

    def stand(self, shard: int, state: bytes) -> None:
        """Have a shard's copy stand where a state says, which is arrays only.

        Raises:
            HydrahiveError: If it is no such state.
        """
        try:
            arrays: State = load(state)
            if shard not in self._shards:
                env = self._config.env.make_vector(self._config.envs_per_shard)
                self._shards[shard] = Shard(self._config, self._run_id, shard, env)
            self._shards[shard].restore(arrays)
        except Exception as error:  # whatever it holds: it is a stranger's
            self.forget(shard)
            raise HydrahiveError(f"the gateway gave a state that cannot be gone on from: {error}") from None

    def stands_at(self, shard: int) -> int | None:
        """The round that a shard's copy stands at; None without one."""
        return self._shards[shard].round if shard in self._shards else None

    def acted(self, shard: int, round_: int, version: int) -> tuple[bytes, int]:
        """Act for one fragment: what is brought back of it, and its env steps."""
        try:
            one = self._shards[shard]
            fragment, summary = one.simulate(round_, version, self._network)
        except Exception:
            self.forget(shard)
            raise
        return self._layout.packed(lent_of(fragment, summary, one)), summary.env_steps

    def forget(self, shard: int) -> None:
        """Close a shard's copy."""
        held = self._shards.pop(shard, None)
        if held is not None:
            held.env.close()

    def close(self) -> None:
        """Close all."""
        for shard in list(self._shards):
            self.forget(shard)
