"""Which algorithm `auto` is: by spaces and replay, with values for the size of a round; and why."""

from __future__ import annotations

from contextlib import closing

from gymnasium import spaces

from hydrahive.algorithms.config import PPO, VTrace
from hydrahive.algorithms.control_config import SAC, TD3
from hydrahive.algorithms.q_config import DQN
from hydrahive.core.config import AlgorithmConfig, EnvConfig, ReplayConfig

ROWS = 256
"""Rows of a minibatch, as far as whole ones fit into a round (rl-baselines3-zoo's value for most of its PPO)."""

PICTURE_DIMENSIONS = 3


def chosen(
    env: EnvConfig,
    replay: ReplayConfig | None,
    round_rows: int,
    *,
    deterministic: bool = False,
    has_memory: bool = False,
) -> tuple[AlgorithmConfig, str]:
    """The algorithm for an environment, and one line that says why.

    Args:
        env: Is built once, to be asked for its spaces.
        replay: What the run draws from, if anything.
        round_rows: Env steps of a round.
        deterministic: Whether real actions are to be the same in the same state.
        has_memory: Whether the policy has one, which single rows cannot teach.
    """
    with closing(env.make_vector(env.group)) as probe:
        seen, taken = probe.single_observation_space, probe.single_action_space
    are_pictures = len(seen.shape or ()) == PICTURE_DIMENSIONS
    what = f"{'pictures' if are_pictures else 'numbers'} and {_in_words(taken)}"
    if replay is not None and replay.gives == "sequences":
        return VTrace(), f"VTrace, which learns from a round and from replayed sequences, for {what}"
    if replay is not None and isinstance(taken, spaces.Discrete):
        return DQN(), f"DQN, which learns from replayed rows, for {what}"
    if isinstance(taken, spaces.Box) and taken.is_bounded() and not has_memory:
        if deterministic:
            return TD3(), f"TD3, whose actions are the same in the same state, for {what}"
        return SAC(), f"SAC, which learns most from each step, for {what}"
    minibatches = max(1, round_rows // ROWS)
    if isinstance(taken, spaces.Box):
        algorithm = PPO(minibatches=minibatches, epochs=10, normalize_rewards=True)
    elif are_pictures:
        algorithm = PPO(learning_rate=2.5e-4, minibatches=minibatches, entropy_cost=0.01, policy_clip=0.1)
    else:
        algorithm = PPO(learning_rate=1e-3, minibatches=minibatches, entropy_cost=0.01)
    steps = f"{algorithm.epochs} epochs of {minibatches} minibatch{'es' if minibatches > 1 else ''}"
    return algorithm, f"PPO, in {steps}, for {what}: it takes any actions, masks, memories and groups"


def _in_words(space: spaces.Space[object]) -> str:
    if isinstance(space, spaces.Discrete):
        return f"{space.n} actions"
    if isinstance(space, spaces.Box):
        return f"{space.shape[0] if space.shape else 1} real actions"
    return f"actions {space}"
