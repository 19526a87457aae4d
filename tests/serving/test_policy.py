"""A served policy answers with the evaluator's own bytes, however its queries are put together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, Hydrahive
from hydrahive.core.errors import UsageError
from hydrahive.core.streams import derived_seed
from hydrahive.runtime.inspect.playing import ensemble_weights, load_ensemble, load_policy
from hydrahive.runtime.roles.evaluation import Player, evaluation_columns
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.serving.policy import ServedPolicy, served

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
    server = ServedPolicy(folder)
    columns = evaluation_columns(config)
    env = config.env.make_vector(columns)
    observations, _ = env.reset(seed=derived_seed(config.seed, "evaluation"))
    player, draw = Player(config, network), np.random.default_rng(3)
    memory = torch.zeros((columns, network.memory_size))
    assert (server.space.shape == observations.shape[1:]) == (name != "stated")
    for _ in range(12):
        legal = env.legal_actions()
        with torch.inference_mode():
            scores, after = network.step(torch.tensor(observations), memory)
            expected = player.actions(scores, legal)
        order = draw.permutation(columns)
        cuts = np.sort(draw.choice(np.arange(1, columns), 4, replace=False))
        pieces = [piece for piece in np.split(order, cuts) if len(piece)]
        asked = [
            server.read(
                observations[piece][..., : server.space.shape[-1]].tolist(),
                memory[piece].tolist(),
                None if legal is None else legal[piece].tolist(),
            )
            for piece in pieces
        ]
        together = server.answer(asked) if len(pieces) % 2 else [server.answer([one])[0] for one in asked]
        for piece, given in zip(pieces, together, strict=True):
            assert given.actions.tobytes() == expected[piece].tobytes()
            assert given.memory.tobytes() == after[piece].numpy().tobytes()
        observations, _, _, _, _ = env.step(expected)
        memory = after
    env.close()


def test_more_rows_than_a_batch_are_answered_in_several(trained: Hydrahive) -> None:
    server = ServedPolicy(RunFolder(trained.runs / "snake"))
    rows = np.random.default_rng(1).integers(0, 2, (3 * server.columns + 5, *server.space.shape))
    (whole,) = server.answer([server.read(rows.tolist(), None, None)])
    singles = [server.answer([server.read([row.tolist()], None, None)])[0].actions for row in rows]
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
    server = ServedPolicy(RunFolder(trained.runs / "snake"))
    good = np.zeros((1, *server.space.shape)).tolist()
    with pytest.raises(UsageError, match=says):
        server.read(good if observations is None else observations, state, legal)


def test_a_mask_that_forbids_everything_is_refused(trained: Hydrahive) -> None:
    server = ServedPolicy(RunFolder(trained.runs / "masked"))
    rows = np.zeros((1, *server.space.shape)).tolist()
    with pytest.raises(UsageError, match="at least one true"):
        server.read(rows, None, [[False] * server.choices])


def test_it_follows_the_newest_checkpoint(trained: Hydrahive) -> None:
    folder = RunFolder(trained.runs / "snake")
    server = ServedPolicy(folder)
    assert not server.follow()
    before = server.checkpoint.digest
    config, *options = RUNS["snake"]
    trained.train(config, "snake", *options[:-1], 40_000)
    assert server.follow()
    assert server.checkpoint.digest != before
    assert server.facts()["digest"] == server.checkpoint.digest
    assert not server.follow()


def test_a_run_without_a_checkpoint_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint yet"):
        ServedPolicy(RunFolder(tmp_path / "none"))


def test_an_ensemble_answers_as_it_is_evaluated(trained: Hydrahive) -> None:
    names = ["snake", "snake-gru"]
    folders = [RunFolder(trained.runs / name) for name in names]
    config, policy, _ = load_ensemble(folders)
    together = served(",".join(names), trained.runs)
    assert together.name == "snake+snake-gru"
    assert together.memory_size == policy.memory_size == 16
    columns = evaluation_columns(config)
    env = config.env.make_vector(columns)
    observations, _ = env.reset(seed=derived_seed(config.seed, "evaluation"))
    player, memory = Player(config, policy), torch.zeros((columns, policy.memory_size))
    for _ in range(6):
        with torch.inference_mode():
            scores, after = policy.step(torch.tensor(observations), memory)
            expected = player.actions(scores, None)
        (given,) = together.answer([together.read(observations.tolist(), memory.tolist(), None)])
        assert given.actions.tobytes() == expected.tobytes()
        assert given.memory.tobytes() == after.numpy().tobytes()
        observations, memory = env.step(expected)[0], after
    env.close()
    assert not together.follow()
    frames, _ = together.play(0, 3)
    assert len(frames.frames) == 3


def test_an_ensemble_is_evaluated(trained: Hydrahive) -> None:
    told = json.loads(trained("evaluate", "--ensemble", "snake", "snake-gru", "--episodes", 40, "--json").stdout)
    assert told["run"] == "snake + snake-gru"
    alone = json.loads(trained("evaluate", "--ensemble", "snake", "--episodes", 40, "--json").stdout)
    one = json.loads(trained("evaluate", "snake", "--episodes", 40, "--json").stdout)
    assert alone["mean"] == one["mean"], "of one run it is that run"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "RUN: one run"),
        (["snake", "--ensemble", "snake-gru"], "RUN: one run"),
        (["--ensemble", "snake", "masked"], "'masked' is of another environment"),
        (["--ensemble", "snake", "snaky"], "'snaky' is neither"),
        (["--before", "--ensemble", "snake"], "RUN: one run"),
    ],
)
def test_what_is_no_ensemble_is_told_in_a_line(trained: Hydrahive, words, says) -> None:
    said = trained("evaluate", *words, code=2).stderr
    assert says in said
    assert said.count("\n") == 1


def test_serving_says_so_likewise(trained: Hydrahive) -> None:
    assert "'masked' is of another environment" in trained("serve", "--ensemble", "snake", "masked", code=2).stderr
    assert "RUN: expected at least one run" in trained("serve", code=2).stderr
    assert "two are called 'snake'" in trained("serve", "snake", "--ensemble", "snake", code=2).stderr


@pytest.mark.parametrize(
    ("means", "weights"),
    [([10.0, 30.0, 20.0], [0.5, 1.0, 0.75]), ([10.0, None, 20.0], [1, 1, 1]), ([5.0, 5.0], [1, 1])],
)
def test_runs_count_by_their_validation(tmp_path: Path, means, weights) -> None:
    folders = [RunFolder(tmp_path / str(i)) for i in range(len(means))]
    for folder, mean in zip(folders, means, strict=True):
        folder.path.mkdir()
        if mean is not None:
            (folder.path / "best.json").write_text(json.dumps({"mean": mean}))
    assert [weight for _, weight in ensemble_weights(folders)] == weights
