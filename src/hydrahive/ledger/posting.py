"""What a run tells the ledger: who held which shard, what was consumed, and what audits found; sealed by the run."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from hydrahive.core.receipt import Receipt, SliceReceipt
from hydrahive.ledger.entries import canonical
from hydrahive.ledger.prices import Price

SealKey = bytes
"""A run's own secret; whoever does not have it cannot speak for the run."""

Outcome = Literal["verified", "bonded", "replayed", "invalid", "refused"]
"""Of an audit: all was computed again and equal; the environments' steps were; something was not. `refused`: what came
was not even what was asked for, and nothing was learned from it."""

FAULTS = ("invalid", "refused")
"""Outcomes that a worker is held to account for."""

MOST_TEXT = 1000
"""Letters of a name, or of what an audit found."""

OUTCOMES: tuple[str, ...] = get_args(Outcome)


@dataclass(frozen=True)
class WorkerFacts:
    """A worker as its receipts name it.

    Attributes:
        name: Unique in the run.
        owner: The account that it earns for.
        node: The node that it runs on.
    """

    name: str
    owner: str
    node: str


@dataclass(frozen=True)
class Lease:
    """A worker was given a shard, from a round on until another (None: still is)."""

    shard: int
    worker: str
    from_round: int
    until_round: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What the audit of a shard between two cuts of the run found.

    Attributes:
        shard: The shard.
        from_round: First round of the interval.
        until_round: The round behind its last.
        outcome: What was found.
        workers: Who computed it; of an invalid one, whose fault it is.
        env_steps: Computed again.
        text: What differed, in words; empty if nothing did.
    """

    shard: int
    from_round: int
    until_round: int
    outcome: str
    workers: tuple[str, ...]
    env_steps: int
    text: str = ""


@dataclass(frozen=True)
class Posting:
    """All that a run has to say up to a checkpoint: posted when that is durable, and again until it is answered.

    Attributes:
        run_id: The run.
        segment: Its segment.
        from_update: First update whose receipts are here.
        until_update: The update behind the last; the checkpoint's version.
        env_steps: What the learner counted between the two; the receipts must add up to it.
        price: Of an env step.
        workers: Everyone who is named below.
        leases: Who held which shard.
        receipts: What was consumed.
        verdicts: What audits found since the last posting.
        voided: Receipts that an invalid verdict is about: claimed, not paid.
        unproven: Workers whose pay is set aside until what they did was verified.
        proven_before: What was set aside for earlier rounds than this, and whose environments' steps were computed
            again, is let go: the run would not be taken back so far, or all of it has been looked at.
        slices: Whose gradients the learner took, one a worker.
        gradient_rows: What it counted of them; they must add up to it.
        row_rate: Micro-tokens for a row.
        reported: Nobody can compute this work again: it is paid to the run's own user alone, who believes himself.
    """

    run_id: str
    segment: int
    from_update: int
    until_update: int
    env_steps: int
    price: Price
    workers: tuple[WorkerFacts, ...] = ()
    leases: tuple[Lease, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    voided: tuple[Receipt, ...] = ()
    unproven: tuple[str, ...] = ()
    proven_before: int = 0
    slices: tuple[SliceReceipt, ...] = ()
    gradient_rows: int = 0
    row_rate: int = 0
    reported: bool = False

    def as_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = dict(vars(self))
        plain["price"] = vars(self.price)
        for name in ("workers", "leases", "receipts", "verdicts", "voided"):
            plain[name] = [vars(part) for part in plain[name]]
        if not (self.unproven or self.proven_before):  # as postings of before there was such a thing are sealed
            del plain["unproven"], plain["proven_before"]
        else:
            plain["unproven"] = list(self.unproven)
        if not (self.slices or self.gradient_rows):  # likewise
            del plain["slices"], plain["gradient_rows"], plain["row_rate"]
        else:
            plain["slices"] = [vars(part) for part in self.slices]
        if not self.reported:  # likewise
            del plain["reported"]
        assert self.from_update <= self.until_update, "time goes forward"
        assert self.env_steps >= 0, "steps are counted"
        return plain

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Posting:
        """The inverse of `as_plain`.

        Raises:
            ValueError: If something of it is not of its type.
        """
        parts: dict[str, Any] = {"workers": WorkerFacts, "leases": Lease, "receipts": Receipt, "voided": Receipt}
        read: dict[str, Any] = {name: tuple(part(**row) for row in plain[name]) for name, part in parts.items()}
        verdicts = tuple(Verdict(**{**row, "workers": tuple(row["workers"])}) for row in plain["verdicts"])
        read["unproven"] = tuple(plain.get("unproven", ()))
        read["slices"] = tuple(SliceReceipt(**row) for row in plain.get("slices", ()))
        posting = Posting(**{**plain, **read, "verdicts": verdicts, "price": Price(**plain["price"])})
        wrong = malformed(posting)
        if wrong:
            raise ValueError(wrong)
        assert isinstance(posting.run_id, str), "a UUID"
        assert isinstance(posting.segment, int), "a number"
        return posting


def malformed(posting: Posting) -> str:
    """What of a posting is not of its type; empty if all is. Integers are those that SQLite takes, text is short."""
    assert isinstance(posting, Posting), "as it was read"
    parts: list[Any] = [posting, posting.price, *posting.workers, *posting.leases, *posting.receipts, *posting.voided]
    for part in (*parts, *posting.slices, *posting.verdicts):
        for name, kind in TYPES.get(type(part), {"it": "nothing"}).items():
            value = getattr(part, name, None)
            if not FITS[kind](value):
                return f"{type(part).__name__.lower()}: {name} is {str(value)[:50]!r}"
    counted = (posting.env_steps, posting.gradient_rows, posting.row_rate)
    if posting.from_update > posting.until_update or min(counted) < 0:
        return "its updates or its steps run backwards"
    if not posting.run_id or "/" in posting.run_id:
        return f"run_id is {posting.run_id!r}"
    assert set(FITS) >= {kind for kinds in TYPES.values() for kind in kinds.values()}, "each is known"
    return ""


def _is_integer(value: Any) -> bool:
    """Whether it is one that SQLite takes."""
    assert 2**63 > 0, "SQLite's integers are signed, of 64 bits"
    fits = type(value) is int and -(2**63) <= value < 2**63
    assert not (fits and isinstance(value, bool)), "truth is no number"
    return fits


def _is_text(value: object) -> bool:
    """Whether it is short text without a zero byte, which SQLite would cut off."""
    assert MOST_TEXT > 0, "there are names"
    assert FITS, "called by them"
    return isinstance(value, str) and len(value) <= MOST_TEXT and "\x00" not in value


FITS: dict[str, Callable[[Any], bool]] = {
    "int": _is_integer,
    "int | None": lambda value: value is None or _is_integer(value),
    "str": _is_text,
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(map(_is_text, value)),
    "bool": lambda value: isinstance(value, bool),
    "nothing": lambda value: False,
}
"""Whether a value is of a type, by the type's name."""

TYPES: dict[type, dict[str, str]] = {
    kind: {field.name: str(field.type) for field in fields(kind) if str(field.type) in FITS}
    for kind in (Posting, Price, WorkerFacts, Lease, Receipt, SliceReceipt, Verdict)
}
"""Of each part the fields that are looked at."""


@dataclass(frozen=True)
class Sealed:
    """A posting and the seal of its run."""

    posting: Posting
    seal: str

    def as_plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        assert len(self.seal) == 64, "a SHA-256 in hex"
        plain = {"posting": self.posting.as_plain(), "seal": self.seal}
        assert len(plain) == 2, "nothing else"
        return plain

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Sealed:
        """The inverse of `as_plain`."""
        assert set(plain) == {"posting", "seal"}, "nothing else"
        sealed = Sealed(Posting.from_plain(plain["posting"]), plain["seal"])
        assert len(sealed.seal) == 64, "a SHA-256 in hex"
        return sealed


def seal_of(posting: Posting, key: SealKey) -> str:
    """HMAC-SHA256 (RFC 2104) of a posting under the run's key, in hex."""
    assert len(key) >= 32, "too short a key could be guessed"
    seal = hmac.new(key, canonical(posting.as_plain()).encode(), hashlib.sha256).hexdigest()
    assert len(seal) == 64, "a SHA-256 in hex"
    return seal


def sealed(posting: Posting, key: SealKey) -> Sealed:
    """The posting with its seal."""
    assert posting.run_id, "a run seals for itself"
    seal = Sealed(posting, seal_of(posting, key))
    assert seal.posting is posting, "as it was given"
    return seal
