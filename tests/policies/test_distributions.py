"""Squashed Gaussians against torch's own, and what normalisers merge against numpy's own."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import Categorical, Independent, Normal, TransformedDistribution, kl_divergence
from torch.distributions.transforms import AffineTransform, TanhTransform

from hydrahive.algorithms.base.normalisers import Returns, Statistics
from hydrahive.core.fragment import Fragment, FragmentId
from hydrahive.policies.distributions import MultiCategorical, distribution_of
from hydrahive.policies.gaussian import Gaussian, within

LOW, HIGH = np.array([-1.0, 2.0], np.float32), np.array([3.0, 5.0], np.float32)
OURS = Gaussian(spaces.Box(LOW, HIGH))


def parameters(seed):
    return OURS.normal(torch.randn(50, 4, generator=torch.Generator().manual_seed(seed)))


def theirs(normal):
    mean, log_std = normal.chunk(2, dim=-1)
    base = Independent(Normal(mean.double(), log_std.double().exp()), 1)
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    squash = [TanhTransform(), AffineTransform((low + high) / 2, (high - low) / 2)]
    return base, TransformedDistribution(base.base_dist, squash)


def test_log_ratios_are_those_of_the_squashed_densities():
    p, q = parameters(1), parameters(2)
    drawn = OURS.drawn(p, torch.randn(50, 2, generator=torch.Generator().manual_seed(3)))
    ours = OURS.log_probs(p, drawn) - OURS.log_probs(q, drawn)
    squashed = torch.tensor(OURS.for_env(drawn.numpy())).double()
    inside = ((squashed > torch.tensor(LOW) + 1e-3) & (squashed < torch.tensor(HIGH) - 1e-3)).all(-1)
    (_, target), (_, behaviour) = theirs(p), theirs(q)
    expected = (target.log_prob(squashed) - behaviour.log_prob(squashed)).sum(-1)
    torch.testing.assert_close(ours.double()[inside], expected[inside], atol=5e-3, rtol=5e-3)
    assert inside.sum() > 25


def test_divergence_is_torchs_and_entropy_that_of_the_squashed_action():
    p, q = parameters(4), parameters(5)
    torch.testing.assert_close(
        OURS.kl_divergence(p, q).double(), kl_divergence(theirs(p)[0], theirs(q)[0]), atol=1e-4, rtol=1e-4
    )
    generator = torch.Generator().manual_seed(6)
    base, _ = theirs(p)
    u = base.mean + base.stddev * torch.randn((100_000, *base.mean.shape), generator=generator, dtype=torch.float64)
    # of tanh(u), -E[log density], with torch's own stable logarithm of tanh's slope
    expected = -(base.log_prob(u) - TanhTransform().log_abs_det_jacobian(u, u.tanh()).sum(-1)).mean(0)
    usual = base.stddev.amax(-1) < 2  # beyond, the quadrature is off by up to a tenth of a nat
    torch.testing.assert_close(OURS.entropy(p).double()[usual], expected[usual], atol=0.05, rtol=0.02)
    torch.testing.assert_close(OURS.entropy(p).double(), expected, atol=0.3, rtol=0.1)


def test_a_bonus_for_entropy_does_not_pay_for_the_ends_of_the_range():
    """L12: the unsquashed Gaussian's entropy grows with its deviation for ever, though all its actions are the ends."""
    one = distribution_of(spaces.Box(-1, 1, (1,), np.float32))
    wide = torch.linspace(-3, 1, 41)
    entropies = one.entropy(torch.stack([torch.zeros(41), wide], dim=-1))
    best = float(wide[entropies.argmax()])
    assert -0.3 <= best <= 0.1, "widest when actions are most nearly uniform"
    assert entropies.max() < np.log(2) < entropies.max() + 0.05
    parameters = torch.tensor([[0.0, 1.0]], requires_grad=True)
    one.entropy(one.normal(parameters)).sum().backward()
    assert parameters.grad[0, 1] < 0


def test_actions_stay_within_bounds_and_the_mode_is_the_mean():
    wild = torch.tensor([[50.0, -50.0, 9.0, -9.0]])
    np.testing.assert_allclose(OURS.for_env(OURS.mode(wild).numpy()), [[2.99, 2.0075]], atol=1e-3)
    tame = torch.tensor([[0.3, -0.2, -1.0, -1.0]])
    np.testing.assert_allclose(OURS.for_env(OURS.mode(tame).numpy()), [[1.58, 3.204]], atol=2e-3)
    drawn = OURS.for_env(OURS.drawn(parameters(6), torch.randn(50, 2)).numpy())
    assert (drawn >= LOW).all()
    assert (drawn <= HIGH).all()


def test_statistics_merge_to_those_of_all_rows():
    rows = np.random.default_rng(0).normal(5, 3, (1000, 4)).astype(np.float32)
    statistics = Statistics((4,))
    for part in np.split(rows, [1, 1, 300, 301]):
        statistics.merge(part)
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.deviation(), rows.std(0), rtol=1e-5)
    other = Statistics((4,))
    other.restore(statistics.state())
    other.merge(rows)
    statistics.merge(rows)
    np.testing.assert_array_equal(other.m2, statistics.m2)


def returns_of(rewards, ended):
    """What a discounted return is at each step, `[T, B]`."""
    seen, running = [], np.zeros(rewards.shape[1])
    for t in range(len(rewards)):
        running = running * 0.9 + rewards[t]
        seen.append(running)
        running = np.where(ended[t], 0, running)
    return np.array(seen)


def test_returns_go_on_from_round_to_round_and_end_with_their_episode():
    random = np.random.default_rng(1)
    rewards, ended = random.normal(size=(12, 3)).astype(np.float32), random.random((12, 3)) < 0.2
    returns = Returns(0.9)
    for part in (slice(0, 5), slice(5, 12)):
        returns.merge([fragment(rewards[part], ended[part])])
    np.testing.assert_allclose(returns.statistics.deviation()[0], np.std(returns_of(rewards, ended)), rtol=1e-6)


def test_returns_of_fragments_that_come_as_they_like_are_their_shards():
    """Without a fixed schedule an update has several fragments of one shard and none of another."""
    random = np.random.default_rng(4)
    rewards, ended = random.normal(size=(3, 12, 2)), random.random((3, 12, 2)) < 0.2
    pieces = [
        [fragment(rewards[shard, t : t + 4], ended[shard, t : t + 4], shard) for t in (0, 4, 8)] for shard in range(3)
    ]
    first, then = Returns(0.9), Returns(0.9)
    first.merge([pieces[0][0], pieces[0][1], pieces[2][0]])
    then.restore(first.state())
    then.merge([pieces[0][2], *pieces[1]])
    then.merge(pieces[2][1:])
    seen = [returns_of(rewards[shard], ended[shard]) for shard in range(3)]
    np.testing.assert_allclose(then.statistics.deviation()[0], np.std(seen), rtol=1e-9)


def fragment(rewards, ended, shard=0):
    nothing = np.zeros((0, 2))
    false = np.zeros_like(ended)
    return Fragment(
        FragmentId("run", 0, 0, shard),
        0,
        nothing,
        nothing,
        nothing,
        rewards,
        ended,
        false,
        ~false,
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
    )


def test_several_choices_are_the_product_of_torchs_categoricals():
    several = MultiCategorical(spaces.MultiDiscrete([3, 4], start=[0, 2]))
    random = torch.Generator().manual_seed(7)
    p, q = (torch.randn(50, 7, generator=random) for _ in range(2))
    drawn = several.drawn(p, torch.from_numpy(several.noise(np.random.default_rng(0), (50,))))
    normal, other = several.normal(p), several.normal(q)
    theirs, others = ([Categorical(logits=part) for part in logits.split([3, 4], -1)] for logits in (p, q))
    expected = sum(each.log_prob(drawn[:, d]) for d, each in enumerate(theirs))
    torch.testing.assert_close(several.log_probs(normal, drawn), expected)
    torch.testing.assert_close(several.entropy(normal), sum(each.entropy() for each in theirs))
    divergence = sum(kl_divergence(each, another) for each, another in zip(theirs, others, strict=True))
    torch.testing.assert_close(several.kl_divergence(normal, other), divergence)
    assert (several.for_env(drawn.numpy()) - drawn.numpy() == [0, 2]).all()


def test_what_is_masked_is_never_drawn_and_the_others_share_its_probability():
    for distribution in (MultiCategorical(spaces.MultiDiscrete([3, 4])), distribution_of(spaces.Discrete(7))):
        legal = torch.tensor([[True, False, True, False, True, True, False]]).expand(2000, 7)
        parameters = torch.zeros(2000, 7, requires_grad=True)
        masked = distribution.masked(parameters, legal)
        noise = torch.from_numpy(distribution.noise(np.random.default_rng(0), (2000,)))
        drawn = distribution.drawn(masked, noise)
        ones = (
            torch.nn.functional.one_hot(drawn, 7)
            if drawn.ndim == 1
            else torch.cat(
                [torch.nn.functional.one_hot(drawn[:, 0], 3), torch.nn.functional.one_hot(drawn[:, 1], 4)], -1
            )
        )
        assert (ones.bool() & ~legal).sum() == 0
        again = distribution.normal(distribution.masked_like(torch.zeros(2000, 7), masked.detach()))
        normal = distribution.normal(masked)
        assert torch.equal(again, normal.detach())
        shares = normal.exp()[0]
        assert shares[~legal[0]].sum() == 0
        (distribution.log_probs(normal, drawn).sum() + distribution.entropy(normal).sum()).backward()
        assert torch.isfinite(parameters.grad).all()
        assert (parameters.grad[~legal] == 0).all()
        assert distribution.kl_divergence(normal, normal).abs().max().item() == 0


def test_a_choice_of_which_nothing_is_legal_is_free():
    """Of each choice of several alike; it is recorded as it is drawn."""
    distribution = distribution_of(spaces.MultiDiscrete([2, 3]))
    legal = np.tile([True, False, False, False, False], (3000, 1))
    masked = distribution.masked(torch.zeros(3000, 5), torch.from_numpy(legal))
    noise = distribution.noise(np.random.default_rng(0), (3000,))
    drawn = distribution.drawn(masked, torch.from_numpy(noise))
    counts = np.bincount(drawn[:, 1].numpy(), minlength=3)
    assert set(drawn[:, 0].tolist()) == {0}
    assert counts.min() > 900
    log_probs = distribution.log_probs(distribution.normal(masked), drawn)
    assert np.allclose(log_probs, np.log(1 / 3))


@pytest.mark.parametrize("start", [3.0, -9.0])
def test_a_deviation_beyond_its_bounds_comes_back(start):
    """With an ordinary clamp its gradient is 0 for ever."""
    gaussian = distribution_of(spaces.Box(-1, 1, (1,)))
    log_std = torch.nn.Parameter(torch.full((1, 1), start))
    optimizer = torch.optim.Adam([log_std], 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        normal = gaussian.normal(torch.cat([torch.zeros(1, 1), log_std], dim=-1))
        (normal[:, 1] + 1.0).square().sum().backward()  # wants a deviation of e^-1
        optimizer.step()
    assert log_std.item() == pytest.approx(-1.0, abs=0.05)


def test_within_its_bounds_a_gradient_is_a_clamps():
    values = torch.linspace(-6, 2, 17, requires_grad=True)
    within(values, -5.0, 1.0).sum().backward()  # draws downwards
    assert values.grad.tolist() == [0.0, 0.0] + [1.0] * 15
    with torch.no_grad():
        assert torch.equal(within(values, -5.0, 1.0), values.clamp(-5.0, 1.0))
