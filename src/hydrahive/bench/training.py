"""`hydrahive bench train`: trained env steps/s, alone or against others in alternated windows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from hydrahive.bench.contenders import Contender, close_all, ours
from hydrahive.bench.parts import Parts, PartsAlone, ceiling_report
from hydrahive.bench.rllib import RllibRace, is_rllib
from hydrahive.bench.statistics import ratio_interval
from hydrahive.core.errors import UsageError
from hydrahive.ledger.audit_rules import AuditConfig
from hydrahive.ledger.prices import LedgerConfig
from hydrahive.runtime.cluster.address import is_embedded
from hydrahive.runtime.cluster.connecting import connect, disconnect
from hydrahive.runtime.config.machine_class import chosen_device, machine_class, prepare_torch
from hydrahive.runtime.config.run_config import RunConfig


def bench_training(
    config: RunConfig,
    against: Sequence[str],
    seconds: float,
    windows: int,
    address: str | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Race the config against others on one Ray cluster: medians, ratios with their intervals, and the ceiling.

    All contenders are alive at once but train in turn, window by window, so that they meet the same machine; so do the
    parts that the ceiling follows from.

    All learners are on GPUs, where the config has it so and this machine has one for each, or all are on the CPU.

    Args:
        config: Ours.
        against: Any of `rllib`, `rllib:PPO` and so on, `free-running`, `inline`, `unpaid` and `audited-N`.
        seconds: Counted length of a window.
        windows: Windows of each contender, after one that warms up.
        address: Of a Ray cluster, or None.
        say: Receives progress lines.

    Raises:
        UsageError: If there are too few GPUs for those who are to race on them.
        HydrahiveError: If the cluster cannot be reached or a contender fails.
    """
    workers = config.worker_count()
    device = _device_for_all(config.learner.device, against)
    # With a replay the costs of an env step cannot be told apart.
    alone = PartsAlone(config, device) if config.replay is None else None
    parts: list[Parts] = []
    cpus = (workers + config.learner.threads) * (2 + len(against))
    connect(address, cpus)
    prepare_torch(config, config.learner.threads)
    contenders: list[Contender] = []
    try:
        embedded = is_embedded(address)
        contenders.append(ours("hydrahive", config, workers, device, embedded=embedded))
        contenders.extend(_opponent(name, config, workers, device, embedded) for name in against)
        speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for turn in range(windows + 1):
            for contender in contenders:
                speed = contender.window(seconds)
                say(
                    f"window {turn}/{windows}  {contender.name:<12} {speed:>10,.0f} steps/s"
                    + ("" if turn else "  (warm-up)")
                )
                if turn:
                    speeds[contender.name].append(speed)
            if alone:
                measured = alone.measure(seconds)
                parts += [measured] if turn else []
    finally:
        close_all(contenders)
        disconnect()
    return _report(config, workers, device, speeds, parts)


def _device_for_all(wanted: str, against: Sequence[str]) -> str:
    """Where all learners of a race are: RLlib's knows the CPU only, and an actor has a GPU for itself.

    Raises:
        UsageError: If they cannot all be on GPUs, and `wanted` is `cuda`.
    """
    gpus, actors = torch.cuda.device_count(), 1 + sum(name != "inline" for name in against)
    has_rllib = any(map(is_rllib, against))
    fits = not has_rllib and actors <= gpus
    if wanted == "cuda" and not fits:
        why = "RLlib's learner is on the CPU" if has_rllib else f"{actors} GPUs are needed, here are {gpus}"
        raise UsageError(f"learner.device: 'cuda' was asked for, but {why}")
    return chosen_device(wanted, offered=fits)


def _opponent(name: str, config: RunConfig, workers: int, device: str, embedded: bool) -> Contender:
    if is_rllib(name):
        return RllibRace(name, config, workers, embedded)
    if name == "inline":
        return ours("inline", config, 0, device)
    if name == "unpaid":
        unpaid = dataclasses.replace(config, ledger=LedgerConfig(enabled=False))
        return ours(name, unpaid, workers, device, embedded=embedded)
    if name.startswith("audited-"):
        share = int(name.removeprefix("audited-")) / 100
        audit = AuditConfig(workers="all", trust_after=1, at_least=share)
        return ours(name, dataclasses.replace(config, audit=audit), workers, device, embedded=embedded)
    return ours(name, dataclasses.replace(config, schedule="free-running"), workers, device, embedded=embedded)


def _report(
    config: RunConfig, workers: int, device: str, speeds: dict[str, list[float]], parts: Sequence[Parts]
) -> dict[str, Any]:
    mine = speeds["hydrahive"]
    return {
        "experiment": config.experiment,
        "workers": workers,
        "cpus": os.cpu_count(),
        "machine_class": machine_class(config, device),
        "steps_per_second": {name: float(np.median(windows)) for name, windows in speeds.items()},
        "ratios": {name: ratio_interval(mine, windows) for name, windows in speeds.items() if name != "hydrahive"},
        "parts": ceiling_report(config, parts, mine) if parts else None,
        "windows": speeds,
    }
