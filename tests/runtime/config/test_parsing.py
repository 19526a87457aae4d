import dataclasses
import json
from pathlib import Path

import pytest

from hydrahive.algorithms.config import VTrace
from hydrahive.algorithms.q_config import AthQ
from hydrahive.core.errors import ConfigError, UsageError
from hydrahive.core.schedules import Linear
from hydrahive.envs.snake.config import Snake
from hydrahive.runtime.config.changes import in_force
from hydrahive.runtime.config.parsing import load_run_config, part_help
from hydrahive.runtime.config.plain import dump, first_difference, known_keys
from hydrahive.runtime.config.shipped import find_config, shipped_experiments
from hydrahive.runtime.training.memory_plan import memory_plan, weights_bytes

VTRACE = shipped_experiments()["snake/vtrace"]


def test_every_shipped_experiment_is_read_and_its_dump_is_equal(tmp_path):
    assert {"snake/vtrace", "snake/planes", "cartpole/vtrace"} <= set(shipped_experiments())
    for path in shipped_experiments().values():
        config = load_run_config(path)
        (tmp_path / "config.yaml").write_text(dump(config))
        assert load_run_config(tmp_path / "config.yaml") == config


def test_every_shipped_experiment_has_room_for_the_versions_it_keeps():
    for name, path in shipped_experiments().items():
        if not name.startswith("atari/"):  # the others' networks are small
            continue
        config = load_run_config(path)
        plan = memory_plan(config, weights_bytes(config))
        plan.refuse_versions_above(config.faults.kept_versions_mb)
        assert plan, name


def test_dotted_overrides_reach_into_parts():
    config = load_run_config(
        VTRACE, ["--env.size", "10", "--stop.env_steps=5_000", "--env.init_args.rewards.food", "2"]
    )
    assert isinstance(config.env, Snake)
    assert (config.env.size, config.env.rewards.food, config.stop.env_steps) == (10, 2.0, 5000)


def test_schedules_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("algorithm: {class_path: VTrace, init_args: {learning_rate: {start: 1, end: 0, env_steps: 9}}}")
    assert load_run_config(path).algorithm.learning_rate == Linear(1.0, 0.0, 9)


@pytest.mark.parametrize(
    ("overrides", "key", "hint"),
    [
        (["--shards", "0"], "shards:", "at least 1"),
        (["--shards", "two"], "shards:", "int"),
        (["--shard", "2"], "shard:", "shards"),
        (["--envs_per_shard", "-4"], "envs_per_shard:", "at least 1"),
        (["--env.windw", "9"], "env.init_args.windw:", "env.init_args.window"),
        (["--env.window", "8"], "env.init_args.window:", "odd"),
        (["--env.window", "21"], "env.init_args.window:", "from 3 to 19"),
        (["--env.size", "4"], "env.init_args.size:", "5 to 64"),
        (["--env.rewards.food", "nan"], "env.init_args.rewards.food:", "float"),
        (["--algorithm.discount", "1.5"], "algorithm.init_args.discount:", "at most 1"),
        (["--algorithm.c_clip", "2"], "algorithm.init_args.c_clip:", "at most 1, which is rho_clip"),
        (["--algorithm.learning_rate", "abc"], "algorithm.init_args.learning_rate:", "float or Linear"),
        (["--env", "Snak"], "env.class_path:", "Snake"),
        (["--learner.device", "tpu"], "learner.device:", "cuda"),
        (["--learner.slices", "999"], "learner.slices:", "at most 128"),
        (["--workers", "many"], "workers:", "auto"),
        (["--policy.encoder.hidden", "[]"], "policy.encoder.init_args.hidden:", "at least one"),
        (["--stop.env_steps", "0"], "stop.env_steps:", "at least 1"),
        (["--portable", "true"], "precision:", "highest"),
        (["--policy.core", "Foo"], "policy.core:", "Rnn or Gru or Lstm or 'none'"),
        (["--policy.core", "Gru", "--policy.core.hidden", "x"], "policy.core.init_args.hidden:", "int"),
        (["--replay", "Foo"], "replay:", "Ath or Uniform or Rows or Hindsight or null"),
        (["--replay", "Ath", "--replay.gears", "fast"], "replay.init_args.gears:", "'formula' or 'classic'"),
        (["--replay", "Ath", "--replay.ratio", "2"], "replay.init_args.ratio:", "at most 1"),
        (["--replay", "Ath", "--replay.capacity", "100"], "replay.init_args.capacity:", "deepest bucket"),
        (["--replay", "Ath", "--replay.capcity", "9"], "replay.init_args.capcity:", "replay.init_args.capacity"),
        (["--replay.ratio", "0.1"], "replay:", "another class_path: Ath or Uniform"),
        (["--replay", "Rows", "--replay.ratio", "0.1"], "replay:", "another class_path: Ath or Uniform"),
        (["--replay", "Rows"], "replay:", "Ath or Uniform, for VTrace learns from sequences"),
        (["--algorithm", "DQN", "--replay", "Ath"], "replay:", "Rows or Hindsight, for DQN learns from transitions"),
        (["--algorithm", "DQN", "--replay", "Rows", "--replay.capacity", "20"], "replay.capacity:", "at least 32"),
        (["--algorithm", "PPO", "--replay", "Ath"], "replay:", "fresh rounds only"),
        (["--algorithm", "DQN", "--policy.core", "Gru"], "policy.core:", "AthQ, which learns sequences"),
        (["--algorithm", "DQN", "--algorithm.distribution", "c51"], "algorithm.init_args.distribution:", "quantiles"),
        (["--algorithm.learning_rate", "null"], "algorithm.init_args.learning_rate:", "a value"),
        (["--algorithm.optimizer", "null"], "algorithm.init_args.optimizer:", "a value"),
        (["--policy.encoder.hidden", "[99999999999999999999999]"], "policy.encoder.init_args.hidden:", "to 65536"),
    ],
)
def test_refusals_name_the_key_the_value_and_what_is_accepted(overrides, key, hint):
    with pytest.raises(UsageError) as refusal:
        load_run_config(VTRACE, overrides)
    assert str(refusal.value).startswith(key)
    assert hint in str(refusal.value)
    assert "\n" not in str(refusal.value)


MIXED = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from hydrahive.algorithms.config import VTrace
if TYPE_CHECKING:
    from collections.abc import Sequence

class Plain:
    depth: int

    def twice(self) -> int:
        return 2 * self.depth

@dataclass(frozen=True)
class Mixed(Plain, VTrace):
    depth: int = 3
    rule: Literal["one", "two"] = "one"
"""


def test_types_of_a_users_part_hold_though_it_mixes_in_a_plain_class(tmp_path, monkeypatch):
    (tmp_path / "mixing.py").write_text(MIXED)
    monkeypatch.syspath_prepend(tmp_path)
    chosen = ["--algorithm", "mixing.Mixed", "--algorithm.rule", "two", "--algorithm.learning_rate", "1e-4"]
    algorithm = load_run_config(VTRACE, chosen).algorithm
    assert (algorithm.rule, algorithm.learning_rate) == ("two", 1e-4)
    for key, value, hint in (("rule", "three", "'one' or 'two'"), ("depth", "deep", "int"), ("discount", "x", "float")):
        with pytest.raises(UsageError) as refusal:
            load_run_config(VTRACE, ["--algorithm", "mixing.Mixed", f"--algorithm.{key}", value])
        assert str(refusal.value).startswith(f"algorithm.init_args.{key}:")
        assert hint in str(refusal.value)


def test_a_users_part_whose_types_nobody_can_evaluate_is_refused_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "unknowing.py").write_text(MIXED.replace("depth: int = 3", "depth: Sequence[int] = ()"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="name 'Sequence' is not defined") as refusal:
        load_run_config(VTRACE, ["--algorithm", "unknowing.Mixed"])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "is empty"),
        ("[", "is not YAML"),
        ("- a", "not a mapping"),
        ("sede: 3", "seed"),
        ("lag: .nan", "lag"),
        ("stop: 3", "stop: 3"),
        ("shards: 1\nshards: 2", "the key 'shards' stands twice"),
        ("stop: {updates: 1, updates: 2}", "the key 'updates' stands twice"),
        ("a: &a\n  b: *a", "refers to itself"),
        ("a: " + 3000 * "[", "nested too deeply"),
        ("algoritm: {}", "algoritm: unknown key"),
        ("schedule: null", "schedule: None is not accepted; expected a value"),
        ("workers: null", "workers: None"),
        ("changes: null", "changes: None"),
        ("env: {class_path: Snake, init_args: {rewards: {food: null}}}", "env.init_args.rewards.food: None"),
        ("policy: []", "policy: [] is not accepted; expected a mapping of keys"),
        ("stop: [1]", "a mapping of keys"),
        ("replay: {}", "class_path"),
        ("stop: {updates: 2, foo: {}}", "stop.foo: unknown key"),
        ("algorithm: {class_path: VTrace, init_args: {discount: 1" + 400 * "0" + "}}", "too large"),
        ("env: {class_path: Gym}", "env.init_args.id: is required"),
        ("env: {class_path: Gym, init_args: {id: CartPole-v8}}", "CartPole-v1"),
        (
            "algorithm: {class_path: VTrace, init_args: {entropy_cost: {start: .nan, end: 0, env_steps: 9}}}",
            "entropy_cost.start",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path, text, hint):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refusal:
        load_run_config(path)
    assert hint in str(refusal.value)


def test_an_unknown_experiment_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="snake/vtrace"):
        find_config("snake/vtrce")
    with pytest.raises(UsageError, match="cannot read"):
        load_run_config(Path("/nowhere.yaml"))


def test_only_keys_that_change_results_make_configs_differ():
    config = load_run_config(VTRACE)
    neutral = ["--workers", "3", "--stop.env_steps", "7", "--checkpoint.keep", "9", "--metrics_every", "3"]
    assert first_difference(config, load_run_config(VTRACE, neutral)) is None
    assert first_difference(config, load_run_config(VTRACE, ["--lag", "2"])) == ("lag", 1, 2)


def test_a_part_that_is_chosen_has_its_own_defaults():
    """Not those of like-named keys of the part that is the default."""
    config = load_run_config(VTRACE, ["--algorithm", "AthQ"])
    assert config.algorithm.optimizer_epsilon == AthQ().optimizer_epsilon != VTrace().optimizer_epsilon


def test_config_errors_travel_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(ConfigError("a.b", 3, "4")))
    assert str(error) == "a.b: 3 is not accepted; expected 4"


def test_help_explains_every_key():
    @dataclasses.dataclass(frozen=True)
    class Silent(VTrace):
        pass

    Silent.__doc__ = None  # Python and dataclasses say something for whoever says nothing
    text = part_help()
    assert "\n  Silent\n" in text
    for key in known_keys():
        name = key.split(".")[-1]
        if ".init_args." in key and name != "class_path":
            assert name in text
    assert "Weight of a reward one step later" in text


@pytest.mark.parametrize("value", ["x", True, [1], 10**400])
def test_changed_values_are_looked_at(value):
    changes = [{"from_update": 25, "key": "algorithm.learning_rate", "value": value}]
    config = load_run_config(VTRACE, ["--changes", json.dumps(changes)])
    with pytest.raises(ConfigError, match=r"algorithm\.init_args\.learning_rate"):
        in_force(config, 25)
