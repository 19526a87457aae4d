import numpy as np
import pytest
import torch
from torch import nn

from hydrahive.algorithms.base.optimizer import FlatOptimizer, OptimizerSettings
from hydrahive.policies.flat_weights import FlatWeights

KINDS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, eps=1e-5),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-2, eps=1e-5, alpha=0.99),
}


def gradients(steps):
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(5, 7, generator=generator), torch.randn(5, generator=generator)] for _ in range(steps)]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_torchs_optimizers(kind):
    """Of the same gradients, clipped together; our one pass over all weights gives what torch's many do."""
    ours, theirs = nn.Linear(7, 5), nn.Linear(7, 5)
    theirs.load_state_dict(ours.state_dict())
    optimizer = FlatOptimizer(FlatWeights(ours, with_gradients=True), OptimizerSettings(kind, 1e-5, 0.5, 0.99))
    reference = KINDS[kind](theirs.parameters())
    for wanted in gradients(20):
        for mine, other, gradient in zip(ours.parameters(), theirs.parameters(), wanted, strict=True):
            mine.grad.copy_(gradient)
            other.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        reference.step()
        assert optimizer.step(1e-2) == pytest.approx(float(norm), rel=1e-5)
        assert all(float(weight.grad.abs().sum()) == 0 for weight in ours.parameters())
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_not_change_a_steps_bytes(kind):
    vectors = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            layer = nn.Linear(400, 300)
            nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
            nn.init.zeros_(layer.bias)
            weights = FlatWeights(layer, with_gradients=True)
            optimizer = FlatOptimizer(weights, OptimizerSettings(kind, 1e-5, 1e9))
            for seed in range(3):
                weights.gradient.copy_(
                    torch.randn(weights.gradient.shape, generator=torch.Generator().manual_seed(seed))
                )
                optimizer.step(1e-3)
            vectors.append(weights.numpy())
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*vectors)
