"""A run's policy for programs that do not know Hydrahive: as ONNX, or as a program of torch's."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.core.durable import write_whole
from hydrahive.core.errors import HydrahiveError, first_line, not_installed
from hydrahive.core.laid_out import StatedBox
from hydrahive.core.streams import derived_seed
from hydrahive.envs.extras import failures_in_a_line
from hydrahive.envs.vector import AT_THE_END
from hydrahive.policies.agent import Agent
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.inspect.playing import policy_of
from hydrahive.runtime.roles.evaluation import evaluation_columns
from hydrahive.runtime.runs.newest import shown_checkpoint
from hydrahive.runtime.runs.run_folder import RunFolder

TRIED = 1_000
"""Held-out observations on which what is written acts as the policy does."""

CLOSE = 1e-4
"""Real actions are alike up to this, of their range or of 1."""

ONNX, TORCH = "policy.onnx", "policy.pt2"

RUNNER = '''"""A policy that was trained with Hydrahive, without it: needs numpy and {needs}."""

import numpy as np
import {needs}


class Policy:
    """Acts as `policy.json` says: observations {shape}, actions {action}."""

    def __init__(self, path="{file}"):
        self.model = {load}

    def act(self, observations, state=None, legal=None):
        """Actions and the state after them for observations [N, ...]; state is None when an episode begins."""
        rows = len(observations)
        given = {{
            "observations": np.asarray(observations, np.{dtype}),
            "state": np.zeros((rows, {memory}), np.float32) if state is None else np.asarray(state, np.float32),
            "legal": np.ones((rows, {choices}), bool) if legal is None else np.asarray(legal, bool),
        }}
        return {call}
'''
"""`policy.py`, which is all that a program needs beside the policy and what it runs on."""

RUNS: dict[str, dict[str, str]] = {
    "onnx": {
        "needs": "onnxruntime",
        "file": ONNX,
        "load": "onnxruntime.InferenceSession(path)",
        "call": "self.model.run(None, {one.name: given[one.name] for one in self.model.get_inputs()})",
    },
    "torch": {
        "needs": "torch",
        "file": TORCH,
        "load": "torch.export.load(path).module()",
        "call": "[one.detach().numpy() for one in self.model(*map(torch.from_numpy, list(given.values())[:INPUTS]))]",
    },
}


class Exported(nn.Module):
    """Observations, memory and masks to actions as the environment takes them, and the memory after them."""

    def __init__(self, network: Agent, *, masks: bool) -> None:
        """Of a policy; `masks`: whether it is given which actions are legal."""
        super().__init__()
        self.network, self._masks = network, masks

    def forward(self, observations: Tensor, state: Tensor, *legal: Tensor) -> tuple[Tensor, Tensor]:
        """Act on `[N, ...]`, `[N, M]` and bool `[N, choices]`: actions `[N, ...]`, and the memory after them."""
        scores, after = self.network.step(observations, state)
        if self._masks:
            scores = self.network.distribution.masked(scores, legal[0])
        return self.network.distribution.tensors_for_env(self.network.distribution.mode(scores)), after


@dataclass(frozen=True)
class Tried:
    """What a policy does on held-out observations, `[K, ...]` each."""

    inputs: tuple[np.ndarray, ...]
    actions: np.ndarray
    memory: np.ndarray


def export(folder: RunFolder, out: Path, form: Literal["onnx", "torch"], *, newest: bool = False) -> dict[str, Any]:
    """Write the policy that a run shows, or its `newest`, into a folder, with `policy.py` that runs it; what it is.

    Nothing is written before it has acted on a thousand held-out observations as the policy does, in full precision.

    Raises:
        UsageError: If what it needs is not installed.
        HydrahiveError: If it cannot be told in this form, or acts otherwise.
    """
    checkpoint = shown_checkpoint(folder, newest=newest)
    config, network = policy_of(folder, checkpoint)
    torch.set_float32_matmul_precision("highest")
    network.acts_in_bfloat16 = False
    network.eval().requires_grad_(requires_grad=False)
    tried, facts = _tried(config, network)
    masks = facts["choices"] is not None
    module = Exported(network, masks=masks).eval()
    try:
        with _plain_layers(network):
            data, said, version = (_as_onnx if form == "onnx" else _as_torch)(module, tried)
    except ImportError as error:
        raise not_installed(f"--format: {form}", error) from None
    except Exception as error:  # exporters raise whatever they like
        told = f"its policy cannot be told as {form} ({type(error).__name__}: {first_line(error)}); nothing was written"
        raise HydrahiveError(f"run {folder.name!r}: {told}") from error
    wrong = _unlike(tried, *said)
    if wrong:
        told = f"as {form} its policy acts otherwise in {wrong} of {TRIED:,} observations; nothing was written"
        raise HydrahiveError(f"run {folder.name!r}: {told}")
    facts |= {
        "run": folder.name, "experiment": config.experiment, "digest": checkpoint.digest,
        "env_steps": checkpoint.boundary.progress.env_steps, "format": form, "version": version, "tried": TRIED,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    file = ONNX if form == "onnx" else TORCH
    write_whole(out / file, data)
    write_whole(out / "policy.py", _runner(form, facts).encode())
    write_whole(out / "policy.json", json.dumps(facts, indent=1).encode() + b"\n")
    return facts


@torch.no_grad()
def _tried(config: RunConfig, network: Agent) -> tuple[Tried, dict[str, Any]]:
    """Play on held-out seeds, and keep what was seen and done; what the policy sees and does, as plain data."""
    columns = evaluation_columns(config)
    kept: list[list[np.ndarray]] = []
    with failures_in_a_line(), closing(config.env.make_vector(columns)) as env:
        env.advance(AT_THE_END)
        seen, _ = env.reset(seed=derived_seed(config.seed, "export"))
        memory = torch.zeros((columns, network.memory_size))
        legal = env.legal_actions()
        choices = None if legal is None else int(legal.shape[1])
        space = env.single_observation_space
        shown = space.seen if isinstance(space, StatedBox) else space
        while sum(len(rows[0]) for rows in kept) < TRIED:
            legal = env.legal_actions()
            given = [seen[:, : shown.shape[0]] if isinstance(space, StatedBox) else seen, memory.numpy()]
            given += [] if legal is None else [legal]
            scores, after = network.step(torch.tensor(seen), memory)
            if legal is not None:
                scores = network.distribution.masked(scores, torch.from_numpy(legal))
            actions = network.distribution.for_env(network.distribution.mode(scores).numpy())
            kept.append([np.array(one) for one in (*given, actions, after.numpy())])
            seen, _, terminated, truncated, _ = env.step(actions)
            memory = after.clone()
            memory[torch.from_numpy(terminated | truncated)] = 0.0
        facts = {
            "observation": {"shape": list(shown.shape), "dtype": str(shown.dtype)},
            "action": str(env.single_action_space), "state": network.memory_size, "choices": choices,
        }  # fmt: skip
    *inputs, done, remembered = (np.concatenate(column)[:TRIED] for column in zip(*kept, strict=True))
    return Tried(tuple(inputs), done, remembered), facts


def _as_onnx(module: Exported, tried: Tried) -> tuple[bytes, list[np.ndarray], str]:
    """The model, what onnxruntime makes of what was tried, and the version of ONNX's operators."""
    import onnxruntime

    names = ["observations", "state", "legal"][: len(tried.inputs)]
    with _quiet():
        program = torch.onnx.export(
            module, _some(tried), dynamo=True, verbose=False, dynamic_shapes=_shapes(tried), input_names=names,
            output_names=["actions", "next_state"],
        )  # fmt: skip
    assert program is not None, "it was asked for"
    data: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}  # one that nothing depends on is left out
    feed = {name: given for name, given in zip(names, tried.inputs, strict=True) if name in wanted}
    return data, session.run(None, feed), f"opset {program.model_proto.opset_import[0].version}"


def _as_torch(module: Exported, tried: Tried) -> tuple[bytes, list[np.ndarray], str]:
    """The program, what it makes of what was tried, and torch's version."""
    import io

    with _quiet():
        program = torch.export.export(module, _some(tried), dynamic_shapes=_shapes(tried))
        made = io.BytesIO()
        torch.export.save(program, made)
    again = torch.export.load(io.BytesIO(made.getvalue())).module()
    said = again(*(torch.from_numpy(given) for given in tried.inputs))
    return made.getvalue(), [one.detach().numpy() for one in said], f"torch {torch.__version__}"


def _some(tried: Tried) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(given[:3].copy()) for given in tried.inputs)


def _shapes(tried: Tried) -> Any:
    """Any number of rows."""
    rows = torch.export.Dim("rows", min=1, max=1 << 20)
    observations, state, *legal = ({0: rows} for _ in tried.inputs)
    return (observations, state, tuple(legal)) if legal else (observations, state)


def _unlike(tried: Tried, actions: np.ndarray, memory: np.ndarray) -> int:
    """In how many observations something else is done, or remembered."""
    rows = len(tried.actions)
    if tried.actions.dtype.kind in "iub":
        apart = (actions.reshape(rows, -1) != tried.actions.reshape(rows, -1)).any(1)
    else:
        apart = ~np.isclose(actions.reshape(rows, -1), tried.actions.reshape(rows, -1), CLOSE, CLOSE).all(1)
    return int((apart | ~np.isclose(memory, tried.memory, 1e-3, 1e-3).all(1)).sum())


@contextmanager
def _plain_layers(network: Agent) -> Iterator[None]:
    """Have pictures go through layers as they stand: folding bytes is a trick of ours that no exporter knows."""
    folding: list[Any] = [module for module in network.modules() if getattr(module, "_folds", False)]
    for module in folding:
        module._folds = False
    try:
        yield
    finally:
        for module in folding:
            module._folds = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell much; what goes wrong is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _runner(form: str, facts: dict[str, Any]) -> str:
    """`policy.py`."""
    seen, choices = facts["observation"], facts["choices"]
    words = {name: text.replace("INPUTS", str(2 if choices is None else 3)) for name, text in RUNS[form].items()}
    shown = {"shape": seen["shape"], "dtype": seen["dtype"], "action": facts["action"]}
    return RUNNER.format(**words, **shown, memory=facts["state"], choices=choices or 0)
