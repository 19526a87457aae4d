"""What the replay role asks of a memory, whatever it keeps and however it draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hydrahive.core.fragment import Fragment, FragmentSummary
from hydrahive.core.replayed import Draw, Judgement, ReplayEvent, Sample
from hydrahive.core.state import State


class Memory(Protocol):
    """Takes rounds and draws from them; what is drawn depends on them and on the generator alone."""

    def insert(self, fragments: Sequence[Fragment], summaries: Sequence[FragmentSummary]) -> None:
        """Take a round, one fragment of each shard in shard order."""

    def judge(self, judgement: Judgement | None) -> None:
        """Take how far off an update found what it learned from."""

    @property
    def stagnant(self) -> bool:
        """Whether acting should look around."""

    @property
    def finished_in_round(self) -> int:
        """Episodes that finished in the newest round."""

    @property
    def frames(self) -> int:
        """Frames that are kept; of whole episodes those that have finished."""

    @property
    def unfinished_frames(self) -> int:
        """Frames besides, of episodes that have not finished."""

    @property
    def nbytes(self) -> int:
        """Memory of it all."""

    def can_draw(self, draw: Draw) -> bool:
        """Whether there is enough for each batch."""

    def serve(self, batches: int) -> None:
        """Note that so many batches will be drawn from the present state."""

    def starve(self) -> None:
        """Note that nothing can be drawn."""

    def sample(self, generator: np.random.Generator, draw: Draw) -> Sample:
        """Draw; see `can_draw`."""

    def figures(self) -> dict[str, float]:
        """Numbers for a row of metrics."""

    def take_events(self) -> list[ReplayEvent]:
        """What has happened since the last call."""

    def mark(self, name: str) -> None:
        """Remember this moment, for `block_since`."""

    def block_since(self, mark: str) -> State:
        """What was stored since a mark and is still kept; `numbers` says up to what, ever larger."""

    def state(self) -> State:
        """All else; `oldest` is the first of the numbers that is still kept."""

    def restore(self, state: State, blocks: Sequence[State], mark: str) -> None:
        """Fill an empty memory from `state` and the blocks up to it; `mark` names this moment."""
