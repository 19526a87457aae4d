import dataclasses

import numpy as np
import pytest
import torch

from hydrahive.core.errors import OutOfStepError
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.learner import Learner

TINY = {
    "snake": ("snake/vtrace", ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[32]", "--learner.slices=2"]),
    "cartpole": ("cartpole/vtrace", ["--policy.encoder.hidden=[16]"]),
}


@pytest.fixture(params=TINY)
def config(request):
    name, overrides = TINY[request.param]
    sizes = ["--shards=3", "--envs_per_shard=5", "--fragment_length=11"]
    config = load_run_config(shipped_experiments()[name], [*overrides, *sizes])
    prepare_torch(config, 1)
    return config


def worker_with(config, shards, states=None):
    worker = EnvWorker(config, "run")
    for shard in shards:
        worker.adopt(shard, states[shard] if states else None)
    return worker


def same(a, b):
    return all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )


def test_a_fragment_is_the_same_whoever_computes_it(config):
    weights = Learner(config, "cpu").weights() + np.float32(0.01)
    one = worker_with(config, [0, 1, 2])
    for round_ in range(3):
        together, _ = one.simulate([0, 1, 2], round_, round_, weights)
    alone = worker_with(config, [2])
    for round_ in range(2):
        alone.simulate([2], round_, round_, weights)
    moved = worker_with(config, [2], {2: alone.snapshot(2)})
    fragments, _ = moved.simulate([2], 2, 2, weights)
    assert same(fragments[0], together[2])


def test_a_shard_refuses_a_round_that_is_not_its_next(config):
    weights = Learner(config, "cpu").weights()
    worker = worker_with(config, [0])
    with pytest.raises(OutOfStepError, match="round 1 was asked for"):
        worker.simulate([0], 1, 0, weights)


@pytest.mark.parametrize("precision", ["highest", "bfloat16"])
def test_actions_can_be_played_again_where_a_policy_acted_before(config, precision):
    config = dataclasses.replace(config, precision=precision)
    weights = Learner(config, "cpu").weights() + np.float32(0.01)
    acting, audited = worker_with(config, [0]), worker_with(config, [0])
    for round_ in range(3):
        fragments, _ = acting.simulate([0], round_, 0, weights)
        if round_ == 1:
            again, _ = audited._shards[0].replay(round_, 0, fragments[0].actions)
            np.testing.assert_array_equal(again.observations, fragments[0].observations)
        else:
            audited.simulate([0], round_, 0, weights)


def test_the_learner_refuses_an_update_that_is_not_its_version_and_sorts_its_parts(config):
    learner, other = Learner(config, "cpu"), Learner(config, "cpu")
    fragments, summaries = worker_with(config, [0, 1, 2]).simulate([0, 1, 2], 0, 0, learner.weights())
    with pytest.raises(OutOfStepError, match="update of version 1"):
        learner.update(1, (), None, fragments)
    first, learned, _ = learner.update(0, (True,), None, fragments)
    second, grouped, _ = other.update(0, (True, True), None, [fragments[2]], [fragments[0], fragments[1]])
    np.testing.assert_array_equal(first, second)
    assert learner.env_steps == sum(summary.env_steps for summary in summaries)
    assert np.isfinite(list(learned.metrics.values())).all()
    assert [[one.id.shard for one in part] for part in grouped.consumed] == [[2], [0, 1]]
    told, again = learned.consumed[0], [grouped.consumed[1][0], grouped.consumed[1][1], grouped.consumed[0][0]]
    assert [one.digest for one in told] == [one.digest for one in again]
    assert [one.env_steps for one in told] == [summary.env_steps for summary in summaries]
    np.testing.assert_array_equal(again[0].actions, fragments[0].actions)
    plain = Learner(config, "cpu").update(0, (), None, fragments)[1].consumed[0]
    assert all(one.actions is None for one in plain), "nobody asks"
    assert [(one.id, one.acted) for one in plain] == [(one.id, one.acted) for one in told]
    assert not {one.seen for one in plain} & {one.seen for one in told}, "without what was shown"


def test_reset_rows_are_neither_counted_nor_learned_from(config):
    learner = Learner(config, "cpu")
    worker = worker_with(config, [0])
    fragments = [worker.simulate([0], round_, 0, learner.weights())[0][0] for round_ in range(12)]
    resets = sum(int((~fragment.valid).sum()) for fragment in fragments)
    ends = sum(int((fragment.terminated | fragment.truncated)[:-1].sum()) for fragment in fragments)
    if not worker._shards[0].env.resets_on_next_step:
        assert resets == 0
        return
    assert resets >= ends > 0
    spoiled = []
    for fragment in fragments:
        rewards = np.where(fragment.valid, fragment.rewards, 1e6).astype(np.float32)
        spoiled.append(dataclasses.replace(fragment, rewards=rewards))
    other = Learner(config, "cpu")
    for version, (clean, dirty) in enumerate(zip(fragments, spoiled, strict=True)):
        np.testing.assert_array_equal(
            learner.update(version, (), None, [clean])[0], other.update(version, False, None, [dirty])[0]
        )


def test_a_restored_learner_continues_identically(config):
    learner, other = Learner(config, "cpu"), Learner(config, "cpu")
    worker = worker_with(config, [0])
    for version in range(3):
        learner.update(version, (), None, worker.simulate([0], version, version, learner.weights())[0])
    other.restore(learner.state())
    fragments, _ = worker.simulate([0], 3, 3, learner.weights())
    np.testing.assert_array_equal(learner.update(3, (), None, fragments)[0], other.update(3, False, None, fragments)[0])
    for name, array in learner.state().items():
        np.testing.assert_array_equal(array, other.state()[name])


def test_truncated_episodes_carry_their_last_observation():
    config = load_run_config(
        shipped_experiments()["cartpole/vtrace"], ["--shards=1", "--envs_per_shard=4", "--fragment_length=200"]
    )
    worker = worker_with(config, [0])
    learner = Learner(config, "cpu")
    shard = worker._shards[0]
    shard.env._env.unwrapped.max_episode_steps = 8
    (fragment,), _ = worker.simulate([0], 0, 0, learner.weights())
    assert len(fragment.cut_rows) == fragment.truncated.sum() > 10
    for (t, b), observation in zip(fragment.cut_rows, fragment.cut_observations, strict=True):
        assert fragment.truncated[t, b]
        np.testing.assert_array_equal(observation, fragment.observations[t + 1, b])
    assert torch.get_num_threads() == 1
