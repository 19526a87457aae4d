"""The gateway's calls over HTTP. First the key, then the length, then the body; nobody's bytes are unpacked here.

FastAPI reads the types of its endpoints, so annotations are evaluated here.
"""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import ClientDisconnect

from hydrahive import __version__
from hydrahive.serving.door import WORDS, Door, Most
from hydrahive.serving.gateway.desk import Desk, Lease, Process, RefusedHereError
from hydrahive.serving.gateway.words import (
    Digest,
    Earnings,
    Enter,
    Entered,
    Health,
    Leases,
    Left,
    Lent,
    Name,
    Proof,
    Received,
    Worker,
)
from hydrahive.serving.refusals import HANDLERS, RefusalError, problems

POLL_SECONDS = 20.0
"""How long a question for work waits at most."""

BODY_SECONDS, BODY_RATE = 10.0, 20_000
"""An answer must have come within so many seconds, and one more for each so many bytes."""

JSON_BYTES = 64 * 1024
"""Of a body that is JSON."""

BODIES_BYTES = 512 * 2**20
"""Of all answers that are being read."""

PER_SECOND, AT_ONCE, ACCOUNTS = 200.0, 400.0, 10_000
"""Requests of one account, and of how many accounts they are counted."""

OPEN = ("/", "/healthz")
"""Paths that ask for no key."""

KNOWN_SECONDS = 60.0
"""How long it is remembered whose a key is."""

bearer = HTTPBearer(auto_error=False, description="The API key that `hydrahive ledger accounts open NAME` shows once.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]

PROBLEMS = problems(
    {
        401: "No key, or nobody's.",
        403: "The account was caught, and may not work now.",
        404: "There is no such thing; no run that wants volunteers: ask again.",
        408: "The body did not come in time.",
        409: "The machine computes other bytes; or the same answer is being read.",
        410: "It has ended; for a process, why.",
        411: "The body's length is not said beforehand.",
        413: "The body is larger than what was asked for.",
        416: "There are no such bytes.",
        422: "What was sent does not follow the description.",
        429: "The account asks too fast, or has too many processes here.",
        503: "The ledger is away, or too much comes in; ask again.",
    }
)


class Till(Protocol):
    """What the gateway asks the ledger."""

    async def account_of(self, key: str) -> str | None:
        """Whose key it is."""

    async def refused(self, account: str) -> str:
        """Why an account may not work now; empty if it may."""

    async def earnings(self, account: str) -> dict[str, Any] | None:
        """What the ledger shows of it."""


class Behind:
    """The application behind the door: whose keys there are, and how fast each asks."""

    def __init__(self, desk: Desk, till: Till, deliver: Callable[[Lease, int, bytes], None]) -> None:
        """Work for a desk; `deliver` passes an answer on to who waits for it."""
        self.desk, self.till, self.deliver = desk, till, deliver
        self._accounts: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.reading = 0
        self.readers: set[tuple[str, int]] = set()

    def needs_key(self, method: str, path: str) -> bool | None:
        """Everywhere but where it is open."""
        return None if path in OPEN and method in ("GET", "HEAD") else True

    def still_loading(self) -> str:
        """It never is."""
        return ""

    def most(self, path: str) -> Most:
        """What is sent as JSON is small."""
        return Most(JSON_BYTES, WORDS, 2 * WORDS)

    async def is_somebodys(self, key: str) -> bool:
        """Whether an account has this key."""
        return await self._whose(key) is not None

    async def account(self, key: str) -> str:
        """The account of a key, which must not ask too fast.

        Raises:
            RefusalError: If it is nobody's any more, or asks too fast.
        """
        name = await self._whose(key)
        if name is None:
            raise RefusalError(401, "no account has this key", {"WWW-Authenticate": "Bearer"})
        now = time.monotonic()
        left, at = self._left.pop(name, (AT_ONCE, now))
        left = min(AT_ONCE, left + (now - at) * PER_SECOND)
        self._left[name] = (max(0.0, left - 1), now)
        while len(self._left) > ACCOUNTS:
            self._left.popitem(last=False)
        if left < 1:
            raise RefusalError(429, f"more than {PER_SECOND:.0f} requests a second", {"Retry-After": "1"})
        return name

    async def _whose(self, key: str) -> str | None:
        name, now = hashlib.sha256(key.encode()).hexdigest(), time.monotonic()
        account, until = self._accounts.get(name, ("", 0.0))
        if until > now:
            return account
        found = await self.till.account_of(key)
        self._accounts.pop(name, None)
        if found is not None:
            self._accounts[name] = found, now + KNOWN_SECONDS
            while len(self._accounts) > ACCOUNTS:
                self._accounts.popitem(last=False)
        return found


async def _account(request: Request, credentials: Credentials) -> str:
    if credentials is None or not credentials.credentials:
        raise RefusalError(401, "show an account's key as a bearer token", {"WWW-Authenticate": "Bearer"})
    behind: Behind = request.app.state.behind
    return await behind.account(credentials.credentials)


Account = Annotated[str, Depends(_account)]
Shard = Annotated[int, Path(ge=0, le=2**31)]


async def refused_here(request: Request, refused: RefusedHereError) -> JSONResponse:
    """What the desk refuses."""
    return JSONResponse({"error": str(refused)}, refused.status, {"Retry-After": "5"} if refused.status == 404 else {})


def application(behind: Behind, page: Callable[[], Awaitable[bytes]]) -> FastAPI:
    """The application, whose page for everybody `page` makes."""
    web = FastAPI(
        title="Hydrahive gateway",
        version=__version__,
        description="Work for volunteers, for tokens. No answer is believed before it was verified.",
        docs_url=None,
        redoc_url=None,
        responses={status: PROBLEMS[status] for status in (401, 408, 413, 422, 429)},
        exception_handlers={**HANDLERS, RefusedHereError: refused_here},
    )
    web.add_middleware(Door)
    web.state.behind = behind
    _describe_processes(web, behind)
    _describe_work(web, behind)

    @web.get("/healthz", response_model=Health)
    async def healthz() -> Health:
        """Whether the gateway is up."""
        return Health(status="ok")

    @web.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(await page(), headers={"Cache-Control": "max-age=10"})

    return web


def _describe_processes(web: FastAPI, behind: Behind) -> None:
    desk, till = behind.desk, behind.till

    @web.post("/v1/workers", response_model=Entered, responses={k: PROBLEMS[k] for k in (403, 404, 503)})
    async def enter(request: Enter, account: Account) -> Entered:
        """A process wants to work; what it has to compute first, to show of which machine class it is."""
        if why := await till.refused(account):
            raise RefusalError(403, why)
        process, wanted = desk.enter(account, request.run, is_shown=request.shown)
        return Entered(
            worker=process.id,
            run_id=wanted.run_id,
            run=wanted.name,
            config=dict(wanted.config),
            portable=wanted.portable,
            nonce=process.nonce,
            seconds=POLL_SECONDS,
        )

    @web.post("/v1/proof", response_model=Received, responses={k: PROBLEMS[k] for k in (409, 410)})
    async def prove(proof: Proof, account: Account) -> Received:
        """The digest of the known fragment."""
        desk.prove(desk.of(proof.worker, account), proof.machine_class, dict(proof.fingerprint), proof.digest)
        return Received(received=True)

    @web.post("/v1/leave", response_model=Left, responses={410: PROBLEMS[410]})
    async def leave(worker: Worker, account: Account) -> Left:
        """The process works no more."""
        desk.end(desk.of(worker.worker, account), "it has left")
        return Left(left=True)

    @web.get("/v1/earnings", response_model=Earnings)
    async def earnings(account: Account) -> Earnings:
        """What the account has earned."""
        row = await till.earnings(account) or {}
        return Earnings(
            account=account,
            env_steps=row.get("env_steps", 0),
            earned_microtokens=row.get("earned", 0),
            pending_microtokens=row.get("pending", 0),
            balance_microtokens=row.get("balance", 0),
        )


def _describe_work(web: FastAPI, behind: Behind) -> None:
    desk = behind.desk

    @web.post("/v1/lease", response_model=Leases, responses={410: PROBLEMS[410]})
    async def lease(worker: Worker, account: Account) -> Leases:
        """What is to be done next; waits for it for a while."""
        process = desk.of(worker.worker, account)
        if not process.proven:
            raise RefusalError(422, "worker: it has not computed the known fragment yet")
        with suppress(TimeoutError):
            await asyncio.wait_for(process.rung.wait(), POLL_SECONDS)
        found = desk.fetch(desk.of(worker.worker, account))
        return Leases(leases=[_lent(one) for one in found])

    @web.get(
        "/v1/{kind}/{digest}",
        response_class=Response,
        responses={200: {"content": {"application/octet-stream": {}}}, **{k: PROBLEMS[k] for k in (404, 416)}},
    )
    async def fetch(
        kind: Annotated[str, Path(pattern="^(weights|states)$")], digest: Digest, request: Request, account: Account
    ) -> Response:
        """Flat float32 weights, or a shard's state as safetensors; a range of it where one is asked for."""
        content = desk.blobs.get(digest)
        if content is None:
            raise RefusalError(404, f"there are no such {kind} here, or no more")
        answer = _ranged(content, request.headers.get("range"))
        answer.headers.update({"ETag": f'"{digest}"', "Cache-Control": "private, immutable, max-age=86400"})
        desk.sent += len(answer.body)
        return answer

    @web.put(
        "/v1/fragments/{lease}/{shard}",
        response_model=Received,
        responses={k: PROBLEMS[k] for k in (404, 408, 409, 410, 411, 413, 503)},
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
    )
    async def put(lease: Name, shard: Shard, request: Request, account: Account) -> Received:
        """How a shard's environments were acted in; the same again changes nothing."""
        said = _said_length(request)
        process, leased = desk.leased(lease, shard, account)
        size = _right_length(said, leased, process, desk)
        if behind.reading + size > BODIES_BYTES:
            raise RefusalError(503, "too many answers are coming in; send it again", {"Retry-After": "1"})
        if (lease, shard) in behind.readers:
            raise RefusalError(409, "this answer is being read already")
        behind.reading += size
        behind.readers.add((lease, shard))
        try:
            body = await _exactly(request.stream(), size)
        except RefusalError as refused:
            desk.fault(process, refused.text)
            raise
        finally:
            behind.reading -= size
            behind.readers.discard((lease, shard))
        if desk.take(process, leased, shard, size):
            behind.deliver(leased, shard, body)
        return Received(received=True)


def _lent(lease: Lease) -> Lent:
    offer = lease.offer
    return Lent(
        lease=offer.id,
        round=offer.round,
        version=offer.version,
        weights=lease.weights,
        states=lease.states,
        sizes={shard: len(state) for shard, state in offer.states.items()},
        seconds=offer.seconds,
    )


def _said_length(request: Request) -> int:
    """How long an answer says that it is.

    Raises:
        RefusalError: If it does not say so.
    """
    said = request.headers.get("content-length")
    if said == "0" or (said is None and "transfer-encoding" not in request.headers):
        raise RefusalError(422, "body: it is missing")
    if said is None or not re.fullmatch(r"[0-9]{1,18}", said):
        raise RefusalError(411, "Content-Length: it is not said how long the answer is", {"Connection": "close"})
    return int(said)


def _right_length(size: int, lease: Lease, process: Process, desk: Desk) -> int:
    """The length, if it is what was asked for.

    Raises:
        RefusalError: If it is not.
    """
    least, most = lease.offer.least, lease.offer.most
    if not least <= size <= most:
        wanted = f"{least:,} bytes" if least == most else f"{least:,} to {most:,} bytes"
        text = f"the answer has {size:,} bytes; {wanted} were asked for"
        desk.fault(process, text)
        raise RefusalError(413 if size > most else 422, text, {"Connection": "close"})
    return size


async def _exactly(stream: AsyncIterator[bytes], size: int) -> bytes:
    """A body of just this size.

    Raises:
        RefusalError: If it does not come in time, or breaks off.
    """
    seconds, parts, read = BODY_SECONDS + size / BODY_RATE, [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in stream:
                read += len(part)
                if read > size:
                    break
                parts.append(part)
    except TimeoutError:
        raise RefusalError(408, f"the body did not come within {seconds:.0f} s", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise RefusalError(408, "the body broke off") from None
    if read != size:
        raise RefusalError(422, f"{read:,} bytes came instead of {size:,}", {"Connection": "close"})
    return b"".join(parts)


def _ranged(content: bytes, wanted: str | None) -> Response:
    """All of it, or the one range that is asked for; as RFC 9110 has it, other ranges are not looked at.

    Raises:
        RefusalError: If there are no such bytes.
    """
    found = re.fullmatch(r"bytes=([0-9]{1,12})-([0-9]{1,12})?", wanted or "")
    if not found:
        return Response(content, media_type="application/octet-stream", headers={"Accept-Ranges": "bytes"})
    first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
    if first > last:
        raise RefusalError(416, f"there are {len(content):,} bytes", {"Content-Range": f"bytes */{len(content)}"})
    headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return Response(content[first : last + 1], 206, headers, "application/octet-stream")
