"""`hydrahive bench train`: trained env steps/s, alone or against others in alternated windows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch

from hydrahive.bench.contenders import Contender, RllibImpala, close_all, ours
from hydrahive.bench.parts import Parts, measure_parts
from hydrahive.bench.statistics import ratio_interval
from hydrahive.ledger.audit_rules import AuditConfig
from hydrahive.ledger.prices import LedgerConfig
from hydrahive.runtime.config import RunConfig
from hydrahive.runtime.machine_class import machine_class, prepare_torch
from hydrahive.runtime.ray_address import is_embedded
from hydrahive.runtime.ray_cluster import connect


def bench_training(
    config: RunConfig,
    against: Sequence[str],
    seconds: float,
    windows: int,
    address: str | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Race the config against others on one Ray cluster: medians, ratios with their intervals, and the ceiling.

    All contenders are alive at once but train in turn, window by window, so that they meet the same machine.

    Args:
        config: Ours.
        against: Any of `rllib`, `free-running`, `inline`, `unpaid` and `audited-N`, as `hydrahive bench` explains.
        seconds: Counted length of a window.
        windows: Windows of each contender, after one that warms up.
        address: Of a Ray cluster, or None.
        say: Receives progress lines.

    Raises:
        HydrahiveError: If the cluster cannot be reached or a contender fails.
    """
    workers = config.worker_count()
    parts = measure_parts(config, seconds) if measurable(config) else None
    cpus = (workers + config.learner.threads) * (2 + len(against))
    connect(address, cpus)
    prepare_torch(config, config.learner.threads)
    contenders: list[Contender] = []
    try:
        embedded = is_embedded(address)
        contenders.append(ours("hydrahive", config, workers, embedded=embedded))
        contenders.extend(_opponent(name, config, workers, embedded) for name in against)
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
    finally:
        close_all(contenders)
        ray.shutdown()
    return _report(config, workers, speeds, parts)


def measurable(config: RunConfig) -> bool:
    """Whether the costs of an env step can be told apart: no replay feeds the learner, which computes on the CPU."""
    on_cpu = config.learner.device == "cpu" or (config.learner.device == "auto" and not torch.cuda.is_available())
    return config.replay is None and on_cpu


def _opponent(name: str, config: RunConfig, workers: int, embedded: bool) -> Contender:
    if name == "rllib":
        return RllibImpala(config, max(workers, 1))
    if name == "inline":
        return ours("inline", config, 0)
    if name == "unpaid":
        return ours(name, dataclasses.replace(config, ledger=LedgerConfig(enabled=False)), workers, embedded=embedded)
    if name.startswith("audited-"):
        share = int(name.removeprefix("audited-")) / 100
        audit = AuditConfig(workers="all", trust_after=1, at_least=share)
        return ours(name, dataclasses.replace(config, audit=audit), workers, embedded=embedded)
    return ours("free-running", dataclasses.replace(config, schedule="free-running"), workers, embedded=embedded)


def _report(config: RunConfig, workers: int, speeds: dict[str, list[float]], parts: Parts | None) -> dict[str, Any]:
    mine = speeds["hydrahive"]
    return {
        "experiment": config.experiment,
        "workers": workers,
        "cpus": os.cpu_count(),
        "machine_class": machine_class(config),
        "steps_per_second": {name: float(np.median(windows)) for name, windows in speeds.items()},
        "ratios": {name: ratio_interval(mine, windows) for name, windows in speeds.items() if name != "hydrahive"},
        "parts": parts.report(config, float(np.median(mine))) if parts else None,
        "windows": speeds,
    }
