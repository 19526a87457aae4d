"""`algorithm: auto`: what it takes, that it says so, and that the run's config is the one that it took."""

import pytest
import yaml

from hydrahive.algorithms.config import PPO, VTrace
from hydrahive.algorithms.control_config import SAC, TD3
from hydrahive.algorithms.q_config import DQN
from hydrahive.core.errors import UsageError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import find_config

VTRACE, _ = find_config("cartpole/vtrace")


@pytest.mark.parametrize(
    ("options", "taken", "why"),
    [
        ([], PPO, "numbers and 2 actions"),
        (["--policy.core", "Gru"], PPO, "memories"),
        (["--env.id", "Pendulum-v1"], SAC, "numbers and 1 real actions"),
        (["--env.id", "Pendulum-v1", "--replay", "Rows"], SAC, "numbers and 1 real actions"),
        (["--env.id", "Pendulum-v1", "--algorithm.deterministic", "true"], TD3, "the same in the same state"),
        (["--env.id", "Pendulum-v1", "--policy.core", "Gru"], PPO, "10 epochs of 8 minibatches"),
        (["--replay", "Rows"], DQN, "replayed rows"),
        (["--replay", "Uniform"], VTrace, "replayed sequences"),
        (["--env", "Atari", "--env.game", "pong", "--policy.encoder", "Nature"], PPO, "pictures and 6 actions"),
    ],
)
def test_it_is_chosen_by_spaces_and_replay(options, taken, why):
    config = load_run_config(VTRACE, ["--algorithm", "auto", *options])
    assert type(config.algorithm) is taken
    assert config.because.startswith(f"algorithm: auto takes {taken.__name__}")
    assert why in config.because


def test_what_cannot_be_is_refused():
    options = ["--algorithm", "auto", "--env.id", "Pendulum-v1", "--policy.core", "Gru", "--replay", "Rows"]
    with pytest.raises(UsageError, match="replay"):
        load_run_config(VTRACE, options)


def test_a_run_says_what_was_taken_and_why_and_is_resumed_with_it(hydrahive, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("env: {class_path: Gym, init_args: {id: CartPole-v1}}\nalgorithm: auto\nworkers: 0\n")
    said = hydrahive("train", path, "--name", "a", "--recording", "false", "--stop.env_steps", 9_000).stdout
    assert "algorithm: auto takes PPO" in said
    written = yaml.safe_load((hydrahive.runs / "a" / "config.yaml").read_text())
    assert written["algorithm"]["class_path"] == "PPO"
    hydrahive("train", path, "--name", "a", "--recording", "false", "--stop.env_steps", 20_000)
    assert hydrahive.summary("a")["env_steps"] >= 20_000
