"""Opening accounts, and the API keys that prove who may speak for one. Only a key's hash is ever kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from hydrahive.core.errors import UsageError
from hydrahive.ledger.entries import NAME, TREASURY, Account
from hydrahive.ledger.journal import Journal

KEY_PREFIX = "hh_"
STRIKE_US, STRIKES_OUT = 24 * 3600 * 1_000_000, 3
"""Time for which a strike keeps an account's machines away, and the strikes after which only forgiving ends that."""

KEY_BYTES = 32
"""Random bytes in a key: too many to guess, so a plain SHA-256 of it may be kept."""


class Accounts:
    """Opens accounts, and gives, renews, revokes and checks their keys."""

    def __init__(self, journal: Journal) -> None:
        """Keep the accounts of this journal."""
        self._journal = journal
        assert journal.path.is_absolute(), "an open journal"
        assert TREASURY, "there is always a treasury"

    def open(self, name: str) -> str:
        """Open an account, or give the first key to one that was opened because somebody worked for it; the key.

        Raises:
            UsageError: If the name is not one, or taken.
        """
        refuse_name(name)
        with self._journal.transaction():
            account = self._journal.account(name)
            if account is not None and self._had_key(name):
                raise UsageError(f"account {name!r} is open already; `accounts renew {name}` gives it a new key")
            key = self._give_key("opened" if account is None else "renewed", name)
        assert key.startswith(KEY_PREFIX), "as all keys"
        assert self._journal.account(name) is not None, "it is open"
        return key

    def renew(self, name: str) -> str:
        """Give an account a new key; the one before is worth nothing any more.

        Raises:
            UsageError: If there is no such account, or it is the ledger's own.
        """
        refuse_name(name)
        with self._journal.transaction():
            self._known(name)
            key = self._give_key("renewed", name)
        assert key.startswith(KEY_PREFIX), "as all keys"
        assert name != TREASURY, "it has no key"
        return key

    def revoke(self, name: str) -> None:
        """Take an account's key away; what it owns and earns stays its own.

        Raises:
            UsageError: If there is no such account, or it has no key.
        """
        refuse_name(name)
        with self._journal.transaction():
            if not self._known(name).key_hash:
                raise UsageError(f"account {name!r} has no key that could be revoked")
            self._about(name, "revoked", "")
            account = self._journal.account(name)
            assert account is not None, "it stays open"
            assert not account.key_hash, "no key fits any more"

    def prove(self, name: str, key: str | None) -> Account:
        """The account, if the key is its own.

        Raises:
            RefusedError: If the key is missing, wrong or revoked, or the account unknown; recorded.
        """
        assert isinstance(name, str), "an account is named"
        account = self._journal.account(name)
        if account is None:
            raise self._journal.refuse("unknown-account", name, f"there is no account {name!r}")
        if not key:
            raise self._journal.refuse("no-key", name, f"account {name!r} asks for its key, and none was given")
        if not account.key_hash:
            reason = "its key was revoked" if self._had_key(name) else "it has no key yet"
            raise self._journal.refuse("revoked-key", name, f"account {name!r}: {reason}")
        if not hmac.compare_digest(hash_of(key), account.key_hash):
            raise self._journal.refuse("wrong-key", name, f"account {name!r}: this is not its key")
        assert account.name == name, "its own"
        return account

    def require_good_standing(self, name: str) -> None:
        """Let nobody work who was caught lately, or too often.

        Raises:
            RefusedError: If the account has a strike that still counts; recorded.
        """
        assert name, "an account is named"
        rows = self._journal.db.execute(
            "SELECT time_us, run, text FROM strikes WHERE account = ? AND forgiven_us IS NULL ORDER BY id", (name,)
        ).fetchall()
        if not rows:
            return
        last_us, run, text = rows[-1]
        until_us = last_us + STRIKE_US
        is_out = len(rows) >= STRIKES_OUT
        if is_out or self._journal.now_us() < until_us:
            when = "" if is_out else f" before {datetime.fromtimestamp(until_us / 1e6, UTC):%Y-%m-%d %H:%M}Z"
            what = f"account {name!r} was caught {len(rows)} times (last in run {run}: {text})"
            forgive = f"may not work{when}; the ledger's owner can forgive it: ledger accounts forgive {name}"
            raise self._journal.refuse("strikes", name, f"{what}, and {forgive}")
        assert until_us > 0, "after 1970"

    def forgive(self, name: str) -> int:
        """Let an account's strikes count no more; how many there were.

        Raises:
            UsageError: If there is no such account, or it has none.
        """
        self._known(name)
        with self._journal.transaction():
            forgiven = self._journal.db.execute(
                "UPDATE strikes SET forgiven_us = ? WHERE account = ? AND forgiven_us IS NULL",
                (self._journal.now_us(), name),
            ).rowcount
        if not forgiven:
            raise UsageError(f"account {name!r} has no strikes that could be forgiven")
        assert forgiven >= 1, "counted"
        assert not self._journal.db.in_transaction, "durable"
        return forgiven

    def _known(self, name: str) -> Account:
        assert name, "an account is named"
        account = self._journal.account(name)
        if account is None:
            raise UsageError(f"there is no account {name!r}; `accounts open {name}` opens it")
        assert account.name == name, "its own"
        return account

    def _had_key(self, name: str) -> bool:
        """Whether the account was ever given a key."""
        assert name, "an account is named"
        rows = self._journal.db.execute(
            "SELECT memo FROM journal WHERE credit = ? AND kind IN ('opened', 'renewed')", (name,)
        ).fetchall()
        assert rows, "it was opened"
        return any('"key_hash":""' not in memo for (memo,) in rows)

    def _give_key(self, kind: str, name: str) -> str:
        assert kind in ("opened", "renewed"), "an account gets a key when it is opened, or a new one"
        key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        self._about(name, kind, hash_of(key))
        assert key not in repr(self._journal.account(name)), "only its hash is kept"
        return key

    def _about(self, name: str, kind: str, key_hash: str) -> None:
        assert NAME.fullmatch(name), "a name"
        seq, _ = self._journal.head()
        idempotency = f"opened/{name}" if kind == "opened" else f"{kind}/{name}/{seq + 1}"
        entry = self._journal.append(kind, kind, name, name, 0, idempotency, {"key_hash": key_hash})
        assert entry.amount == 0, "nothing moves"


def hash_of(key: str) -> str:
    """What is kept of a key: its SHA-256 in hex."""
    assert key, "there is a key"
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert digest != key, "not the key itself"
    return digest


def refuse_name(name: str) -> None:
    """Refuse what cannot be the name of a person's account.

    Raises:
        UsageError: Says what is accepted.
    """
    assert isinstance(name, str), "text"
    if name == TREASURY:
        raise UsageError(f"NAME: {name!r} is the ledger's own account")
    if not NAME.fullmatch(name):
        raise UsageError(f"NAME: {name!r} is not accepted; expected up to 63 letters, digits and . _ -")
    assert len(name) <= 63, "a node label's value takes no more"
