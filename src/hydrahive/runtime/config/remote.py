"""What is lent to volunteers outside of Ray."""

from __future__ import annotations

from dataclasses import dataclass

from hydrahive.core.config import require_integer, require_number


@dataclass(frozen=True)
class RemoteConfig:
    """How much of a run is acted by volunteers over HTTPS; never changes a byte of the run.

    Attributes:
        share: Part of the shards whose acting may be lent, 0 to 1; 0 lends nothing.
        rounds_per_lease: Rounds that a volunteer may be given ahead, as far as `lag` allows.
        deadline_seconds: Longest wait for a round that is due, in seconds; it is computed here when less than that
            has passed, too, where three times as long as it would take here has.
    """

    share: float = 0.0
    rounds_per_lease: int = 4
    deadline_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuse shares above one, and no time at all."""
        require_number("share", self.share, 0, 1)
        require_integer("rounds_per_lease", self.rounds_per_lease, 1, 64)
        require_number("deadline_seconds", self.deadline_seconds, 0, above=True)
