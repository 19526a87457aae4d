"""Recurrent layers: their memory, and the precision that they compute in."""

import pytest
import torch

from hydrahive.core.machine import bfloat16_units
from hydrahive.policies.cores import RecurrentCore


def core_of(kind):
    return RecurrentCore(kind, 6, 8, 1, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@torch.inference_mode()
def test_a_sequence_is_its_steps(kind):
    core = core_of(kind)
    features, memory = torch.randn(5, 3, 6), torch.randn(3, core.memory_size)
    outputs, after = core(features, memory)
    for t in range(5):
        output, memory = core(features[t : t + 1], memory)
        torch.testing.assert_close(output[0], outputs[t])
    torch.testing.assert_close(memory, after)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@torch.inference_mode()
def test_autocast_rounds_where_the_cpu_gains_by_it_and_the_memory_stays_float32(kind):
    core = core_of(kind)
    features, memory = torch.randn(5, 3, 6), torch.randn(3, core.memory_size)
    exact, exact_after = core(features, memory)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, after = core(features, memory)
    assert outputs.dtype == after.dtype == torch.float32
    torch.testing.assert_close(outputs, exact, atol=0.05, rtol=0.05)
    torch.testing.assert_close(after, exact_after, atol=0.05, rtol=0.05)
    assert torch.equal(outputs, exact) == (not bfloat16_units())
