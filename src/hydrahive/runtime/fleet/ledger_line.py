"""A run's line to its ledger: the file itself for inline runs, the coordinator's for runs on Ray."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hydrahive.core.errors import LedgerError, RefusedError
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.paying import Settled
from hydrahive.ledger.posting import Sealed, SealKey


@dataclass(frozen=True)
class RunAccount:
    """A run as the ledger knows it.

    Attributes:
        run_id: Its id.
        name: Its name.
        owner: The account of its user.
        key: Its seals' key.
    """

    run_id: str
    name: str
    owner: str
    key: SealKey


@dataclass(frozen=True)
class Answer:
    """The ledger's answer to some postings.

    Attributes:
        settled: For each posting what came of it; None for one that was refused as a whole.
        refused: What was refused, in words.
    """

    settled: tuple[Settled | None, ...]
    refused: tuple[str, ...]


class LedgerLine(Protocol):
    """Carries postings to the ledger, one call at a time; a call that is lost is simply made again."""

    place: str
    """Where the ledger lies, in words."""

    def post(self, run: RunAccount, postings: Sequence[Sealed]) -> None:
        """Hand postings over; must not be called before the call before is answered."""

    def answer(self, timeout_s: float) -> Answer | None:
        """The answer to the last call; None if there is none yet.

        Raises:
            LedgerError: If the call failed; nothing is known of what came of it, and it may be made again.
        """

    def close(self) -> None:
        """Hang up."""


class DirectLine:
    """The ledger, opened in this process."""

    def __init__(self, ledger: Ledger) -> None:
        """Post to this ledger."""
        self._ledger = ledger
        self._answer: Answer | LedgerError | None = None
        self.place = str(ledger.journal.path)

    def post(self, run: RunAccount, postings: Sequence[Sealed]) -> None:
        """Settle at once."""
        try:
            self._answer = settle(self._ledger, run, postings)
        except LedgerError as error:
            self._answer = error
        except (AssertionError, KeyError, sqlite3.Error) as error:  # a file that somebody has edited
            self._answer = LedgerError(f"{type(error).__name__}: {error}")

    def answer(self, timeout_s: float) -> Answer | None:
        """What came of it."""
        answer, self._answer = self._answer, None
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    def close(self) -> None:
        """Close the file."""
        self._ledger.close()


def settle(ledger: Ledger, run: RunAccount, postings: Sequence[Sealed]) -> Answer:
    """Settle a run's postings in order; one that is refused does not keep the others from being settled.

    Raises:
        LedgerError: If the ledger cannot be written, or the run itself is refused.
    """
    ledger.work.open_run(run.run_id, run.name, run.owner, run.key)
    settled: list[Settled | None] = []
    refused: list[str] = []
    for posting in postings:
        try:
            settled.append(ledger.work.settle(posting))
        except RefusedError as refusal:
            settled.append(None)
            refused.append(str(refusal))
    refused += [text for answer in settled if answer for text in answer.refused]
    return Answer(tuple(settled), tuple(refused))
