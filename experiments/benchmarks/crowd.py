"""Five hundred volunteers at one gateway: requests a second, how long each takes, memory, and whether anything is lost.

    python experiments/benchmarks/crowd.py [--volunteers 500] [--seconds 30] [--bytes 110_000]

The gateway is the real application behind a real port in a process of its own, with a real ledger; the volunteers are
simulated by this process (they compute nothing), and each is offered its next lease as soon as it has answered one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import queue
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from gateways import Gateway  # noqa: E402

from hydrahive.ledger.ledger import Ledger  # noqa: E402
from hydrahive.runtime.cluster.lending.words import Offer, Wanted  # noqa: E402

WEIGHTS = 360_000


def wanted() -> Wanted:
    """A run of which nobody computes anything."""
    return Wanted("run", "crowd", {}, "class", {"numerics": "0"}, False, {1: "0" * 64}, 0, "")


class Lender:
    """Counts what comes, and offers the next lease at once."""

    def __init__(self, gateway: Gateway, session: str, size: int) -> None:
        """For one process."""
        self.gateway, self.session, self.size, self.round = gateway, session, size, 0
        self.offered, self.delivered = 0, Counter[str]()

    def offer(self) -> None:
        """Once for each answer; new weights every fiftieth round."""
        self.round += 1
        self.offered += 1
        weights = np.full(WEIGHTS // 4, self.round // 50, np.float32).tobytes()
        offer = Offer(self.session, secrets.token_hex(16), "run", self.round, 0, {0: b""}, self.size, self.size, 10.0)
        self.gateway.desk.offer(offer, self, weights)

    def answer(self, lease: str, shard: int, body: bytes) -> None:
        """An answer has come."""
        self.delivered[lease] += 1
        self.offer()


def serve(ledger: str, size: int, said: multiprocessing.Queue, asked: multiprocessing.Queue) -> None:
    """The gateway's process."""
    gateway = Gateway(Path(ledger))
    lenders: dict[str, Lender] = {}
    said.put(gateway.port)
    while True:
        crowd = gateway.soon(gateway.desk.announce, wanted())
        for session in crowd.sessions:
            if session.id not in lenders:
                lenders[session.id] = Lender(gateway, session.id, size)
                gateway.soon(lenders[session.id].offer)
        try:
            asked.get(timeout=0.5)
        except queue.Empty:
            continue
        counts = [count for lender in lenders.values() for count in lender.delivered.values()]
        said.put((len(lenders), len(counts), sum(counts), psutil.Process().memory_info().rss))


async def volunteer(
    url: str, key: str, size: int, until: list[float], times: dict[str, list[float]], sent: list[str]
) -> None:
    """One of them."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=90) as line:

        async def asked(name: str, method: str, path: str, **more: object) -> httpx.Response:
            while True:
                began = time.perf_counter()
                answer = await line.request(method, path, **more)
                if answer.status_code in (404, 429, 503) and name == "enter":
                    await asyncio.sleep(0.5)
                    continue
                if name != "enter":
                    times.setdefault(name, []).append(time.perf_counter() - began)
                return answer

        entered = (await asked("enter", "POST", "/v1/workers", json={})).raise_for_status().json()
        proof = {
            "worker": entered["worker"],
            "machine_class": "class",
            "fingerprint": {"numerics": "0"},
            "digest": "0" * 64,
        }
        (await asked("proof", "POST", "/v1/proof", json=proof)).raise_for_status()
        body, has = os.urandom(size), ""
        while time.monotonic() < until[0]:
            for lease in (
                (await asked("lease", "POST", "/v1/lease", json={"worker": entered["worker"]}))
                .raise_for_status()
                .json()["leases"]
            ):
                if lease["weights"] != has:
                    has = lease["weights"]
                    (await asked("weights", "GET", f"/v1/weights/{has}")).raise_for_status()
                (await asked("answer", "PUT", f"/v1/fragments/{lease['lease']}/0", content=body)).raise_for_status()
                sent.append(lease["lease"])


async def crowd(
    url: str, keys: list[str], size: int, seconds: float
) -> tuple[dict[str, list[float]], list[str], float]:
    """All of them at once."""
    times: dict[str, list[float]] = {}
    sent: list[str] = []
    until = [time.monotonic() + seconds + 10]
    began = time.monotonic()
    await asyncio.gather(*(volunteer(url, key, size, until, times, sent) for key in keys))
    return times, sent, time.monotonic() - began


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volunteers", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--bytes", type=int, default=110_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        accounts = Ledger(path).accounts
        keys = [accounts.open(f"v{number}") for number in range(given.volunteers)]
        context = multiprocessing.get_context("spawn")
        said, asked = context.Queue(), context.Queue()
        process = context.Process(target=serve, args=(str(path), given.bytes, said, asked), daemon=True)
        process.start()
        port = said.get(timeout=60)
        times, sent, seconds = asyncio.run(crowd(f"http://127.0.0.1:{port}", keys, given.bytes, given.seconds))
        asked.put(True)
        lenders, leases, answers, memory = said.get(timeout=60)
        process.terminate()
    requests = sum(map(len, times.values()))
    print(f"{lenders} volunteers, {requests / seconds:,.0f} requests/s, {len(sent) / seconds:,.0f} answers/s of {given.bytes:,} bytes, "
          f"the gateway's memory {memory / 2**20:,.0f} MiB")  # fmt: skip
    print(f"answers sent {len(sent):,}, delivered {answers:,}, each once: {answers == leases == len(set(sent))}")
    print("| request | count | median | p99 |\n|---|---|---|---|")
    for name, found in sorted(times.items()):
        found.sort()
        print(
            f"| {name} | {len(found):,} | {1000 * found[len(found) // 2]:,.0f} ms | {1000 * found[int(len(found) * 0.99)]:,.0f} ms |"
        )
    print(json.dumps({"lost": len(set(sent)) - leases}))


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    main()
