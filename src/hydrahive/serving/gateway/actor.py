"""The gateway's process: a Ray actor, which the run's lenders call, and behind it the one port for volunteers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import ray
import uvicorn
from ray.exceptions import RayError, RayTaskError

from hydrahive.core.errors import HydrahiveError, first_line
from hydrahive.runtime.cluster.lending.words import NAME, NAMESPACE, Crowd, Offer, Wanted
from hydrahive.runtime.coordinator.actor import coordinator
from hydrahive.serving.gateway.desk import Desk, Lease
from hydrahive.serving.gateway.page import Pages
from hydrahive.serving.gateway.web import Behind, application
from hydrahive.serving.refusals import RefusalError

CONNECTIONS = 8192
"""At once; the next one is told to ask again."""

IDLE_SECONDS = 75
"""For which a connection that asks nothing stays open."""

log = logging.getLogger("hydrahive.gateway")


class LedgerTill:
    """What the gateway asks the coordinator; `hydrahive.serving.gateway.web.Till`."""

    def __init__(self) -> None:
        """Find the coordinator."""
        self._coordinator = coordinator()

    async def account_of(self, key: str) -> str | None:
        """Whose key it is."""
        found: str | None = await self._asked("account_of", key)
        return found

    async def refused(self, account: str) -> str:
        """Why it may not work now."""
        why: str = await self._asked("why_not", account)
        return why

    async def earnings(self, account: str) -> dict[str, Any] | None:
        """What the ledger shows of it."""
        row: dict[str, Any] | None = await self._asked("earnings", account)
        return row

    async def work_of(self, run: str) -> list[dict[str, Any]]:
        """What each owner did for a run."""
        rows: list[dict[str, Any]] = await self._asked("work_of", run)
        return rows

    async def _asked(self, what: str, *about: Any) -> Any:
        try:
            return await getattr(self._coordinator, what).remote(*about)
        except RayTaskError as error:
            text = str(error.cause) if isinstance(error.cause, HydrahiveError) else first_line(error.cause)
            raise RefusalError(503, f"the ledger cannot be asked: {text}", {"Retry-After": "5"}) from None
        except RayError:
            raise RefusalError(503, "the coordinator is away; ask again", {"Retry-After": "5"}) from None


class GatewayActor:
    """The desk, called by lenders through Ray and by volunteers through HTTP, all in one event loop."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._desk, self._till = Desk(), LedgerTill()
        self._pages = Pages(self._desk, self._till.work_of)
        self._server: uvicorn.Server | None = None
        self._weights: dict[str, bytes] = {}
        self._withdrawn: set[str] = set()
        self._in_order: dict[str, asyncio.Lock] = {}

    async def announce(self, wanted: Wanted) -> Crowd:
        """As `Desk.announce`."""
        crowd = self._desk.announce(wanted)
        self._in_order = {name: lock for name, lock in self._in_order.items() if name in self._desk.processes}
        return crowd

    async def offer(self, offer: Offer, lender: Any) -> None:
        """As `Desk.offer`, once the weights are there; where they never come, the lender waits in vain."""
        async with self._in_order.setdefault(offer.session, asyncio.Lock()):  # one round goes on from the one before
            try:
                weights = await self._flat(offer.weights[0])
            except RayError as error:
                log.info("a lease is lost with its weights: %s", first_line(error))
                return
            if offer.id not in self._withdrawn:
                self._desk.offer(offer, lender, weights)
            self._withdrawn.discard(offer.id)

    async def withdraw(self, lease: str) -> None:
        """As `Desk.withdraw`, also of one whose weights are still to come."""
        if lease in self._desk.leases:
            self._desk.withdraw(lease)
        else:
            self._withdrawn.add(lease)
            if len(self._withdrawn) > CONNECTIONS:
                self._withdrawn.clear()

    async def accuse(self, session: str, shard: int, round_: int, why: str) -> None:
        """As `Desk.accuse`."""
        self._desk.accuse(session, shard, round_, why)

    async def let_go(self, session: str, why: str) -> None:
        """As `Desk.let_go`."""
        self._desk.let_go(session, why)

    async def figures(self) -> dict[str, int]:
        """What went through so far."""
        desk = self._desk
        counts = {"processes": len(desk.processes), "leases": len(desk.leases), "answers": desk.answers}
        return {**counts, "received_bytes": desk.received, "sent_bytes": desk.sent}

    async def serve(self, host: str, port: int, certificate: str | None, key: str | None) -> str:
        """Listen, until the actor ends; where, as volunteers say it.

        Raises:
            HydrahiveError: If it cannot.
        """
        behind = Behind(self._desk, self._till, _deliver)
        config = uvicorn.Config(
            application(behind, self._pages.page),
            host=host,
            port=port,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            log_level="warning",
            access_log=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            backlog=1024,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._served(self._server))
        while not self._server.started:
            await asyncio.sleep(0.05)
            if self._serving.done():
                raise HydrahiveError(f"cannot listen at {host}:{port}: {self._serving.result() or 'it ended'}")
        listening = self._server.servers[0].sockets[0].getsockname()
        return f"{'https' if certificate else 'http'}://{host}:{listening[1]}"

    @staticmethod
    async def _served(server: uvicorn.Server) -> str:
        """Why it has ended."""
        try:
            await server.serve()
        except (SystemExit, OSError) as error:
            return first_line(error)
        return ""

    async def _flat(self, ref: Any) -> bytes:
        """The weights that a reference leads to; each version is fetched once, however many lenders offer it."""
        name = ref.hex()
        if name not in self._weights:
            content = (await ref).tobytes()
            self._weights[name] = content
            while len(self._weights) > 8:
                self._weights.pop(next(iter(self._weights)))
        return self._weights[name]


def _deliver(lease: Lease, shard: int, body: bytes) -> None:
    try:
        lease.lender.answer.remote(lease.offer.id, shard, body)
    except RayError:  # it is gone; whoever looks after the run knows
        return


def gateway_actor(node: Any) -> Any:
    """A new gateway on a node; a strategy of Ray's.

    Raises:
        ValueError: If the cluster has one.
    """
    actor: Any = ray.remote(GatewayActor)
    options = {"name": NAME, "namespace": NAMESPACE, "num_cpus": 0, "scheduling_strategy": node}
    return actor.options(**options, max_concurrency=10_000).remote()
