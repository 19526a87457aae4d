"""Checking a ledger from its first entry: the chain, the rules, the balances, the credits, and conservation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from hydrahive.core.errors import LedgerError
from hydrahive.ledger.credit_rows import conservation
from hydrahive.ledger.entries import (
    ACCOUNT_KINDS,
    KINDS,
    REPORTED,
    RESOLUTIONS,
    TREASURY,
    WORK,
    Account,
    Entry,
    account_after,
    apply,
    canonical,
    chained,
)
from hydrahive.ledger.journal import Journal
from hydrahive.ledger.learning import wrong_learning


@dataclass(frozen=True)
class Verification:
    """What came of checking a ledger.

    Attributes:
        entries: How many were read.
        head: Hash of the newest one.
        env_steps: Paid in all, and not taken back.
        problem: The first thing that is wrong, with the row that shows it; None if nothing is.
    """

    entries: int
    head: str
    env_steps: int
    problem: str | None


@dataclass
class _Fold:
    """What the journal's entries come to, read so far."""

    seq: int
    hash: str
    accounts: dict[str, Account] = field(default_factory=dict)
    pending: dict[int, Entry] = field(default_factory=dict)


def verify(journal: Journal, head: tuple[int, str] | None = None) -> Verification:
    """Read the whole journal and compare all that is kept beside it.

    Args:
        journal: The ledger's.
        head: Number and hash of an entry that somebody noted earlier: it must still be in the chain.
    """
    assert head is None or head[0] >= 0, "entries are numbered from 1"
    fold = _Fold(0, chained("0" * 64, journal.ledger_id, *[None] * 9))
    with journal.readable_errors():
        journal.db.execute("BEGIN")  # one view of the file, whoever writes meanwhile
        try:
            problem = next(_problems(journal, fold, head), None)
            steps = journal.db.execute(
                "SELECT coalesce(sum(env_steps), 0) FROM credits WHERE state = 'paid'"
            ).fetchone()
        finally:
            journal.db.execute("ROLLBACK")
    assert problem is None or problem, "a problem is said in words"
    return Verification(fold.seq, fold.hash, steps[0], problem)


def _problems(journal: Journal, fold: _Fold, head: tuple[int, str] | None) -> Iterator[str]:
    """Everything that is wrong, in the order of reading."""
    assert not fold.accounts, "from the beginning"
    damage = journal.db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        yield f"the file is damaged: {damage}"
    if head is not None and head[0] == 0 and head[1] != fold.hash:
        yield f"its beginning is {fold.hash}, {head[1]} was noted: this is another ledger"
    for entry in journal.entries():
        if head is not None and entry.seq == head[0] and entry.hash != head[1]:
            yield f"journal row {entry.seq}: its hash is {entry.hash}, {head[1]} was noted: the chain was made anew"
        wrong = _wrong_with(journal, entry, fold)
        if wrong:
            yield f"journal row {entry.seq}: {wrong}"
            return
        try:
            _take(entry, fold)
        except AssertionError as breach:
            yield f"journal row {entry.seq}: breaks a rule: {breach}"
            return
    if head is not None and fold.seq < head[0]:
        yield f"journal row {fold.seq + 1}: is missing; the journal ends before row {head[0]}, whose hash was noted"
    assert fold.seq >= 0, "entries are numbered from 1"
    yield from _wrong_keys(journal)
    yield from _wrong_balances(journal, fold)
    yield from _wrong_credits(journal)
    yield from _wrong_sums(journal)
    yield from wrong_learning(journal)


def _wrong_with(journal: Journal, entry: Entry, fold: _Fold) -> str | None:
    """What is wrong with an entry behind those read so far."""
    assert len(fold.hash) == 64, "a SHA-256 in hex"
    assert entry.seq > fold.seq, "read in order"
    if entry.seq != fold.seq + 1:
        return f"follows row {fold.seq}: rows are missing"
    if entry.kind not in KINDS:
        return f"is of no known kind ({entry.kind!r})"
    try:
        if entry.hash != entry.hash_after(fold.hash):
            return "its hash does not fit what it holds and the row before: it was changed"
        facts = json.loads(entry.memo)
    except (TypeError, ValueError) as error:
        return f"holds what no entry holds ({error})"
    if not isinstance(facts, dict) or canonical(facts) != entry.memo:
        return "its memo is not canonical"
    return _breach(journal, entry, fold)


def _breach(journal: Journal, entry: Entry, fold: _Fold) -> str | None:
    """The rule of double entry that an entry breaks."""
    assert entry.seq == fold.seq + 1, "looked at before"
    assert entry.kind in KINDS, "looked at before"
    if entry.kind in ACCOUNT_KINDS:
        known = entry.credit in fold.accounts
        if known == (entry.kind == "opened") or entry.debit != entry.credit or entry.amount:
            return f"{entry.kind} makes no sense for account {entry.credit!r} here"
        return None
    if type(entry.amount) is not int or entry.amount <= 0:
        return f"moves {entry.amount!r}"
    for name in (entry.debit, entry.credit):
        if name not in fold.accounts:
            return f"account {name!r} was never opened"
    if entry.kind in RESOLUTIONS:
        held = fold.pending.get(entry.refers or 0)
        if held is None or (held.debit, held.credit, held.amount) != (entry.debit, entry.credit, entry.amount):
            return f"resolves row {entry.refers}, which is not pending, or holds something else"
        return None
    return _overdraft(journal, entry, fold)


def _overdraft(journal: Journal, entry: Entry, fold: _Fold) -> str | None:
    """What an entry takes that was not there; only a correction may, and only what it corrects."""
    assert entry.kind in ("posted", "pending"), "these take"
    assert entry.debit in fold.accounts, "looked at before"
    if entry.code in ("clawback", "correction"):
        wrong = journal.entry(seq=entry.refers or 0)
        moved = wrong is not None and wrong.seq < entry.seq and wrong.kind in ("posted", "post")
        back = wrong and (wrong.credit, wrong.debit, wrong.amount)
        if not moved or back != (entry.debit, entry.credit, entry.amount):
            return f"takes row {entry.refers} back, which moved something else"
        return None
    if entry.debit != TREASURY and fold.accounts[entry.debit].available < entry.amount:
        return f"takes more from {entry.debit!r} than it had"
    return None


def _take(entry: Entry, fold: _Fold) -> None:
    """Add an entry to the fold."""
    assert entry.seq == fold.seq + 1, "in order"
    fold.seq, fold.hash = entry.seq, entry.hash
    if entry.kind in ACCOUNT_KINDS:
        fold.accounts[entry.credit] = account_after(entry, fold.accounts.get(entry.credit))
        return
    apply(entry, fold.accounts[entry.debit], fold.accounts[entry.credit])
    if entry.kind == "pending":
        fold.pending[entry.seq] = entry
    if entry.kind in RESOLUTIONS:
        del fold.pending[entry.refers or 0]
    if entry.code in (WORK, REPORTED) and entry.kind in ("posted", "pending"):
        facts = entry.facts()
        assert facts["env_steps"] * facts["rate"] * facts["weight"] == entry.amount, "the price is in the memo"


def _wrong_balances(journal: Journal, fold: _Fold) -> Iterator[str]:
    """Balances that are not the fold of the journal, or do not sum to zero."""
    assert fold.seq >= 0, "all entries were read"
    total = 0
    kept = {row[0]: Account(*row) for row in journal.db.execute("SELECT * FROM accounts ORDER BY name")}
    for name in sorted(set(kept) | set(fold.accounts)):
        if kept.get(name) != fold.accounts.get(name):
            yield f"account {name!r}: is {_sums(kept.get(name))}, the journal makes it {_sums(fold.accounts.get(name))}"
        total += kept[name].credits - kept[name].debits if name in kept else 0
    if total:
        yield f"accounts: all balances sum to {total} micro-tokens instead of 0"
    held = {seq for (seq,) in journal.db.execute("SELECT seq FROM holds")}
    for seq in sorted(held ^ set(fold.pending)):
        yield f"holds row {seq}: is {'not ' if seq in held else ''}pending by the journal"
    assert len(fold.pending) <= fold.seq, "each is an entry"


def _wrong_keys(journal: Journal) -> Iterator[str]:
    """Idempotency keys that were used more than once."""
    assert journal.db.in_transaction, "one view of the file"
    for seq, key in journal.db.execute("SELECT max(seq), key FROM journal GROUP BY key HAVING count(*) > 1 ORDER BY 1"):
        assert seq > 1, "the second use"
        yield f"journal row {seq}: its key {key!r} was used before"


def _wrong_credits(journal: Journal) -> Iterator[str]:
    """Credits that the journal does not show, or shows otherwise."""
    assert journal.db.in_transaction, "one view of the file"
    # Looked up once: one pass through the journal for each of its credits would be its square.
    rows = journal.db.execute(
        "WITH reversed AS MATERIALIZED (SELECT refers FROM journal WHERE code = 'correction' AND refers IS NOT NULL) "
        "SELECT r.run_id, c.segment, c.round, c.shard, c.env_steps, c.amount, c.digest, w.name, w.owner, c.state, "
        "j.kind, j.amount, j.credit, j.memo, EXISTS (SELECT 1 FROM journal k WHERE k.key = 'clawback/' || c.seq), "
        "c.seq IN reversed OR coalesce(p.seq IN reversed, 0), "
        "EXISTS (SELECT 1 FROM journal k WHERE k.key = 'void/' || c.seq), p.seq IS NOT NULL "
        "FROM credits c JOIN runs r ON r.id = c.run JOIN workers w ON w.id = c.worker "
        "LEFT JOIN journal j ON j.seq = c.seq AND j.code IN ('work', 'reported') "
        "LEFT JOIN journal p ON p.refers = c.seq AND p.kind IN ('post', 'void', 'expire') "
        "AND p.kind = 'post' WHERE c.amount > 0 ORDER BY c.seq"
    )
    for row, (state, kind, moved, account, memo), resolved in ((list(r[:9]), r[9:14], r[14:]) for r in rows):
        where = f"credits row of run {row[0]}, segment {row[1]}, round {row[2]}, shard {row[3]}"
        facts = json.loads(memo) if memo else {}
        keys = ("run", "segment", "round", "shard", "env_steps", "digest", "worker")
        shown = [facts.get(key) for key in keys]
        shown[5:5], amount_shown = [moved], (account, kind in ("posted", "pending"))
        if shown != row[:8] or amount_shown != (row[8], True):
            yield f"{where}: the journal shows {shown} for {account}, the row {row[:8]} for {row[8]}"
        wrong = _wrong_state(state, kind, *map(bool, resolved))
        if wrong:
            yield f"{where}: is {state}, the journal says {wrong}"
    for (seq,) in journal.db.execute(
        "SELECT seq FROM journal WHERE code IN ('work', 'reported') AND kind IN ('posted', 'pending') "
        "AND seq NOT IN (SELECT seq FROM credits) ORDER BY seq"
    ):
        assert seq >= 1, "entries are numbered from 1"
        yield f"journal row {seq}: its credit is missing"


def _wrong_state(state: str, kind: str, clawed: bool, reversed_: bool, voided: bool, let_go: bool) -> str:
    """What the journal says of a credit otherwise than its row's state does; empty where they agree."""
    assert not (voided and let_go), "a pending entry is resolved once"
    moved = kind == "posted" or let_go
    assert state, "a credit has one"
    if state == "paid":  # what was reversed by hand was paid, too
        return "clawed back" if clawed else "" if moved else "not paid"
    if state == "pending":
        return "" if not (moved or voided) else "resolved"
    if state == "voided":
        return "" if voided else "not voided"
    return "" if voided or (moved and (clawed or reversed_)) else "not clawed back"


def _wrong_sums(journal: Journal) -> Iterator[str]:
    """Runs whose sums or spans do not add up."""
    assert journal.db.in_transaction, "one view of the file"
    rows = journal.db.execute(
        "SELECT r.id, r.name, r.env_steps, r.amount, coalesce(sum(c.env_steps), 0), coalesce(sum(c.amount), 0) "
        "FROM runs r LEFT JOIN credits c ON c.run = r.id AND c.state = 'paid' GROUP BY r.id ORDER BY r.id"
    ).fetchall()
    for run, name, env_steps, amount, paid_steps, paid_amount in rows:
        if (env_steps, amount) != (paid_steps, paid_amount):
            kept, fold = f"{env_steps} env steps, {amount} micro-tokens", f"{paid_steps} and {paid_amount}"
            yield f"runs row {run} ({name}): is credited {kept}; its credits sum to {fold}"
        for segment, first, until, missing in conservation(journal, run):
            yield (
                f"run {name}, segment {segment}, updates {first} to {until}: {missing} env steps that the learner "
                "consumed are not accounted for"
            )
    assert len({row[0] for row in rows}) == len(rows), "each run once"


def _sums(account: Account | None) -> str:
    assert account is None or account.name, "an account has a name"
    if account is None:
        return "missing"
    assert len(vars(account)) == 7, "all of it is shown but when it was opened"
    pending = f"{account.debits_pending}/{account.credits_pending}"
    return f"{account.debits} given, {account.credits} taken ({pending} pending), key {account.key_hash[:8] or 'none'}"


def parse_head(text: str) -> tuple[int, str]:
    """A noted head, as `verify` prints it: `NUMBER:HASH`.

    Raises:
        LedgerError: If it is not one.
    """
    assert isinstance(text, str), "text"
    number, _, hash_ = text.partition(":")
    if not (number.isascii() and number.isdigit()) or len(hash_) != 64:
        raise LedgerError(f"--head: {text!r} is not accepted; expected NUMBER:HASH, as verify prints it")
    assert int(number) >= 0, "digits only"
    return int(number), hash_
