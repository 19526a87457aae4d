"""How the application says no: statuses, and one line in JSON."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hydrahive.serving.models import (
    Problem,
)


class RefusalError(Exception):
    """A query that is not answered."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        """With an HTTP status, and why in one line."""
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


log = logging.getLogger("hydrahive.serving")
STATUS = {"wrong-key": 401, "overdraft": 402, "reused-key": 422, "busy": 409}


def problems(words: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """What a description of an application says of the statuses with which it refuses."""
    return {status: {"model": Problem, "description": text} for status, text in words.items()}


PROBLEMS = problems(
    {
        401: "No key, or nobody's.",
        402: "The account has too few tokens.",
        404: "No such run is served.",
        408: "The body did not come in time.",
        409: "Answered and paid before under this name, and not kept any more.",
        413: "The body, or the number of rows, is too large.",
        422: "What was sent has the wrong shape, or is not finite.",
        429: "The account asks too fast; `Retry-After` says when to ask again.",
        503: "Still loading, or the ledger is away; asking again may help.",
    }
)


async def failed(request: Request, failure: RefusalError) -> JSONResponse:
    """A query that is not answered."""
    return JSONResponse({"error": failure.text}, failure.status, failure.headers)


async def unreadable(request: Request, error: RequestValidationError) -> JSONResponse:
    """What does not follow the description."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"{place}: {first['msg']}"}, 422)


async def refused(request: Request, error: HTTPException) -> JSONResponse:
    """No such path, or method; or bytes that are no text, which are refused like text that is no JSON."""
    if error.status_code == 400:
        return JSONResponse({"error": "body: it is not JSON in UTF-8"}, 422)
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


async def broken(request: Request, error: Exception) -> JSONResponse:
    """A bug of ours: its traceback is for the log, not for who asks."""
    log.error("a query failed", exc_info=error)
    return JSONResponse({"error": "internal error"}, 500)


HANDLERS: dict[int | type[Exception], Any] = {
    RefusalError: failed,
    RequestValidationError: unreadable,
    HTTPException: refused,
    Exception: broken,
}
"""Which of them answers for what is raised."""
