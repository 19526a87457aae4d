"""Environments of strangers: right, or told in a line, never quietly wrong.

Each kind began as somebody's report about another system; the inputs are our own.
"""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from gymnasium import spaces

from conftest import ROOT, full_only
from fragile import FragileFleet, trained
from hydrahive.core.errors import ConfigError, HydrahiveError, UsageError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.inspect.envs import costs
from hydrahive.runtime.inspect.envs.check import checked
from hydrahive.runtime.inspect.envs.look import look
from hydrahive.runtime.inspect.envs.probe import Player
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.evaluation import evaluate
from hydrahive.runtime.schedule.schedules import schedule_of

BASE = ROOT / "experiments" / "cartpole" / "vtrace.yaml"
SMALL = ["--envs_per_shard=4", "--fragment_length=8", "--boundary_every=2", "--stop.updates=8", "--shards=2"]
SMALL += ["--policy.encoder.hidden=[8]", "--workers=0", "--recording=false"]


@pytest.fixture(autouse=True)
def games_at_hand(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "games"))


def config_of(env, *options, **kwargs):
    """A small run of a stranger's environment; of PettingZoo's kind if its name has no version."""
    if env.endswith("-v0") or env.endswith("-v1"):
        chosen = ["--env.id", env if ":" in env or env == "CartPole-v1" else f"strangers:{env}"]
        chosen += ["--env.kwargs", json.dumps(kwargs)] if kwargs else []
    else:
        chosen = ["--env", json.dumps({"class_path": "PettingZoo", "init_args": {"id": env, "kwargs": kwargs}})]
    return load_run_config(BASE, [*SMALL, *chosen, *options])


def alike_everywhere(config):
    """The digests of all boundaries are the same inline, on one worker, and on three of which some are lost."""
    inline = trained(config, InlineFleet(config, "run", "cpu"))
    assert len(inline) >= 4
    assert trained(config, FragileFleet(config, {}, workers=1)) == inline
    assert trained(config, FragileFleet(config, {5: "die", 9: "join", 14: "die"})) == inline
    return inline


def played(config, steps=40):
    """All that a player is given."""
    env = config.env.make_vector(config.envs_per_shard)
    player = Player(env, 0)
    return [player.begin(3), *(player.step() for _ in range(steps))]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("Overflows-v0", ["gave int64", "declares uint8", "of 256"]),
        ("Halves-v0", ["gave float64", "declares int32", "of 1.5"]),
        ("Switches-v0", ["gave 2 as an observation", "from 0 to 1"]),
        ("Longer-v0", ["shape [3]", "[2]"]),
        ("TooLarge-v0", ["1e+300", "float32"]),
        ("Nothing-v0", ["gave None as an observation"]),
        ("OldStep-v0", ["4 values for a step", "truncated"]),
        ("OldReset-v0", ["for a reset", "observation and info"]),
        ("Lists-v0", ["as a reward"]),
        ("Words-v0", ["'no'", "is over"]),
        ("Raises-v0", ["the door is locked", "strangers.py"]),
        ("Entropy-v0", ["gives something else", "reset's seed"]),
        ("Global-v0", ["gives something else", "second time in one process"]),
        ("Common-v0", ["gives something else", "class attributes"]),
        ("Letters-v0", ["Text"]),
        ("Billions-v0", ["1000000000"]),
    ],
)
def test_what_is_wrong_is_refused_before_training_in_one_line(env, says):
    with pytest.raises(HydrahiveError) as refused:
        look(config_of(env))
    text = str(refused.value)
    assert "\n" not in text
    assert env in text
    assert all(part in text for part in says), text


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("bytes", ["gave float32", "declares uint8", "of -1", "a in world 0 of far_worlds"]),
        ("lists", ["as a reward", "a in world 0 of far_worlds"]),
        ("short mask", ["mask of 1 actions", "each of its 2", "a in world 0 of far_worlds"]),
        ("entropy", ["far_worlds gives something else"]),
    ],
)
def test_worlds_are_told_in_the_same_words(does, says):
    with pytest.raises(HydrahiveError) as refused:
        look(config_of("far_worlds", does=does))
    assert all(part in str(refused.value) for part in says), refused.value


def test_another_type_that_changes_nothing_is_cast():
    given = played(config_of("Doubles-v0"))
    assert {one[0].dtype for one in given} == {np.dtype(np.float32)}
    assert {float(one[0][0, 0]) for one in given} == {float(np.float32(k / 3)) for k in range(6)}
    alike_everywhere(config_of("Doubles-v0"))


@pytest.mark.parametrize(
    "env", ["Closes-v0", "Spawns-v0", "Samples-v0", "Tabled-v0", "Slotted-v0", "Recorded-v0", "Told-v0"]
)
def test_what_hides_in_an_environment_is_kept(env):
    config = config_of(env)
    assert look(config) == ()
    alike_everywhere(config)


def test_what_cannot_be_kept_is_refused_by_name():
    with pytest.raises(HydrahiveError, match=r"partial.*"):
        look(config_of("Partly-v0"))


@pytest.mark.parametrize("env", ["Fills-v0", "far_worlds"])
def test_what_an_environment_is_given_is_its_own(env):
    config = config_of(env, seen=[]) if env == "Fills-v0" else config_of(env, does="keeps", notes=[])
    assert look(config) == ()
    alike_everywhere(config)
    assert "[]" in repr(config.env.kwargs), "the config is as it was written"


def test_what_a_wrapper_is_given_is_its_own():
    wrapped = [{"class_path": "strangers.Notes", "init_args": {"book": {}}}]
    config = config_of("Walk-v0", "--env.wrappers", json.dumps(wrapped))
    assert look(config) == ()
    alike_everywhere(config)


@pytest.mark.parametrize("wrapper", ["strangers.Averages", "gymnasium.wrappers.NormalizeReward"])
def test_wrappers_with_statistics_that_nobody_keeps_are_refused(wrapper):
    with pytest.raises(ConfigError, match=r"policy.normalize|normalize_rewards"):
        config_of("Walk-v0", "--env.wrappers", json.dumps([wrapper])).env.make_vector(2)


MASKED = [[], ["--algorithm", "PPO"], ["--algorithm", "DQN", "--algorithm.warm_up=16"]]


@pytest.mark.parametrize("algorithm", MASKED)
def test_only_what_is_allowed_is_done(algorithm):
    config = config_of("Masked-v0", *algorithm)
    assert look(config) == ()
    fleet = InlineFleet(config, "run", "cpu")
    scores = [score for update in schedule_of(config, fleet, None).updates() for score in update.episodes.scores]
    assert scores
    assert set(scores) == {6.0}, "the action that is allowed pays"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("long", "gave a mask of 4 actions; expected one that says something of each of its 3"),
        ("additive", "gave a mask of actions with -inf in it"),
        ("halves", "gave a mask of actions with 0.5 in it"),
        ("text", "gave a mask of actions with all in it"),
    ],
)
@pytest.mark.parametrize("algorithm", MASKED)
def test_masks_of_another_form_are_refused(form, says, algorithm):
    with pytest.raises(HydrahiveError) as refused:
        look(config_of("Masked-v0", *algorithm, form=form))
    assert says in str(refused.value)


def test_a_mask_that_allows_nothing_allows_everything():
    env = config_of("Masked-v0", form="none").env.make_vector(2)
    assert env.legal_actions().all()


def test_masks_that_come_late_are_followed_or_refused():
    alike_everywhere(config_of("Masked-v0", form="late"))
    config = config_of("Masked-v0", "--algorithm", "AthQ", "--replay", "Uniform", form="late")
    with pytest.raises(HydrahiveError, match="AthQ"):
        trained(config, InlineFleet(config, "run", "cpu"))


def test_one_of_many_is_embedded_and_one_of_too_many_refused():
    config = config_of("Thousands-v0")
    network = build_network(config, torch.Generator().manual_seed(0))
    env = config.env.make_vector(2)
    assert env.single_observation_space.shape == (1,)
    assert sum(weights.numel() for weights in network.parameters()) < 5_000 * 64
    alike_everywhere(config)


def test_large_numbers_are_told():
    (said,) = look(config_of("Huge-v0", "--policy.normalize=false"))
    assert "1e+30" in said
    assert "policy.normalize" in said
    (said,) = look(config_of("Offset-v0"))
    assert "1e+09" in said
    assert "steps of 64" in said
    assert look(config_of("Walk-v0", "--policy.normalize=false")) == ()


def test_numbers_too_large_to_learn_from_are_named_when_a_run_diverges(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [option for pair in SMALL for option in pair.split("=")]
    done = hydrahive(
        "train", BASE, *options, "--env.id", "strangers:Huge-v0", "--policy.normalize", "false",
        "--stop.updates", 400, "--look", "none", code=1,
    )  # fmt: skip
    line = done.stderr.strip().splitlines()[-1]
    assert "1e+30" in line
    assert "policy.normalize" in line


def test_what_is_wrong_can_be_told_and_trained_all_the_same():
    (said,) = look(config_of("Common-v0", "--look", "tell"))
    assert "class attributes" in said
    assert look(config_of("Common-v0", "--look", "none")) == ()
    free = ["--schedule", "free-running", "--workers", "1"]
    (said,) = look(config_of("Common-v0", *free))
    assert "class attributes" in said, "who promises nothing is only told"


def test_environments_that_hang_or_are_slow_do_not_hold_a_look():
    config = config_of("Stands-v0", "--faults.hang_seconds", "1")
    with pytest.raises(UsageError, match=r"hangs.*strangers.py.*faults.hang_seconds"):
        look(config)
    began = time.monotonic()
    (said,) = look(config_of("Sleeps-v0", step=0.7))
    assert "once" in said
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize(("batched", "key"), [(True, "final_obs"), (False, "final_obs"), (True, "final_observation")])
def test_vectors_of_every_autoreset_mode_say_the_same(mode, batched, key):
    config = config_of("Rows-v0", "--env.vectorization", "vector", mode=mode, batched=batched, key=key)
    assert look(config) == ()
    alike_everywhere(config)
    env = config.env.make_vector(3)
    player, ends = Player(env, 0), []
    player.begin(0)
    for _ in range(30):
        given = player.step()
        lasts = given[4] if len(given) > 4 else given[0][given[2] | given[3]]
        ends += lasts.tolist()
    assert ends
    assert {row[0] for row in ends} == {5.0}, "each episode's last observation is of its fifth step"
    facts = evaluate(config, build_network(config, torch.Generator().manual_seed(0)), 6).facts
    assert set(facts["steps"].tolist()) == {5.0}


def test_who_is_gone_without_a_last_look_is_judged_by_what_it_saw_before():
    env = config_of("far_worlds", does="vanishes").env.make_vector(2)
    player = Player(env, 0)
    player.begin(0)
    steps = [player.step() for _ in range(3)]
    assert steps[2][3].tolist() == [False, True], "b is cut"
    assert steps[2][4].tolist() == [[2.0, 1.0]]


def test_who_comes_back_acts_again():
    config = config_of("far_worlds", does="returns")
    env = config.env.make_vector(2)
    player, there = Player(env, 0), []
    player.begin(0)
    for _ in range(8):
        player.step()
        there.append(env.present() is None or bool(env.present()[1]))
    assert there == [True, True, False, False, True, True, True, True]
    alike_everywhere(config)


def test_what_is_paid_after_an_end_is_told_once(hydrahive):
    told = {one.check: one for one in checked(config_of("far_worlds", does="paid late"), ["numbers"])}
    assert "b of far_worlds is paid after its end" in told["numbers"].says
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [option for pair in SMALL for option in pair.split("=")]
    env = json.dumps({"class_path": "PettingZoo", "init_args": {"id": "far_worlds", "kwargs": {"does": "paid late"}}})
    hydrahive("train", BASE, *options, "--name", "late", "--env", env)
    events = [json.loads(line) for line in (hydrahive.runs / "late" / "events.jsonl").read_text().splitlines()]
    assert sum("is paid after its end" in event["text"] for event in events) == 1


def test_episodes_longer_than_the_way_between_boundaries_are_told_of(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [option for pair in SMALL for option in pair.split("=")]
    told = ["--env.id", "strangers:Far-v0", "--env.snapshots", "none"]
    hydrahive("train", BASE, *options, "--name", "far", *told)
    events = (hydrahive.runs / "far" / "events.jsonl").read_text()
    assert "raise boundary_every" in events


def test_actions_of_several_kinds_are_a_product_and_pictures_keep_their_shape():
    config = config_of("Shelf-v0", "--policy.encoder", "Parts")
    env = config.env.make_vector(2)
    kinds = [part.kind for part in env.single_observation_space.parts]
    assert sorted(kinds) == ["numbers", "numbers", "picture"] or sorted(kinds) == ["index", "numbers", "picture"]
    assert isinstance(env.single_action_space, spaces.Tuple)
    network = build_network(config, torch.Generator().manual_seed(0))
    assert any(isinstance(module, torch.nn.Conv2d) for module in network.modules())
    alike_everywhere(config)


def test_what_starts_processes_and_threads_is_closed_or_named():
    config = config_of("Starts-v0", "--env.snapshots=none")
    assert "nothing behind" in costs.left_behind(config)
    with pytest.raises(HydrahiveError, match=r"leaves behind 24 processes \(.*its close\(\) must end them"):
        costs.left_behind(config_of("Starts-v0", "--env.snapshots=none", ends=False))
    with pytest.raises(HydrahiveError, match=r"leaves behind 24 threads \(a game's"):
        costs.left_behind(config_of("Starts-v0", "--env.snapshots=none", ends=False, thread=True))
    import strangers

    for end in filter(None, strangers.holder.values()):
        end()


def test_only_json_is_printed_where_json_is_asked_for(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [option for pair in SMALL for option in pair.split("=")]
    hydrahive("train", BASE, *options, "--name", "talks", "--env.id", "strangers:Talks-v0")
    done = hydrahive("evaluate", "talks", "--episodes", 3, "--json")
    assert json.loads(done.stdout)["mean"] == 6.0
    assert "a new game" in done.stderr
    assert "from below" in done.stderr


def test_an_environment_that_swallows_signals_is_interrupted_all_the_same(hydrahive, tmp_path):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [option for pair in SMALL for option in pair.split("=")]
    started = hydrahive.start(
        "train", BASE, *options, "--name", "deaf", "--env.id", "strangers:Swallows-v0",
        "--stop.updates", 100_000, "--boundary_every", 1_000,
    )  # fmt: skip
    events = hydrahive.runs / "deaf" / "events.jsonl"
    end = time.monotonic() + 60
    while not events.exists() or "started" not in events.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(0.5)
    started.send_signal(signal.SIGTERM)
    assert started.wait(30) == 143


@full_only
def test_a_slow_environment_is_not_taken_to_hang(hydrahive):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "games")
    options = [option for pair in SMALL for option in pair.split("=")]
    options[options.index("--workers") + 1] = "1"
    kwargs = json.dumps({"step": 0.06, "make": 0.4})
    hydrahive(
        "train", BASE, *options, "--name", "slow", "--env.id", "strangers:Sleeps-v0", "--env.kwargs", kwargs,
        "--faults.hang_seconds", 1, "--stop.updates", 2, "--fragment_length", 6, "--shards", 1,
    )  # fmt: skip
    events = (hydrahive.runs / "slow" / "events.jsonl").read_text()
    assert "hang_seconds" not in events


BESIDE = """
import sys
from pathlib import Path
import ray
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.inspect.envs import costs

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0)
class Other:
    def here(self):
        return True

others = []
made = costs.vector
def vector(config):
    others.append(Other.remote())  # a process more, and one that was idle has another name
    assert ray.get(others[-1].here.remote())
    return made(config)
costs.vector = vector
print(costs.left_behind(load_run_config(Path(sys.argv[1]), sys.argv[2:])))
"""


def test_workers_that_ray_starts_meanwhile_are_not_the_environments():
    command = [sys.executable, "-c", BESIDE, str(BASE), *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "leaves nothing behind" in done.stdout, done.stdout + done.stderr
