"""The application's line to the till: prices set aside, taken and given back, many in one durable write."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from hydrahive.ledger.till.limits import TooFast
from hydrahive.ledger.till.queries import Admitted, Query, Refused
from hydrahive.runtime.coordinator.actor import coordinator
from hydrahive.serving.answered import Name
from hydrahive.serving.models import Payment
from hydrahive.serving.refusals import STATUS, RefusalError
from hydrahive.serving.together import Together

TOGETHER = 256
"""Queries that one call to the till carries at most."""

SETTLE_ATTEMPTS = 20
"""How often the till is told what came of a query while it is being restarted, once a second."""

log = logging.getLogger("hydrahive.serving")


@dataclass(frozen=True)
class Question:
    """What is asked, and by whom.

    Attributes:
        key: The API key of the account that pays; empty where nothing is paid.
        price: In micro-tokens.
        run: The run that is asked.
        what: `act` or `episode`.
        asked: Digest of the question itself.
        once: Its name among the account's; it was given one, or has its own.
    """

    key: str
    price: int
    run: str
    what: str
    asked: str
    once: str

    @property
    def name(self) -> Name:
        """By which its answer is found again."""
        return self.key, f"{self.run}/{self.what}", self.asked, self.once


@dataclass(frozen=True)
class Paying:
    """A query on its way: what was set aside for it, and whether it was answered and paid before."""

    hold: int | None = None
    payment: Payment | None = None
    was_paid: int | None = None


def any_name() -> str:
    """For a query that was given none."""
    return f"auto-{secrets.token_hex(12)}"


class Payments:
    """Sets prices aside, and has them taken or given back."""

    def __init__(self, per_second: int) -> None:
        """Ask the cluster's coordinator; an account may ask so many times a second."""
        self._per_second = per_second
        self._coordinator = coordinator()
        self._admitting = Together(self._admit_all, TOGETHER)
        self._settling = Together(self._settle_all, TOGETHER)
        self._unsettled: set[asyncio.Task[Any]] = set()

    async def admit(self, question: Question) -> Paying:
        """Set the price aside.

        Raises:
            RefusalError: If the account may not ask.
        """
        if not question.price:
            return Paying()
        query = Query(question.key, question.price, question.run, question.what, question.asked, question.once)
        answer: Any = await self._admitting(query)
        if isinstance(answer, TooFast):
            wait = str(max(1, round(answer.seconds + 0.5)))
            text = f"more than {self._per_second} queries a second; ask again in {answer.seconds:.2f} s"
            raise RefusalError(429, text, {"Retry-After": wait})
        if isinstance(answer, Refused):
            headers = {"WWW-Authenticate": "Bearer"} if answer.reason == "wrong-key" else None
            raise RefusalError(STATUS[answer.reason], answer.text, headers)
        assert isinstance(answer, Admitted), "the till's only other answer"
        payment = Payment(
            account=answer.account,
            microtokens=0 if answer.paid else question.price,
            available_microtokens=answer.available,
        )
        return Paying(None, payment, answer.hold) if answer.paid else Paying(answer.hold, payment)

    async def answer_again(self, paying: Paying) -> None:
        """Have a question answered once more that was paid before, and whose answer is not kept here.

        Raises:
            RefusalError: If that was done too often.
        """
        if not await self.asked("answer_again", paying.was_paid):
            raise RefusalError(409, "this was answered and paid before, and is not kept any more; use another name")

    def settle(self, paying: Paying, *, answered: bool) -> None:
        """Have the till told, while the answer is on its way already: if that never happens, the price goes back."""
        if paying.hold is not None:
            task = asyncio.create_task(self.settled(paying.hold, answered))
            self._unsettled.add(task)
            task.add_done_callback(self._unsettled.discard)

    async def settled(self, hold: int, answered: bool) -> None:
        """Tell the till what came of a query."""
        for _ in range(SETTLE_ATTEMPTS):
            try:
                await self._settling((hold, answered))
                return
            except RefusalError:
                await asyncio.sleep(1)

    async def _admit_all(self, queries: list[Any]) -> Sequence[Any]:
        answers: Sequence[Any] = await self.asked("admit_queries", queries, self._per_second)
        return answers

    async def _settle_all(self, settled: list[Any]) -> Sequence[Any]:
        answered = [hold for hold, was in settled if was]
        failed = [hold for hold, was in settled if not was]
        await self.asked("settle_queries", answered, failed)
        return settled

    async def asked(self, method: str, *arguments: Any) -> Any:
        """What the coordinator answers.

        Raises:
            RefusalError: If it does not.
        """
        try:
            return await getattr(self._coordinator, method).remote(*arguments)
        except ray.exceptions.RayError as error:
            log.warning("the till does not answer: %s", type(error).__name__)
            self._coordinator = coordinator()
            raise RefusalError(503, "the ledger is away just now; nothing was paid", {"Retry-After": "1"}) from None
