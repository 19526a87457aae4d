"""What Ray Serve's HTTP proxy does before a request goes on to a replica: bounds for who has shown no key yet.

The proxy takes a body in as fast as it comes, whoever sends it, and lets headers change its own time-outs. This
middleware stands in front of that: `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names it where Ray is started.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLBACK = ("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "hydrahive.serving.proxy:middlewares")
"""The variable of Ray Serve's that names `middlewares`, and its value."""

BODY_BYTES = "HYDRAHIVE_BODY_BYTES"
"""The variable that says how large a request's body may be."""

DEFAULT_BODY_BYTES = 8 * 2**20

BODY_SECONDS = 15.0
"""Longest time in which a body must have come."""

BUFFERED_BYTES = 256 * 2**20
"""Of all bodies that are on their way together."""

UNDER_WAY = 3_000
"""Requests that are on their way together."""

DRAINED, DRAIN_SECONDS = 8, 5.0
"""So many times the largest body is read and thrown away, and for so long: who is still sending hears no answer."""

OVERRIDING = (b"x-request-timeout-seconds", b"x-request-disconnect-disabled")
"""Headers by which Serve lets a caller change time-outs and what follows from hanging up."""


def middlewares() -> list[Middleware]:
    """What Serve's proxy is given."""
    return [Middleware(Guard)]


class Guard:
    """An ASGI middleware: bounded bodies, in bounded time, not too many at once; no headers that override."""

    def __init__(self, app: ASGIApp) -> None:
        """In front of `app`."""
        self._app = app
        self.most = int(os.environ.get(BODY_BYTES) or DEFAULT_BODY_BYTES)
        self._under_way = self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it in one line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.most:
            await throw_away(receive, DRAINED * self.most)
            await _refuse(send, 413, f"the body is larger than {self.most:,} bytes")
            return
        if self._under_way >= UNDER_WAY:
            await _refuse(send, 503, "too many requests are under way; ask again")
            return
        kept = [(name, value) for name, value in scope["headers"] if bytes(name).lower() not in OVERRIDING]
        self._under_way += 1
        request = _Request(self, receive, send)
        try:
            await self._app({**scope, "headers": kept}, request.receive, request.send)
            await request.finish()
        finally:
            self._under_way -= 1
            self._buffered -= request.read

    def take(self, count: int, of_request: int) -> tuple[int, str] | None:
        """Count bytes that have come; why no more are taken, if so."""
        self._buffered += count
        if of_request > self.most:
            return 413, f"the body is larger than {self.most:,} bytes"
        if self._buffered > BUFFERED_BYTES:
            return 503, "too much is being sent at once; ask again"
        return None


class _Request:
    """One request on its way: what came of its body, and whether an answer has begun."""

    def __init__(self, guard: Guard, receive: Receive, send: Send) -> None:
        self._guard, self._receive, self._send = guard, receive, send
        self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        self._is_whole = self._has_begun = False
        self._refusal: tuple[int, str] | None = None
        self.read = 0

    async def receive(self) -> Message:
        """The next part of the body; whoever is refused has hung up, as far as the application knows."""
        if self._is_whole:
            return await self._receive()
        if self._refusal is None:
            try:
                async with asyncio.timeout_at(self._deadline):
                    message = await self._receive()
            except TimeoutError:
                self._refusal = 408, f"the body did not come within {BODY_SECONDS:.0f} s"
            else:
                count = len(message.get("body", b""))
                self.read += count
                self._refusal = self._guard.take(count, self.read)
                self._is_whole = not message.get("more_body", False)
                if self._refusal is None:
                    return message
        self._is_whole = False
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass an answer on; what the application makes of a body that breaks off is not."""
        if self._refusal is None or self._has_begun:
            self._has_begun = True
            await self._send(message)

    async def finish(self) -> None:
        """Answer who was refused."""
        if self._refusal is not None and not self._has_begun:
            if self._refusal[0] == 413:
                await throw_away(self._receive, DRAINED * self._guard.most)
            await _refuse(self._send, *self._refusal)


async def throw_away(receive: Receive, most: int) -> None:
    """Read what is still being sent, for whoever sends does not hear an answer; not more than so much, nor for long."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while read <= most:
                message = await receive()
                read += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


async def _refuse(send: Send, status: int, text: str) -> None:
    """One line in JSON; the connection ends, for the rest of the body is not read."""
    body = json.dumps({"error": text}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
