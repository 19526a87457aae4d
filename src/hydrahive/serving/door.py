"""The replica's door: first the key, then the body, and of that no more than the policies' shapes can need."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydrahive.serving.refusals import RefusalError

BODY_SECONDS = 10.0
"""Longest time in which a body must have come."""

KNOWN_SECONDS, KNOWN = 30.0, 10_000
"""How long, and of how many keys, it is remembered that they are somebody's."""

STRANGE_PER_SECOND, STRANGE_AT_ONCE, ADDRESSES = 20.0, 40.0, 10_000
"""Keys that nobody has from one address, and of how many addresses that is remembered."""

SMALL = 4096
"""Bytes of a body besides its numbers: names, spaces, and a run's name."""

DIGITS = 26
"""Bytes of a number and what separates it from the next."""

WORDS = 64
"""Quotation marks and braces in a body."""


@dataclass(frozen=True)
class Most:
    """What a body may hold at most, by the shapes of what is served.

    Attributes:
        size: Bytes of it all.
        lists: Brackets that open.
        numbers: Numbers, truths and the like.
    """

    size: int
    lists: int
    numbers: int

    @staticmethod
    def of(rows: int, shape: tuple[int, ...], memory: int, choices: int, body_bytes: int) -> Most:
        """Of `rows` observations of a shape, with a memory and masks of so many numbers."""
        nested, within = 1, 1
        for size in shape:
            nested += within
            within *= size
        numbers = rows * (within + memory + choices)
        lists = 3 + rows * (nested + 2)
        return Most(min(body_bytes, SMALL + numbers * DIGITS + 2 * lists), lists, numbers)

    def wrong_with(self, body: bytes) -> str | None:
        """What a body holds too much of; reading it as JSON would take many times its size. None if nothing."""
        if body.count(b"[") > self.lists or body.count(b",") > self.numbers + self.lists + WORDS:
            return "the body holds more than the largest question"
        if body.count(b"{") > WORDS or body.count(b'"') > WORDS:
            return "the body holds more names than a question has"
        return None


class Behind(Protocol):
    """What the door asks of the application behind it."""

    def needs_key(self, method: str, path: str) -> bool | None:
        """Whether somebody must show a key there before anything else; None where nothing is looked at."""

    def still_loading(self) -> str:
        """Why nobody can be answered yet; empty once all is loaded."""

    def most(self, path: str) -> Most:
        """What a body may hold there."""

    async def is_somebodys(self, key: str) -> bool:
        """Whether an account has this key."""


class Strangers:
    """One bucket for each address: how many keys that nobody has it may still show."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody has come yet; `clock` gives monotonic seconds."""
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_of(self, address: str) -> float:
        """The seconds until a strange key may be shown from there; 0 for now."""
        left, at = self._left.get(address, (STRANGE_AT_ONCE, 0.0))
        left = min(STRANGE_AT_ONCE, left + (self._clock() - at) * STRANGE_PER_SECOND)
        return max(0.0, (1 - left) / STRANGE_PER_SECOND)

    def note(self, address: str, count: float = 1.0) -> None:
        """A key that nobody has was shown; -1: it was somebody's after all."""
        left, at = self._left.get(address, (STRANGE_AT_ONCE, 0.0))
        now = self._clock()
        self._left[address] = max(0.0, min(STRANGE_AT_ONCE, left + (now - at) * STRANGE_PER_SECOND) - count), now
        self._left.move_to_end(address)
        while len(self._left) > ADDRESSES:
            self._left.popitem(last=False)


class Door:
    """An ASGI middleware in front of the application, which is `app.state.behind`."""

    def __init__(self, app: ASGIApp) -> None:
        """In front of `app`."""
        self._app = app
        self._known: OrderedDict[str, float] = OrderedDict()
        self._strangers = Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body, or refuse it in one line."""
        behind: Behind | None = getattr(scope["app"].state, "behind", None) if scope["type"] == "http" else None
        needs_key = None if behind is None else behind.needs_key(scope["method"], scope["path"])
        if behind is None or needs_key is None:
            await self._app(scope, receive, send)
            return
        refusal = await self._refused(scope, behind) if needs_key else None
        if refusal is None and scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        loading = behind.still_loading()
        if refusal is None and loading:
            refusal = _refusal(503, loading, {"Retry-After": "1"})
        if refusal is None:
            most = behind.most(scope["path"])
            body, refusal = await _body(receive, most)
            wrong = most.wrong_with(body) if refusal is None else None
            refusal = refusal or (_refusal(422, wrong) if wrong else None)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _refused(self, scope: Scope, behind: Behind) -> JSONResponse | None:
        """Why a key does not open the door; None if it does."""
        kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        key = key.strip()
        if kind.lower() != "bearer" or not key:
            return _refusal(401, "this costs tokens: show an account's key as a bearer token")
        name, now = hashlib.sha256(key.encode()).hexdigest(), time.monotonic()
        if self._known.get(name, 0.0) > now:
            return None
        address = str((scope.get("client") or ("", 0))[0])
        # Who was somebody a while ago does not stand in the queue of those who never were.
        wait = 0.0 if name in self._known else self._strangers.wait_of(address)
        if wait:
            text = f"too many keys that nobody has came from {address or 'there'}; ask again in {wait:.2f} s"
            return _refusal(429, text, {"Retry-After": str(max(1, round(wait + 0.5)))})
        self._strangers.note(address)  # before it is known, so that many at once are not asked about together
        try:
            is_somebodys = await behind.is_somebodys(key)
        except RefusalError as refusal:  # the till is away
            return _refusal(refusal.status, refusal.text, refusal.headers)
        if not is_somebodys:
            self._known.pop(name, None)
            return _refusal(401, "no account has this key")
        self._strangers.note(address, -1.0)
        self._known[name] = now + KNOWN_SECONDS
        self._known.move_to_end(name)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return None


def _refusal(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse({"error": text}, status, {**challenge, **(headers or {})})


async def _body(receive: Receive, most: Most) -> tuple[bytes, JSONResponse | None]:
    """A body, or why it is not read to its end."""
    parts, read = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return b"", _refusal(408, "the body broke off")
                part = message.get("body", b"")
                read += len(part)
                if read > most.size:
                    return b"", _refusal(413, f"the body is larger than {most.size:,} bytes")
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts), None
    except TimeoutError:
        return b"", _refusal(408, f"the body did not come within {BODY_SECONDS:.0f} s")


def _replayed(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """Gives a body that was read already, and then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
