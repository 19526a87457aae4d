"""Random interleavings of everything that can be asked of a ledger, crashes included: the invariants always hold."""

import shutil
import tempfile
from pathlib import Path

from books import opened, posting, settle
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from hydrahive.core.errors import RefusedError, UsageError
from hydrahive.ledger.entries import TREASURY
from hydrahive.ledger.posting import Verdict
from hydrahive.ledger.verification import verify

NAMES = st.sampled_from(["alice", "bob", "carol", "dave"])
AMOUNTS = st.integers(1, 30_000)


class PowerCut(BaseException):
    """The process dies here."""


class LedgerMachine(RuleBasedStateMachine):
    """A model beside the ledger: what each account has, counted in Python's own integers."""

    holds = Bundle("holds")

    @initialize()
    def start(self):
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.now = self.folder / "ledger.sqlite", 10**15
        self.ledger = opened(self.path, clock_us=lambda: self.now)
        self.keys = 0
        self.balance = dict.fromkeys(["alice", "bob", "carol", "dave"], 0)
        self.pending = {}
        self.paid_up_to = 0
        self.caught = False
        self.ledger.accounts.open("dave")
        for name in ("alice", "bob"):
            self.ledger.accounts.open(name)

    def teardown(self):
        self.ledger.close()
        shutil.rmtree(self.folder)

    def key(self):
        self.keys += 1
        return f"key-{self.keys}"

    def available(self, name):
        return self.balance[name] - sum(amount for debit, _, amount, _ in self.pending.values() if debit == name)

    def expire(self):
        self.pending = {seq: held for seq, held in self.pending.items() if held[3] is None or held[3] > self.now}

    @rule(debit=NAMES, credit=NAMES, amount=AMOUNTS)
    def transfer(self, debit, credit, amount):
        if debit == credit:
            return
        self.expire()
        try:
            self.ledger.transfers.transfer(debit, credit, amount, self.key())
        except RefusedError:
            assert self.available(debit) < amount
        else:
            self.balance[debit] -= amount
            self.balance[credit] += amount

    @rule(name=NAMES, amount=AMOUNTS)
    def mint(self, name, amount):
        key = self.key()
        for _ in range(2):
            self.ledger.transfers.transfer(TREASURY, name, amount, key)
        self.balance[name] += amount

    @rule(target=holds, debit=NAMES, credit=NAMES, amount=AMOUNTS, seconds=st.none() | st.integers(1, 5))
    def hold(self, debit, credit, amount, seconds):
        if debit == credit:
            return None
        self.expire()
        expires = None if seconds is None else self.now + seconds * 10**6
        try:
            entry = self.ledger.transfers.hold(debit, credit, amount, self.key(), expires_us=expires)
        except RefusedError:
            assert self.available(debit) < amount
            return None
        self.pending[entry.seq] = (debit, credit, amount, expires)
        return entry.seq

    @rule(seq=consumes(holds), post=st.booleans())
    def resolve(self, seq, post):
        if seq is None:
            return
        if post:
            self.expire()
        try:
            (self.ledger.transfers.post if post else self.ledger.transfers.void)(seq)
        except UsageError:
            assert seq not in self.pending
            return
        held = self.pending.pop(seq, None)
        if post:
            debit, credit, amount, _ = held
            self.balance[debit] -= amount
            self.balance[credit] += amount

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds):
        self.now += seconds * 10**6
        self.ledger.transfers.expire()
        self.expire()

    @rule(rounds=st.integers(1, 3), back=st.integers(0, 3))
    def work(self, rounds, back):
        """A checkpoint's posting, beginning where the last one ended or, after a crash, a little before."""
        first = max(0, self.paid_up_to - back)
        until = first + rounds
        answer = settle(self.ledger, posting(first, until, segment=0))
        new = max(0, until - self.paid_up_to)
        assert answer.paid == 2 * new
        self.paid_up_to = max(self.paid_up_to, until)
        for owner in ("alice", "bob"):
            self.balance[owner] += new * 512 * 10

    @rule()
    def catch(self):
        if self.caught or not self.paid_up_to:
            return
        self.caught = True
        verdict = Verdict(0, self.paid_up_to, self.paid_up_to, "invalid", ("w0",), 0, "it differs")
        settle(self.ledger, posting(0, 0, receipts=(), leases=(), verdicts=(verdict,)))
        self.balance["alice"] -= self.paid_up_to * 512 * 10

    @rule(rounds=st.integers(1, 3))
    def crash_in_the_middle_of_a_posting(self, rounds):
        """Nothing of it has happened, whatever had been appended."""
        head = self.ledger.journal.head()

        def cut():
            raise PowerCut

        self.ledger.journal._commit = cut
        try:
            settle(self.ledger, posting(self.paid_up_to, self.paid_up_to + rounds))
            raise AssertionError("it was cut off")
        except PowerCut:
            pass
        del self.ledger.journal._commit
        self.ledger.close()
        self.ledger = opened(self.path, clock_us=lambda: self.now)
        assert self.ledger.journal.head() == head

    @rule(name=NAMES)
    def renew(self, name):
        key = self.ledger.accounts.renew(name)
        assert self.ledger.accounts.prove(name, key)

    @invariant()
    def balances_are_the_models(self):
        accounts = {account.name: account for account in self.ledger.journal.accounts()}
        for name, balance in self.balance.items():
            assert accounts[name].balance == balance
        assert sum(account.balance for account in accounts.values()) == 0

    @invariant()
    def the_ledger_verifies(self):
        assert verify(self.ledger.journal).problem is None


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedger = LedgerMachine.TestCase
