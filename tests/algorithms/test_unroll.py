"""The learner sees what the actor saw: memory along fragments and replayed sequences equals that of acting."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from hydrahive.algorithms.base.batch import replayed, stack
from hydrahive.algorithms.base.unroll import unrolled
from hydrahive.algorithms.q_config import AthQ
from hydrahive.envs.gym.config import Gym
from hydrahive.envs.snake.config import Snake
from hydrahive.policies.config import Gru, Lstm, Mlp, PolicyConfig, Rnn
from hydrahive.replay.config import Uniform
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.replay import Replay
from hydrahive.runtime.roles.shard import Shard

CPU = torch.device("cpu")
CORES = {"rnn": Rnn(24), "gru": Gru(24, layers=2), "lstm": Lstm(24, layers=2), "none": "none"}


def run_config(core, env=None, **options):
    policy = PolicyConfig(encoder=Mlp([16]), core=CORES[core])
    env = env or Snake(size=6, window=3, starvation=3)
    return RunConfig(
        env=env, policy=policy, shards=1, envs_per_shard=6, fragment_length=16, precision="highest", **options
    )


def acted(config, rounds):
    """Fragments of so many rounds, and the network that acted; its heads are made to care about the features."""
    prepare_torch(config, 1)
    network = build_network(config, torch.Generator().manual_seed(1))
    head = network.head if hasattr(network, "head") else network.policy_head
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(2))
    shard = Shard(config, "run", 0, config.env.make_vector(config.envs_per_shard))
    return [shard.simulate(round_, 0, network) for round_ in range(rounds)], network


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("env", [None, Gym("CartPole-v1")])
def test_the_learner_unrolls_what_the_actor_did(core, env):
    told, network = acted(run_config(core, env), 4)
    ends = 0
    for fragment, _ in told:
        ends += int((fragment.terminated | fragment.truncated).sum())
        (batch,) = stack([fragment], 1, CPU)
        with torch.no_grad():
            logits = network.scores(unrolled(network, batch).rows)
        valid = fragment.valid
        np.testing.assert_allclose(logits.numpy()[valid], fragment.behaviour[valid], atol=1e-4)
    assert ends > 3


@pytest.mark.parametrize("core", CORES)
def test_where_a_fragment_leads_to_is_where_the_next_one_begins(core):
    told, network = acted(run_config(core), 4)
    for (fragment, _), (following, _) in pairwise(told):
        (batch,) = stack([fragment], 1, CPU)
        with torch.no_grad():
            last = network.scores(unrolled(network, batch).last).numpy()
        ended = fragment.terminated[-1] | fragment.truncated[-1]
        np.testing.assert_allclose(last[~ended], following.behaviour[0][~ended], atol=1e-4)


@pytest.mark.parametrize("core", CORES)
def test_replayed_sequences_carry_the_memory_of_acting(core):
    """With all frames before a sequence to burn in, the memory is that of acting; the states are stored on the way."""
    replay = Uniform(capacity=4_000, sequence=3, batch=24, burn_in=3, states_every=4)
    config = run_config(core, algorithm=AthQ(learning_rate=1e-3), replay=replay)
    told, network = acted(config, 20)
    memory = Replay(config)
    for round_, (fragment, summary) in enumerate(told):
        sample, _ = memory.take(round_, None, [fragment], [summary])
    (sequences,) = sample.batches
    batch = replayed(sequences, network, CPU)
    with torch.no_grad():
        values = network.scores(unrolled(network, batch).rows)
    # Epsilon is 0: the greedy action has probability 1.
    np.testing.assert_array_equal(values.argmax(-1).numpy()[sequences.valid], sequences.actions[sequences.valid])
    assert sequences.burn_in.max() > 0 or core == "none"
    seen = np.stack([fragment.observations[:-1] for fragment, _ in told])
    for s in range(sequences.actions.shape[1]):
        before = len(sequences.observations) - len(sequences.actions) - 1
        assert (seen == sequences.observations[before, s]).all(axis=-1).any()
