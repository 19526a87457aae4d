"""Both ends of a lent fragment: what a volunteer gives of it, and the whole that the lender makes of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hydrahive.core.fragment import REPLAYED, Fragment, FragmentSummary
from hydrahive.runtime.roles.lending.layout import Lent, RefusedLentError
from hydrahive.runtime.roles.lookout import Lookout
from hydrahive.runtime.roles.shard import Shard


def lent_of(fragment: Fragment, summary: FragmentSummary, shard: Shard) -> Lent:
    """What acting has made of a fragment that `shard` has just simulated."""
    return Lent(fragment.actions, fragment.behaviour, fragment.states, shard.carried(), summary.detours)


def acted_by(
    shard: Shard, round_: int, version: int, lent: Lent, lookouts: Sequence[Lookout] = ()
) -> tuple[Fragment, FragmentSummary]:
    """The fragment that follows from how somebody acted: the environments are stepped here.

    Raises:
        RefusedLentError: If it does not fit what the environments do.
        OutOfStepError: If `round_` is not the shard's next.
        ValueError: If the environments do not take the actions.
    """
    fragment, summary = shard.replay(round_, version, lent.actions, lookouts)
    if len(lent.states) != len(fragment.state_rows):
        raise RefusedLentError(f"it has {len(lent.states)} memories for {len(fragment.state_rows)} rows")
    shard.carry_on(lent.carried)
    whole = replace(fragment, actions=lent.actions, behaviour=lent.behaviour, states=lent.states)
    return whole, replace(summary, detours=lent.counts, lent=REPLAYED)
