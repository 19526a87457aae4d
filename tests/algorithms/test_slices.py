"""Gradient slices found by others: whoever finds them, and whatever becomes of him, the bytes are the same."""

import pytest
import torch
from test_conformance import CARTPOLE, REGISTERED, SMALL, VALUES, VARIANTS, with_values

from conftest import FULL
from fragile import trained
from hydrahive.algorithms.base.sharing import Packed, packed, unpacked
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.roles.slices import KEPT, TRIED, Chief, Trial
from slicers import HelpedFleet, PlainLine

MORE = {
    "VTrace, recurrent": ("VTrace", ["--policy.core", "Lstm", "--policy.core.hidden", "8"]),
    "PPO, recurrent": ("PPO", ["--policy.core", "Gru", "--policy.core.hidden", "8"]),
    "AthQ, recurrent, dropout": (
        "AthQ",
        ["--policy.core", "Gru", "--policy.core.hidden", "8", "--algorithm.dropout", "0.2"],
    ),
    "DQN, priorities": ("DQN", ["--replay", "Rows", "--replay.priority_exponent", "0.6"]),
}


def config_of(variant, *more):
    name, options = {**VARIANTS, **MORE}[variant]
    options = [*SMALL, *with_values(name, VALUES), *options, "--learner.slices", "3", "--stop.env_steps", "1500", *more]
    return load_run_config(CARTPOLE, options)


UNLIKE = [
    "VTrace",
    "PPO, recurrent",
    "AthQ, recurrent, dropout",
    "DQN, priorities",
    "Rainbow",
    "SAC, real, dropout",
    "TD3",
]
"""Of which the others differ least."""


@pytest.mark.parametrize("variant", [*VARIANTS, *MORE] if FULL else UNLIKE)
def test_any_number_of_slice_workers_gives_the_same_bytes(variant):
    config = config_of(variant)
    alone = trained(config, InlineFleet(config, "run", "cpu"))
    assert len(set(alone.values())) == len(alone) > 3
    plans = [(1, {}), (2, {3: "late", 5: "lose"}), (3, {2: "fail", 4: "wrong", 7: "lose"})]
    for helpers, plan in plans if FULL else plans[-1:]:
        line = PlainLine(config, plan)
        fleet = HelpedFleet(config, {14: "die", 23: "lose update"}, helpers, line)
        assert trained(config, fleet) == alone, (helpers, plan)
        assert line.done > 5, "they have helped"
        rows = sum(one.rows for one in fleet.helped)
        assert rows > 0, "and are paid for it"


def test_a_lie_is_found_by_who_is_audited_and_changes_nothing():
    config = config_of("PPO")
    alone = trained(config, InlineFleet(config, "run", "cpu"))
    line = PlainLine(config, {4: "lie"})
    fleet = HelpedFleet(config, {}, 2, line, share=1.0)
    assert trained(config, fleet) == alone
    assert [one.wrong for one in fleet.helped if one.wrong] == ["another gradient than the learner"]
    assert all(one.audited for one in fleet.helped)


def test_a_lie_that_nobody_looks_at_changes_the_bytes():
    """So that the test above can fail."""
    config = config_of("PPO")
    alone = trained(config, InlineFleet(config, "run", "cpu"))
    assert trained(config, HelpedFleet(config, {}, 2, PlainLine(config, {4: "lie"}))) != alone


def test_a_tensor_arrives_as_it_lay():
    base = torch.arange(120, dtype=torch.float32)
    for tensor in (
        base[3:63].view(3, 4, 5),
        base.view(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        base.view(10, 12)[:, 2:7],
        base[:4].expand(3, 4),
        base.to(torch.bfloat16)[5:11],
        torch.zeros(0, 7),
        base > 4,
        torch.tensor(3, dtype=torch.int64),
    ):
        there = Packed.of(tensor).tensor(torch.device("cpu"))
        assert there.stride() == tensor.stride()
        assert there.dtype == tensor.dtype
        assert torch.equal(there, tensor)
        if tensor.numel():
            assert there.data_ptr() % 64 == tensor.data_ptr() % 64
    whole = unpacked(packed([(base, "x", None)]), torch.device("cpu"))
    assert torch.equal(whole[0][0], base)
    assert whole[0][1:] == ("x", None)


@pytest.mark.parametrize("faster", [False, True])
def test_help_that_is_on_trial_is_taken_where_updates_come_sooner_with_it(monkeypatch, faster):
    now = [0.0]
    monkeypatch.setattr("hydrahive.runtime.roles.slices.time.perf_counter", lambda: now[0])
    trial, helped = Trial(), []
    for _ in range(2 * (2 * TRIED + KEPT)):
        trial.begin()
        helped.append(trial.is_helped)
        now[0] += 1.0 if trial.is_helped == faster else 1.3
    whole = [False] * TRIED + [True] * TRIED + [faster] * KEPT
    assert helped == 2 * whole


def test_a_trial_goes_on_when_only_audits_become_rarer():
    """They do after each audit: a trial that began anew each time would never come to help."""
    chief = Chief(PlainLine(config_of("PPO")), bytes(32))
    for valid in range(1, TRIED + 2):
        chief.helped_by({0: 1 / valid}, is_tried=True)
        chief.begin(valid)
    assert chief._trial.is_helped
    chief.helped_by({0: 1.0, 1: 1.0}, is_tried=True)
    assert not chief._trial.is_helped, "another crew is another trial"


def test_every_algorithm_of_ours_may_be_helped():
    assert REGISTERED.keys() <= {name for name, _ in {**VARIANTS, **MORE}.values()}
