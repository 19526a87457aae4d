"""Bodies that are too large never reach the application."""

from __future__ import annotations

from contextlib import suppress

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hydrahive.serving.config import ServingConfig

DRAINED = 8
"""So many times the limit is read and thrown away: who is still sending does not hear an answer."""


class TooLargeError(Exception):
    """More was sent than is read."""


class BodyLimit:
    """An ASGI middleware: at most `app.state.body_bytes` of a request's body reach the application."""

    def __init__(self, app: ASGIApp) -> None:
        """In front of `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer that it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = getattr(scope["app"].state, "body_bytes", ServingConfig.body_bytes)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            await _throw_away(receive, DRAINED * most)
            await self._refuse(scope, receive, send, most)
            return
        read, begun, is_refused = 0, False, False

        async def limited() -> Message:
            nonlocal read, is_refused
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                is_refused = True
                raise TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            if is_refused and not begun:
                return  # what the application makes of a body that breaks off
            begun = True
            await send(message)

        with suppress(TooLargeError):
            await self._app(scope, limited, noted)
        if is_refused and not begun:
            await self._refuse(scope, receive, send, most)

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send, most: int) -> None:
        response = JSONResponse({"error": f"the body is larger than {most:,} bytes"}, 413)
        await response(scope, receive, send)


async def _throw_away(receive: Receive, most: int) -> None:
    """Read a body, but not more of it than `most` bytes."""
    read = 0
    while read <= most:
        message = await receive()
        read += len(message.get("body", b""))
        if not message.get("more_body", False):
            return
