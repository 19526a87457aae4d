"""What comes in while a call is under way goes out with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hydrahive.serving.refusals import RefusalError

WAITING = 4096
"""Queries that may wait for their call."""


class Together:
    """Passes what comes in while a call is under way on in the next one: the more there is to do, the larger the calls.

    One call at a time, so that the ledger is written once for all that came in meanwhile (group commit).
    """

    def __init__(
        self, call: Callable[[list[Any]], Awaitable[Sequence[Any]]], most: int, waiting: int = WAITING
    ) -> None:
        """Make calls with at most so many; a call's results are in the order of what it was given.

        `waiting`: so many may wait for their call.
        """
        self._most_waiting = waiting
        self._call, self._most = call, most
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, one: Any) -> Any:
        """The result for one.

        Raises:
            RefusalError: If too many wait already.
            Exception: What the call raised.
        """
        if len(self._waiting) >= self._most_waiting:
            raise RefusalError(503, "too many queries are waiting; ask again", {"Retry-After": "1"})
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((one, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await self._call([one for one, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():  # whoever asked may have gone
                    future.set_result(result)
