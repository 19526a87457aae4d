"""RLlib's keys: checked before anything starts, in one line each, with the nearest names."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from hydrahive.core.errors import UsageError
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.settings import settings
from hydrahive.rllib.trained import configured
from hydrahive.runtime.config.changes import in_force, value_of, with_values
from hydrahive.runtime.config.named_code import named_code
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.plain import as_plain, built, dump
from hydrahive.runtime.config.run_config import Change, RunConfig

RUN = {
    "env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1"}},
    "algorithm": {"class_path": "Rllib", "init_args": {"name": "PPO", "config": {"lr": 3.0e-4}}},
}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(RUN))
    return file


def _looked_at(path, options):
    """As a run is, by us and by RLlib itself."""
    config = load_run_config(path, options)
    configured(config.algorithm, config.env, 0, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--algorithm.name", "A3C"], ["algorithm.init_args.name", "'A3C'", "PPO, IMPALA, APPO, DQN, SAC, TQC"]),
        (["--algorithm.name", "ppo"], ["'ppo'", "nearest: PPO"]),
        (["--algorithm.name", "BC"], ["'BC'", "recorded data"]),
        (["--algorithm.config.lrr", "3"], ["algorithm.init_args.config.lrr", "nearest: lr"]),
        (["--algorithm.config.learning_rate", "3"], ["a key of RLlib's PPO; nearest: lr"]),
        (["--algorithm.config.lr", "fast"], ["config.lr", "'fast'", "a number"]),
        (["--algorithm.config.num_epochs", "2.5"], ["config.num_epochs", "a whole number"]),
        (["--algorithm.config.use_kl_loss", "often"], ["true or false"]),
        (["--algorithm.config.grad_clip_by", "globl"], ["what RLlib takes"]),
        (["--algorithm.config.model_config={fcnet_hidens: [4]}"], ["model_config.fcnet_hidens", "nearest: fcnet_hi"]),
        (["--algorithm.config.num_rollout_workers", "3"], ["new API stack, workers of the run"]),
        (["--algorithm.config.train_batch_size", "3"], ["train_batch_size_per_learner"]),
        (["--algorithm.config.enable_rl_module_and_learner", "false"], ["the old one is not run here"]),
        (["--algorithm.config.num_env_runners", "3"], ["it is `workers` of the run"]),
        (["--algorithm.config.env_to_module_connector", "[FrameStacking]"], ["MeanStdFilter or FlattenObservations"]),
        (["--lag", "1"], ["lag: 1 is not accepted", "beside Rllib"]),
        (["--replay", "Uniform"], ["replay", "replay_buffer_config"]),
        (["--policy.normalize", "true"], ["policy", "model_config"]),
        (["--pilot.every", "2"], ["pilot", "beside Rllib"]),
        (["--schedule", "fixed-lag"], ["schedule: 'fixed-lag' is not accepted"]),
        (["--algorithm", "PPO", "--schedule", "rllib"], ["schedule: 'rllib' is not accepted"]),
    ],
)
def test_refused_in_one_line(path, options, said):
    with pytest.raises(UsageError) as refusal:
        _looked_at(path, options)
    text = str(refusal.value)
    assert "\n" not in text
    for part in said:
        assert part in text, text


def test_a_filter_of_many_agents_is_refused(path):
    swarm = ["--env", "Swarm", "--algorithm.config.env_to_module_connector", "[MeanStdFilter]"]
    path.write_text(yaml.safe_dump({"algorithm": RUN["algorithm"]}))
    with pytest.raises(UsageError, match="worlds of several agents"):
        _looked_at(path, swarm)


def test_a_config_is_what_it_says_and_no_more(path):
    config = load_run_config(path)
    assert (config.schedule, config.boundary_every, config.metrics_every) == ("rllib", 1, 1)
    text = dump(config)
    assert "lag" not in text
    assert "policy" not in text
    path.write_text(text)
    assert load_run_config(path) == config
    assert built(as_plain(config)) == config
    assert load_run_config(path, ["--algorithm.config.gamma", "0.9", "--boundary_every", "3"]).boundary_every == 3


def test_lists_stand_for_tuples_and_null_for_none():
    built_ = settings("SAC", {"n_step": [2, 5], "lr": None, "actor_lr": 1e-3})
    assert (built_.n_step, built_.lr, built_.actor_lr) == ((2, 5), None, 1e-3)
    assert settings("DQN", {"epsilon": [[0, 1.0], [100, 0.1]]}).epsilon == [[0, 1.0], [100, 0.1]]


def test_any_key_of_rllibs_can_be_looked_up_and_changed(path):
    config = load_run_config(path)
    assert value_of(config, "algorithm.config.lr") == 3e-4
    assert value_of(config, "algorithm.config.gamma") == 0.99  # RLlib's own, which nobody gave
    assert value_of(config, "algorithm.init_args.config.model_config.fcnet_hiddens") == [256, 256]
    other = with_values(config, {"algorithm.config.model_config.fcnet_hiddens": [8], "algorithm.config.gamma": 0.9})
    assert other.algorithm == Rllib("PPO", {"lr": 3e-4, "model_config": {"fcnet_hiddens": [8]}, "gamma": 0.9})
    changed = dataclasses.replace(config, changes=[Change(4, "algorithm.config.lr", 0.1)])
    assert in_force(changed, 4).algorithm.config == {"lr": 0.1}
    for key in ("algorithm.config.lrr", "algorithm.config.model_config.fcnet_hidens"):
        with pytest.raises(UsageError, match=r"nearest: (lr|fcnet)|below RLlib's"):
            value_of(config, key)


def test_what_it_names_is_code_only_where_it_is_code(path):
    assert named_code(as_plain(load_run_config(path))) == []
    evil = {"class_path": "Rllib", "init_args": {"name": "PPO", "config": {"x": "os.system"}}}
    assert named_code({"algorithm": evil}) == ["os.system"]


def test_others_are_not_changed_by_it():
    plain = as_plain(RunConfig())
    assert plain["schedule"] == "fixed-lag"
    assert {"lag", "shards", "policy", "pilot"} <= set(plain)
