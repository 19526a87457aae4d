"""Several gradient steps a round: what each is taken on, and that they are what V-trace and PPO say."""

import dataclasses

import numpy as np
import pytest
import torch

from hydrahive.algorithms.base.batch import replayed, stack
from hydrahive.algorithms.base.minibatches import cut
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.config import VTrace
from hydrahive.algorithms.vtrace import VTraceUpdate
from hydrahive.algorithms.vtrace_targets import Targets, standardised
from hydrahive.core.errors import ConfigError, DivergedError
from hydrahive.envs.snake.config import Snake
from hydrahive.policies.config import Gru, Mlp, PolicyConfig
from hydrahive.replay.config import Uniform
from hydrahive.runtime.config.machine_class import prepare_torch
from hydrahive.runtime.config.run_config import RunConfig
from hydrahive.runtime.roles.env_worker import build_network
from hydrahive.runtime.roles.replay import Replay
from hydrahive.runtime.roles.shard import Shard

CPU = torch.device("cpu")


def acted(rounds=1, shards=2, replay=None):
    """A config, and the fragments of so many rounds with their summaries."""
    config = RunConfig(
        env=Snake(size=6, window=3, starvation=3),
        policy=PolicyConfig(encoder=Mlp([16]), core=Gru(8)),
        shards=shards,
        envs_per_shard=4,
        fragment_length=16,
        precision="highest",
        replay=replay,
    )
    prepare_torch(config, 1)
    network = build_network(config, torch.Generator().manual_seed(1))
    places = [Shard(config, "run", i, config.env.make_vector(config.envs_per_shard)) for i in range(shards)]
    return config, [[shard.simulate(round_, 0, network) for shard in places] for round_ in range(rounds)]


def fragments_of(told):
    return [fragment for fragment, _ in told]


def rule_of(config, slices=1, seed=3, **settings):
    network = build_network(config, torch.Generator().manual_seed(1))
    torch.nn.init.normal_(network.policy_head.weight, generator=torch.Generator().manual_seed(2))
    return VTraceUpdate(VTrace(**settings), network, Computing(CPU, slices), seed)


def test_each_column_is_in_one_part_and_parts_come_in_the_order_asked_for():
    _, (told,) = acted()
    round_ = Round(fragments_of(told), None, 0)
    (whole,) = stack(round_.fragments, 1, CPU)
    order = [2, 0, 1, 0]
    parts = [(part.index, part, list(part.slices)) for part in cut(round_, 3, order, 2, CPU)]
    assert [i for i, _, _ in parts] == order
    by_index = {i: torch.cat([batch.rewards for batch in batches], dim=1) for i, _, batches in parts}
    assert torch.equal(torch.cat([by_index[i] for i in range(3)], dim=1), whole.rewards)
    for _, part, batches in parts:
        assert len(batches) == 2
        assert part.fresh_rows == sum(int(batch.valid.sum()) for batch in batches)


def test_replayed_sequences_are_shared_out():
    config, rounds = acted(rounds=20, replay=Uniform(capacity=4_000, sequence=5, batch=8, burn_in=3, states_every=4))
    memory = Replay(config)
    for round_, told in enumerate(rounds):
        sample, _ = memory.take(round_, None, fragments_of(told), [summary for _, summary in told])
    (sequences,) = sample.batches
    round_ = Round(fragments_of(rounds[-1]), sample, 0)
    parts = list(cut(round_, 3, range(3), 1, CPU))
    assert sum(part.replayed_rows for part in parts) == sequences.frames
    shares = [part.replayed[0] for part in parts]
    for field in dataclasses.fields(sequences):
        axis = 0 if field.name in ("burn_in", "memory") else 1
        together = np.concatenate([getattr(share, field.name) for share in shares], axis=axis)
        np.testing.assert_array_equal(together, getattr(sequences, field.name))
    network = build_network(config, torch.Generator().manual_seed(1))
    assert replayed(shares[0], network, CPU).rewards.shape == shares[0].rewards.shape
    assert len(sequences.burn_in) == 12
    twice = dataclasses.replace(round_, fragments=round_.fragments * 2)
    some_without = list(cut(twice, 13, range(13), 1, CPU))
    assert sorted(len(part.replayed) for part in some_without) == [0] + 12 * [1]
    (without,) = (part.index for part in some_without if not part.replayed)
    turned = cut(twice, 13, range(13), 1, CPU, first=3)
    assert [part.index for part in turned if not part.replayed] == [(without + 3) % 13]
    metrics = rule_of(config, epochs=2, minibatches=4).learn(round_)
    assert metrics["replayed_frames"] == sequences.frames


def test_two_epochs_are_two_updates():
    config, (told,) = acted()
    round_ = Round(fragments_of(told), None, 0)
    twice, once = rule_of(config, epochs=2), rule_of(config)
    metrics = twice.learn(round_)
    losses = [once.learn(round_)["loss"] for _ in range(2)]
    assert twice.gradient_steps == once.gradient_steps == 2
    assert torch.equal(twice.weights.vector, once.weights.vector)
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_minibatches_are_updates_on_parts_of_the_round():
    config, (told,) = acted()
    cut_up, by_hand = rule_of(config, minibatches=2), rule_of(config)
    order = cut_up.on.order(1, 2)
    cut_up.learn(Round(fragments_of(told), None, 0))
    for i in order:
        by_hand.learn(Round([told[i][0]], None, 0))
    assert torch.equal(cut_up.weights.vector, by_hand.weights.vector)


def test_slices_of_a_minibatch_give_its_gradient():
    config, (told,) = acted()
    round_ = Round(fragments_of(told), None, 0)
    whole, sliced = (rule_of(config, slices, minibatches=2, optimizer="rmsprop") for slices in (1, 3))
    whole.learn(round_)
    sliced.learn(round_)
    assert torch.allclose(whole.weights.vector, sliced.weights.vector, atol=1e-5)


def test_the_order_of_minibatches_is_the_seeds_and_the_gradient_steps():
    config, (told,) = acted(shards=4)
    round_ = Round(fragments_of(told), None, 0)
    settings = {"epochs": 3, "minibatches": 8, "policy_clip": 0.2, "normalize_advantages": True}
    vectors = []
    for seed in (3, 3, 4):
        rule = rule_of(config, seed=seed, **settings)
        rule.learn(round_)
        vectors.append(rule.weights.vector.clone())
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])
    first, resumed = rule_of(config, **settings), rule_of(config, **settings)
    before = first.on.order(first.config.epochs, 8)
    epochs = [before[i : i + 8] for i in range(0, 24, 8)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    first.learn(round_)
    assert first.on.order(first.config.epochs, 8) != before
    resumed.restore(first.state(), first.gradient_steps)
    first.learn(round_)
    resumed.learn(round_)
    assert torch.equal(first.weights.vector, resumed.weights.vector)


def test_on_policy_the_clipped_gradient_is_v_traces():
    """Of equation 7 of the PPO paper, where each ratio is 1."""
    config, (told,) = acted()
    round_ = Round(fragments_of(told), None, 0)
    only_policy = {"entropy_cost": 0.0, "value_cost": 0.0, "gradient_norm": 1e9, "optimizer": "rmsprop"}
    clipping, plain = rule_of(config, policy_clip=0.2, **only_policy), rule_of(config, **only_policy)
    network = build_network(config, torch.Generator().manual_seed(1))
    who_acted = VTraceUpdate(VTrace(), network, Computing(CPU), 0)
    for rule in (clipping, plain):
        rule.load_weights(who_acted.state())
        rule.learn(round_)
    assert torch.allclose(clipping.weights.vector, plain.weights.vector, atol=1e-6)
    assert not torch.allclose(clipping.weights.vector, who_acted.weights.vector, atol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "teaches"),
    [(1.5, 1, 0), (1.5, -1, 1), (0.5, -1, 0), (0.5, 1, 1), (1.1, 1, 1), (np.exp(80), -1, 1), (np.exp(80), 1, 0)],
)
def test_an_action_beyond_the_clip_teaches_no_more(ratio, advantage, teaches):
    """And no other more than V-trace lets it, however likely it has become."""
    config, _ = acted()
    rule = rule_of(config, policy_clip=0.2)
    log_probs = torch.tensor([float(np.log(ratio))], requires_grad=True)
    weight = min(ratio, 1.0)
    targets = Targets(torch.zeros(1, 1), torch.tensor([[float(advantage)]]), torch.tensor([[weight]]))
    rule._gains(targets, log_probs, log_probs.detach().exp(), torch.ones(1)).sum().backward()
    assert float(log_probs.grad) == pytest.approx(teaches * weight * advantage)


def test_an_action_that_was_all_but_impossible_leaves_the_update_finite():
    config, (told,) = acted()
    fragments = [dataclasses.replace(f, behaviour=f.behaviour.copy()) for f in fragments_of(told)]
    fragments[0].behaviour[0, 0, fragments[0].actions[0, 0]] = -200.0
    rule = rule_of(config, policy_clip=0.2, minibatches=2)
    metrics = rule.learn(Round(fragments, None, 0))
    assert np.isfinite(metrics["gradient_norm"])
    assert torch.isfinite(rule.weights.vector).all()


def test_standardised_counts_what_the_mask_counts():
    values, mask = torch.tensor([1.0, 2.0, 4.0, 99.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    apart = standardised(values, mask)[:3].numpy()
    np.testing.assert_allclose(apart, (np.array([1, 2, 4]) - 7 / 3) / np.std([1, 2, 4]), rtol=1e-6)
    for count, value in ((3, 5.0), (1000, 5.1), (4097, 0.1)):
        equal = standardised(torch.full((count,), value), torch.ones(count))
        assert float(equal.abs().max()) < 1e-3, "rounding is no advantage"
    assert torch.isfinite(standardised(values, torch.zeros(4))).all()


def test_a_gradient_that_is_none_ends_the_update():
    config, (told,) = acted()
    fragments = [dataclasses.replace(f, rewards=np.full_like(f.rewards, np.inf)) for f in fragments_of(told)]
    rule = rule_of(config, minibatches=2)
    before = rule.weights.vector.clone()
    with pytest.raises(DivergedError, match="at gradient step 0"):
        rule.learn(Round(fragments, None, 0))
    assert torch.equal(rule.weights.vector, before)


def test_a_part_that_nobody_acted_in_is_no_step():
    config, (told,) = acted()
    absent, present = fragments_of(told)
    absent = dataclasses.replace(absent, valid=np.zeros_like(absent.valid))
    both, alone = rule_of(config, minibatches=2, epochs=2), rule_of(config, epochs=2)
    metrics = both.learn(Round([absent, present], None, 0))
    alone.learn(Round([present], None, 0))
    assert both.gradient_steps == 2
    assert torch.equal(both.weights.vector, alone.weights.vector)
    before = both.weights.vector.clone()
    assert metrics["gradient_norm"] > 0
    for rule in (both, alone):
        nothing = rule.learn(Round([absent, absent], None, 0))
        assert nothing == {"learning_rate": 1e-3, "entropy_cost": 0.01, "discount": 0.99}
        assert rule.gradient_steps == 2
        assert torch.equal(rule.weights.vector, before)


def test_there_are_no_more_minibatches_than_environments_for_each_slice():
    config, (told,) = acted()
    for slices, steps in ((1, 8), (3, 2)):
        rule = rule_of(config, slices, minibatches=9)
        rule.learn(Round(fragments_of(told), None, 0))
        assert rule.gradient_steps == steps


def test_what_are_no_settings_is_refused():
    for epochs in (0, 2.5, 2.0, True):
        with pytest.raises(ConfigError, match="epochs"):
            VTrace(epochs=epochs)
    with pytest.raises(ConfigError, match="normalize_advantages"):
        VTrace(normalize_advantages="false")
    with pytest.raises(ConfigError, match="policy_clip"):
        VTrace(policy_clip=0.0)
