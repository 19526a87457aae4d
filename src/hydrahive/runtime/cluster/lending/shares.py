"""How many shards volunteers may hold: all of them together, and who has not earned trust yet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

UNPROVEN_EACH, UNPROVEN_ALL = 8, 4
"""Who has not earned trust holds at most an eighth of the shards, all of them together a quarter; at least one."""


@dataclass(frozen=True)
class Shares:
    """What comes of it.

    Attributes:
        most: How many shards each volunteer may hold.
        lent: How many may be lent in all.
        has_room: Whether the last of them has a place.
    """

    most: tuple[int, ...]
    lent: int
    has_room: bool


def shares(shards: int, share: float, others: int, proven: Sequence[bool], accounts: Sequence[str]) -> Shares:
    """How many shards each volunteer may hold.

    Args:
        shards: How many there are.
        share: What part of them may be lent.
        others: Env workers beside the volunteers'.
        proven: Of each volunteer, whether it has earned trust; the earlier ones come first.
        accounts: Whom each earns for.
    """
    lent = max(1, math.floor(shards * share))
    of_unproven = min(lent, max(1, shards // UNPROVEN_ALL))
    each = max(1, shards // UNPROVEN_EACH)
    # No more than twice what would be even, so that one volunteer beside many workers is not all that is waited for.
    fair = math.ceil(2 * shards / (others + len(proven)))
    left, left_unproven, most = lent, of_unproven, dict[int, int]()
    of_account: Counter[str] = Counter()
    for place in sorted(range(len(proven)), key=lambda place: not proven[place]):
        if proven[place]:
            most[place] = min(left, fair)
        else:
            most[place] = min(left, left_unproven, each - of_account[accounts[place]])
            left_unproven -= most[place]
            of_account[accounts[place]] += most[place]
        left -= most[place]
    found = tuple(most[place] for place in range(len(proven)))
    return Shares(found, lent, bool(found) and found[-1] > 0)
