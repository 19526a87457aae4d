import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.config import VTrace
from hydrahive.algorithms.vtrace_targets import vtrace_targets
from hydrahive.envs.gym.config import Gym
from hydrahive.policies.config import Mlp, PolicyConfig
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.shard import Shard


def literal(log_ratios, rewards, values, next_values, terminated, ended, config):
    """Section 4.1 of the paper as it is written: a sum over later steps of products of traces, per environment."""
    steps, columns = rewards.shape
    targets, advantages = np.zeros((steps, columns)), np.zeros((steps, columns))
    for b in range(columns):
        gamma = [0.0 if terminated[t, b] else config.discount for t in range(steps)]
        rho = [min(config.rho_clip, float(np.exp(log_ratios[t, b]))) for t in range(steps)]
        c = [config.trace_decay * min(config.c_clip, float(np.exp(log_ratios[t, b]))) for t in range(steps)]
        delta = [rho[t] * (rewards[t, b] + gamma[t] * next_values[t, b] - values[t, b]) for t in range(steps)]
        for s in range(steps):
            total = values[s, b]
            for t in range(s, steps):
                product = 1.0
                for i in range(s, t):
                    product *= gamma[i] * c[i]
                total += product * delta[t]
                if ended[t, b]:
                    break
            targets[s, b] = total
        for s in range(steps):
            last = s == steps - 1 or ended[s, b]
            following = next_values[s, b] if last else targets[s + 1, b]
            advantages[s, b] = rho[s] * (rewards[s, b] + gamma[s] * following - values[s, b])
    return targets, advantages


def arrays(seed, steps, columns, end_share):
    rng = np.random.default_rng(seed)
    log_ratios = rng.normal(0, 1.0, (steps, columns))
    rewards, values = rng.normal(size=(2, steps, columns))
    terminated = rng.random((steps, columns)) < end_share
    truncated = (rng.random((steps, columns)) < end_share) & ~terminated
    # What a step led to is the next row, except at an end, where it is the episode's own last observation.
    next_values = rng.normal(size=(steps, columns))
    follows = ~(terminated | truncated)[:-1]
    next_values[:-1][follows] = values[1:][follows]
    return log_ratios, rewards, values, next_values, terminated, terminated | truncated


def fast(data, config):
    tensors = [torch.tensor(a, dtype=torch.bool if a.dtype == bool else torch.float64) for a in data]
    return vtrace_targets(*tensors, config)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.floats(0.5, 1.0),
    st.floats(0.1, 3.0),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_targets_are_the_papers(seed, steps, columns, end_share, discount, rho_clip, c_share, decay):
    config = VTrace(discount=discount, rho_clip=rho_clip, c_clip=c_share * rho_clip, trace_decay=decay)
    data = arrays(seed, steps, columns, end_share)
    targets = fast(data, config)
    expected_targets, expected_advantages = literal(*data, config)
    np.testing.assert_allclose(targets.values.numpy(), expected_targets, rtol=1e-5, atol=1e-6)
    weighted = (targets.rhos * targets.advantages).numpy()
    np.testing.assert_allclose(weighted, expected_advantages, rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 10))
def test_on_policy_targets_are_n_step_returns(seed, steps):
    _, rewards, values, next_values, terminated, ended = arrays(seed, steps, 3, 0.2)
    config = VTrace(discount=0.9, trace_decay=1.0)
    targets = fast((np.zeros_like(rewards), rewards, values, next_values, terminated, ended), config)
    returns = np.zeros_like(rewards)
    for t in reversed(range(steps)):
        following = next_values[t] if t == steps - 1 else np.where(ended[t], next_values[t], returns[t + 1])
        returns[t] = rewards[t] + 0.9 * ~terminated[t] * following
    np.testing.assert_allclose(targets.values.numpy(), returns, rtol=1e-5, atol=1e-6)


def test_with_vanishing_ratios_targets_are_the_values_themselves():
    _, rewards, values, next_values, terminated, ended = arrays(3, 6, 4, 0.2)
    targets = fast((np.full_like(rewards, -np.inf), rewards, values, next_values, terminated, ended), VTrace())
    np.testing.assert_array_equal(targets.values.numpy(), values)
    np.testing.assert_array_equal(targets.rhos.numpy(), np.zeros_like(values))


def test_another_runs_weights_come_with_the_statistics_that_they_were_learned_with():
    """Else the first round's would take their place, and an input's scale would jump."""
    config = RunConfig(
        env=Gym("CartPole-v1"),
        policy=PolicyConfig(Mlp([8]), normalize=True),
        algorithm=VTrace(normalize_rewards=True),
        envs_per_shard=8,
    )

    def rule_of(seed):
        network = build_network(config, torch.Generator().manual_seed(seed))
        return config.algorithm.build(network, Computing(torch.device("cpu")), seed)

    first, second = rule_of(1), rule_of(2)
    shard = Shard(config, "run", 0, config.env.make_vector(config.envs_per_shard))
    fragments = [shard.simulate(round_, 0, first.network)[0] for round_ in range(6)]
    for fragment in fragments[:5]:
        first.learn(Round([fragment], None, 0))
    second.load_weights(first.state())
    before = second.network.observation_scale.clone()
    assert torch.equal(before, first.network.observation_scale)
    second.learn(Round(fragments[5:], None, 0))
    change = (second.network.observation_scale / before - 1).abs().max()
    assert change < 0.2
    assert second.on.returns.statistics.count == sum(int(fragment.valid.sum()) for fragment in fragments)
