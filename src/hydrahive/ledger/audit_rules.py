"""Who is audited, how often, and how far back a fault reaches: BOINC's adaptive replication, on exact results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hydrahive.core.config import require_integer, require_number
from hydrahive.core.streams import stream


@dataclass(frozen=True)
class AuditConfig:
    """Whose work is computed again, and how much of it; changes a byte only where a worker's were wrong.

    Attributes:
        workers: `others` audits those who work for another account than the run's user, `all` everyone, `none`
            nobody. Needs `schedule: fixed-lag`.
        trust_after: Valid audits in a row after which no longer every interval of a node is computed again in full,
            but one with probability 1/(valid in a row). Environment steps are always replayed.
        at_least: Share of the intervals that is computed again in full however long a node has been honest.
        window: Boundaries that a run may be taken back when a worker is caught. What was unverified for longer
            stays in it, and the run is marked tainted.
    """

    workers: Literal["others", "all", "none"] = "others"
    trust_after: int = 10
    at_least: float = 0.0
    window: int = 64

    def __post_init__(self) -> None:
        """Refuse shares above one and counts that make no sense."""
        require_integer("trust_after", self.trust_after, 1)
        require_number("at_least", self.at_least, 0, 1)
        require_integer("window", self.window, 1)
        assert self.workers in ("others", "all", "none"), "refused by the parser"
        assert 0 <= self.at_least <= 1, "just required"


ACCOUNT = "account "
"""What begins the name under which the standing of an account is kept whose work is not bound to a node."""


def node_of(account: str) -> str:
    """What stands in place of a node in the receipts of an account's volunteers, wherever they compute."""
    assert account, "somebody's"
    named = f"{ACCOUNT}{account}"
    assert account_of(named) == account, "said once"
    return named


def account_of(node: str) -> str:
    """The account that stands in place of a node; empty for a node."""
    assert isinstance(node, str), "a name"
    account = node.removeprefix(ACCOUNT) if node.startswith(ACCOUNT) else ""
    assert not account.startswith(ACCOUNT), "said once"
    return account


def slicing(node: str) -> str:
    """The name under which a node's standing as a finder of slices' gradients is kept, apart from its fragments'."""
    assert node, "a node has a name"
    named = f"{node} (slices)"
    assert named != node, "two standings"
    return named


@dataclass
class Standings:
    """What is known of the nodes that work for a run.

    Attributes:
        config: The rules.
        valid: Valid full audits in a row, by node; an invalid one resets to none.
        unverified: First round of the first interval that was not audited in full, by node.
    """

    config: AuditConfig
    valid: dict[str, int] = field(default_factory=dict)
    unverified: dict[str, int] = field(default_factory=dict)

    def share(self, node: str) -> float:
        """The probability with which a node's next interval is audited in full."""
        valid = self.valid.get(node, 0)
        assert valid >= 0, "counted"
        if valid < self.config.trust_after:
            return 1.0
        # Of an account that may come from anywhere, so many that lying never pays by what it has kept as a bond.
        least = 1 / self.config.trust_after if account_of(node) else 0.0
        share = max(self.config.at_least, least, 1 / valid)
        assert 0 < share <= 1, "a probability"
        return share

    def is_drawn(self, secret: bytes, segment: int, shard: int, from_round: int, nodes: Iterable[str]) -> bool:
        """Whether the interval of a shard that begins at `from_round` is audited in full.

        Args:
            secret: The run's, which no worker knows: none can foresee the draw.
            segment: The run's segment.
            shard: The shard.
            from_round: Where the interval begins.
            nodes: All that computed a part of it.
        """
        assert len(secret) >= 32, "too short a secret could be guessed"
        shares = [self.share(node) for node in nodes]
        assert shares, "somebody computed it"
        draw = stream(int.from_bytes(secret, "big"), "audit", segment, shard, from_round).random()
        return bool(draw < max(shares))

    def note(self, nodes: Iterable[str], from_round: int, *, in_full: bool) -> None:
        """An interval that begins at `from_round` was audited and is valid, in full or its environment steps only."""
        assert from_round >= 0, "rounds are counted from 0"
        for node in nodes:
            if in_full:
                self.valid[node] = self.valid.get(node, 0) + 1
            else:
                self.unverified[node] = min(from_round, self.unverified.get(node, from_round))
            assert self.valid.get(node, 0) >= 0, "counted"

    def is_new(self, node: str) -> bool:
        """Whether a node has not been found honest often enough yet: its pay is kept as a bond."""
        valid = self.valid.get(node, 0)
        assert valid >= 0, "counted"
        assert self.config.trust_after >= 1, "refused before"
        return valid < self.config.trust_after

    def begin_anew(self, node: str) -> None:
        """A node has left: should it come back, it has to earn trust again."""
        assert node, "it has a name"
        self.valid.pop(node, None)
        assert self.is_new(node), "nothing is known of it"

    def catch(self, node: str, from_round: int) -> int:
        """A node's interval is invalid: its standing is lost; the round from which on its work cannot be believed."""
        assert from_round >= 0, "rounds are counted from 0"
        self.valid[node] = 0
        first = min(from_round, self.unverified.get(node, from_round))
        assert first <= from_round, "not later than where it was caught"
        return first

    def go_back(self, to_round: int) -> None:
        """The run is taken back: what came later never happened."""
        assert to_round >= 0, "rounds are counted from 0"
        self.unverified = {node: first for node, first in self.unverified.items() if first < to_round}
        assert all(first < to_round for first in self.unverified.values()), "earlier"

    def way_back(self, update: int, reach_updates: int) -> int | None:
        """The update that a run at `update` may have to return to, if it reaches so far; None if all is verified."""
        assert reach_updates >= 0, "a distance"
        back = min((first for first in self.unverified.values() if first >= update - reach_updates), default=None)
        assert back is None or back <= update, "behind"
        return back

    def as_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = {"valid": dict(self.valid), "unverified": dict(self.unverified)}
        assert len(plain) == 2, "the rules are the config's"
        assert all(count >= 0 for count in self.valid.values()), "counted"
        return plain

    @staticmethod
    def from_plain(config: AuditConfig, plain: Mapping[str, Any]) -> Standings:
        """The inverse of `as_plain`; an empty mapping gives fresh standings."""
        standings = Standings(config, dict(plain.get("valid", {})), dict(plain.get("unverified", {})))
        assert all(isinstance(count, int) for count in standings.valid.values()), "counted"
        assert all(isinstance(first, int) for first in standings.unverified.values()), "rounds"
        return standings
