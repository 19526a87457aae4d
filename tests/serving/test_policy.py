"""A served policy answers with the evaluator's own bytes, however its queries are put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, Hydrahive
from hydrahive.core.errors import UsageError
from hydrahive.core.streams import derived_seed
from hydrahive.runtime.inspect.playing import load_policy
from hydrahive.runtime.roles.evaluation import Player, evaluation_columns
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.serving.policy import ServedPolicy

RUNS = {
    "snake": ["snake/vtrace", *TINY, "--stop.env_steps", 20_000],
    "snake-gru": [
        "snake/vtrace",
        *TINY,
        "--policy.core",
        "Gru",
        "--policy.core.hidden",
        16,
        "--stop.env_steps",
        20_000,
    ],
    "masked": ["pettingzoo/connect-four", "--workers", 0, "--stop.env_steps", 6_000],
    "stated": [
        "pettingzoo/speaker-listener", "--algorithm", "PPO", "--algorithm.central_critic", "true",
        "--env.central_state", "true", "--workers", 0, "--stop.env_steps", 6_000,
    ],  # its critic reads what nobody has to send
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Hydrahive:
    hydrahive = Hydrahive(tmp_path_factory.mktemp("runs"))
    for name, (config, *options) in RUNS.items():
        hydrahive.train(config, name, *options)
    return hydrahive


@pytest.mark.parametrize("name", RUNS)
def test_answers_are_the_evaluators_actions(trained: Hydrahive, name: str) -> None:
    """Step by step beside the evaluator: the same rows, asked for in pieces of any size and order."""
    folder = RunFolder(trained.runs / name)
    config, network, _ = load_policy(folder)
    served = ServedPolicy(folder)
    columns = evaluation_columns(config)
    env = config.env.make_vector(columns)
    observations, _ = env.reset(seed=derived_seed(config.seed, "evaluation"))
    player, draw = Player(config, network), np.random.default_rng(3)
    memory = torch.zeros((columns, network.memory_size))
    assert (served.space.shape == observations.shape[1:]) == (name != "stated")
    for _ in range(12):
        legal = env.legal_actions()
        with torch.inference_mode():
            scores, after = network.step(torch.tensor(observations), memory)
            expected = player.actions(scores, legal)
        order = draw.permutation(columns)
        cuts = np.sort(draw.choice(np.arange(1, columns), 4, replace=False))
        pieces = [piece for piece in np.split(order, cuts) if len(piece)]
        asked = [
            served.read(
                observations[piece][..., : served.space.shape[-1]].tolist(),
                memory[piece].tolist(),
                None if legal is None else legal[piece].tolist(),
            )
            for piece in pieces
        ]
        together = served.answer(asked) if len(pieces) % 2 else [served.answer([one])[0] for one in asked]
        for piece, given in zip(pieces, together, strict=True):
            assert given.actions.tobytes() == expected[piece].tobytes()
            assert given.memory.tobytes() == after[piece].numpy().tobytes()
        observations, _, _, _, _ = env.step(expected)
        memory = after
    env.close()


def test_more_rows_than_a_batch_are_answered_in_several(trained: Hydrahive) -> None:
    served = ServedPolicy(RunFolder(trained.runs / "snake"))
    rows = np.random.default_rng(1).integers(0, 2, (3 * served.columns + 5, *served.space.shape))
    (whole,) = served.answer([served.read(rows.tolist(), None, None)])
    singles = [served.answer([served.read([row.tolist()], None, None)])[0].actions for row in rows]
    assert whole.actions.tobytes() == np.concatenate(singles).tobytes()


@pytest.mark.parametrize(
    ("observations", "state", "legal", "says"),
    [
        ([1.0, 2.0], None, None, "shape"),
        ([[[1.0]]], None, None, "shape"),
        ([["x"]], None, None, "not a regular array"),
        ([[1.0], [1.0, 2.0]], None, None, "not a regular array"),
        ([[float("nan")]], None, None, "not finite"),
        ([[float("inf")]], None, None, "not finite"),
        ([[10**400]], None, None, "not a regular array"),
        (None, [[1.0]], None, "state"),
        (None, None, [[True]], "legal"),
    ],
)
def test_what_cannot_be_read_is_named(trained: Hydrahive, observations, state, legal, says) -> None:
    served = ServedPolicy(RunFolder(trained.runs / "snake"))
    good = np.zeros((1, *served.space.shape)).tolist()
    with pytest.raises(UsageError, match=says):
        served.read(good if observations is None else observations, state, legal)


def test_a_mask_that_forbids_everything_is_refused(trained: Hydrahive) -> None:
    served = ServedPolicy(RunFolder(trained.runs / "masked"))
    rows = np.zeros((1, *served.space.shape)).tolist()
    with pytest.raises(UsageError, match="at least one true"):
        served.read(rows, None, [[False] * served.choices])


def test_it_follows_the_newest_checkpoint(trained: Hydrahive) -> None:
    folder = RunFolder(trained.runs / "snake")
    served = ServedPolicy(folder)
    assert not served.follow()
    before = served.checkpoint.digest
    config, *options = RUNS["snake"]
    trained.train(config, "snake", *options[:-1], 40_000)
    assert served.follow()
    assert served.checkpoint.digest != before
    assert served.facts()["digest"] == served.checkpoint.digest
    assert not served.follow()


def test_a_run_without_a_checkpoint_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint yet"):
        ServedPolicy(RunFolder(tmp_path / "none"))
