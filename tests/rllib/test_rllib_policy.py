"""RLlib's modules behind our policies: they act as RLlib's own env runner does, connectors and memories included."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ray.rllib.core.distribution.torch.torch_distribution import TorchDeterministic, TorchSquashedGaussian

from hydrahive.core.errors import ConfigError
from hydrahive.envs.gym.config import Gym
from hydrahive.policies.flat_weights import FlatWeights
from hydrahive.rllib.config import Rllib
from hydrahive.rllib.policy import RllibPolicy
from hydrahive.rllib.trained import Trained
from rays import ray_inside

SMALL = {"num_envs_per_env_runner": 2, "train_batch_size_per_learner": 200, "minibatch_size": 50, "num_epochs": 1}
SOON = {"num_steps_sampled_before_learning_starts": 40, "min_sample_timesteps_per_iteration": 40}
LSTM = {"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 10, "fcnet_hiddens": [16]}
CASES = {
    "ppo with a filter": ("CartPole-v1", "PPO", {**SMALL, "env_to_module_connector": ["MeanStdFilter"]}),
    "ppo with a memory": ("CartPole-v1", "PPO", {**SMALL, "model_config": LSTM}),
    "ppo of numbers": ("Pendulum-v1", "PPO", SMALL),
    "sac": ("Pendulum-v1", "SAC", {"num_envs_per_env_runner": 2, **SOON}),
    "tqc": ("Pendulum-v1", "TQC", {"num_envs_per_env_runner": 2, **SOON}),
    "rainbow": ("CartPole-v1", "DQN", {"num_atoms": 11, "v_min": 0.0, "v_max": 20.0, "dueling": True, **SOON}),
    "impala": ("CartPole-v1", "IMPALA", {**SMALL, "num_learners": 0, "min_time_s_per_iteration": 1}),
}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_inside(2):
        yield


@pytest.mark.parametrize("case", CASES)
def test_acts_as_rllibs_own_runner(case, monkeypatch):
    # RLlib 2.60 squashes what SAC and TQC draw, and forgets it where they are deterministic; our mode is squashed.
    squashed = TorchSquashedGaussian
    monkeypatch.setattr(squashed, "to_deterministic", lambda self: TorchDeterministic(loc=self._squash(self.loc)))
    env_id, name, keys = CASES[case]
    trained = Trained(Rllib(name, keys), Gym(env_id), 3, 0)
    trained.iterate()
    trained.iterate()
    trained.weights()
    policy = trained.policy
    runner = trained.algorithm.env_runner
    state = trained.algorithm.learner_group.get_state(components="learner/rl_module", inference_only=True)
    runner.module.set_state(state["learner"]["rl_module"]["default_policy"])  # it acts an update behind
    if policy.filters:  # as it stands: what is seen now shall not move it
        for piece in runner._env_to_module:
            piece._update_stats = False
    # RLlib's filter writes what it makes of observations back into the episodes: what came in is noted here.
    seen = []
    inner = runner.env.unwrapped
    step, reset = inner.step, inner.reset
    inner.reset = lambda **given: (seen.append(np.array((told := reset(**given))[0])), told)[1]
    inner.step = lambda actions: (seen.append(np.array((told := step(actions))[0])), told)[1]
    acted, sent = [], inner.step
    inner.step = lambda actions: (acted.append(np.array(actions)), sent(actions))[1]
    runner.sample(num_timesteps=20, explore=False, force_reset=True)
    memory = torch.zeros((runner.num_envs, policy.memory_size))
    with torch.no_grad():
        for observations, actions in zip(seen, acted, strict=False):
            scores, memory = policy.step(torch.tensor(observations), memory)
            mine = policy.distribution.for_env(policy.distribution.mode(scores).numpy())
            np.testing.assert_allclose(mine, actions.reshape(mine.shape), rtol=1e-4, atol=1e-5)
    assert len(acted) >= 10
    trained.close()


def test_weights_survive_being_flat():
    env = Gym("CartPole-v1").make_vector(1)
    spaces = env.single_observation_space, env.single_action_space
    policy = RllibPolicy(Rllib("PPO", {}), *spaces)
    before = {name: tensor.clone() for name, tensor in policy.module.state_dict().items()}
    flat = FlatWeights(policy)
    again = FlatWeights(RllibPolicy(Rllib("PPO", {}), *spaces))
    again.load_named(again.vector, flat.named(flat.vector))
    assert torch.equal(again.vector, flat.vector)
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.module.state_dict().items())


def test_what_rllib_has_no_model_for_is_said_in_a_line():
    env = Gym("CartPole-v1").make_vector(1)
    with pytest.raises(ConfigError) as refusal:
        RllibPolicy(Rllib("SAC", {"model_config": {"fcnet_activation": "none-such"}}), env.single_observation_space,
                    env.single_action_space)  # fmt: skip
    assert "\n" not in str(refusal.value)


class TestGoingOn:
    """Counters, schedules, connectors and optimizers stand after a restore where the checkpoint had them."""

    KEYS = {**SMALL, "lr": [[0, 1e-3], [2000, 0.0]], "entropy_coeff": [[0, 0.1], [2000, 0.0]],
            "env_to_module_connector": ["MeanStdFilter"]}  # fmt: skip

    @staticmethod
    def costs(trained):
        def told(learner):
            return [float(learner.entropy_coeff_schedulers_per_module[name].get_current_value())
                    for name in learner.module.keys()]  # fmt: skip  # noqa: SIM118

        return next(iter(trained.algorithm.learner_group.foreach_learner(told))).get()

    @pytest.mark.parametrize("workers", [0, 1])
    def test_exactly(self, workers):
        """As ray#53877 and ray#57791 (counters), ray#54408 (a filter's statistics) say how it goes wrong."""
        config = Rllib("PPO", self.KEYS)
        first = Trained(config, Gym("CartPole-v1"), 3, workers)
        for _ in range(3):
            told = first.iterate()
        state, rates = first.save(), first.learning_rates()
        assert rates[0] == pytest.approx(1e-3 * (1 - int(state["counters"][2]) / 2000), rel=1e-6)
        costs = self.costs(first)
        if workers == 0:
            again = first
            first.iterate()  # it goes back from wherever it is
        else:
            first.close()
            again = Trained(config, Gym("CartPole-v1"), 3, workers)
        again.restore(state, config)
        assert again.learning_rates() == rates
        assert self.costs(again) == pytest.approx(costs)
        assert np.array_equal(again.save()["counters"], state["counters"])
        for name in ("weights/filter_mean", "weights/filter_std"):
            assert np.array_equal(again.save()[name], state[name])
        if workers:  # the remote runner itself, not only the driver's copy

            def filtered(runner):
                return [piece.get_state() for piece in runner._env_to_module if hasattr(piece, "_filters")]

            found = again.algorithm.env_runner_group.foreach_env_runner(filtered, local_env_runner=False)[0][0]
            kept = again._filter()
            assert json.dumps(found, default=str) == json.dumps(kept, default=str)
        more = again.iterate()
        lifetime = "rllib/env_runners/num_env_steps_sampled_lifetime"
        new = sum(one.tally.env_steps for one in more.counted)
        assert more.figures[lifetime] == told.figures[lifetime] + new
        assert more.figures["rllib/training_iteration"] == 4
        assert more.figures["learning_rate"] < rates[0]
        again.close()

    def test_other_values_hold_at_once(self):
        """Ray#62173: what a search mutates must be what the optimizer holds after a restore."""
        config = Rllib("PPO", {**SMALL, "lr": 1e-3, "gamma": 0.9})
        trained = Trained(config, Gym("CartPole-v1"), 3, 0)
        trained.iterate()
        state = trained.save()
        other = Rllib("PPO", {**SMALL, "lr": 5e-3, "gamma": 0.8})
        trained.restore(state, other)
        assert trained.learning_rates() == [5e-3]
        assert trained.algorithm.config.gamma == 0.8
        told = trained.iterate()
        assert told.figures["learning_rate"] == 5e-3
        assert int(trained.save()["counters"][0]) == 2
        trained.follow(config)
        assert trained.learning_rates() == [1e-3]
        trained.close()

    def test_a_replay_buffer_comes_along_where_it_is_asked_for(self):
        keys = {"num_steps_sampled_before_learning_starts": 50, "store_buffer_in_checkpoints": True}
        config = Rllib("DQN", {**keys, "min_sample_timesteps_per_iteration": 100})
        trained = Trained(config, Gym("CartPole-v1"), 3, 0)
        trained.iterate()
        state, held = trained.save(), trained.algorithm.local_replay_buffer.get_num_timesteps()
        trained.iterate()
        trained.restore(state, config)
        assert trained.algorithm.local_replay_buffer.get_num_timesteps() == held > 50
        trained.close()

    def test_weights_of_another_run_to_begin_with(self):
        config = Rllib("PPO", SMALL)
        one, other = (Trained(config, Gym("CartPole-v1"), seed, 0) for seed in (1, 2))
        one.iterate()
        state = one.save()
        assert not np.array_equal(one.weights(), other.weights())
        other.load_weights(state)
        assert np.array_equal(one.weights(), other.weights())
        other.iterate()
        one.close()
        other.close()
