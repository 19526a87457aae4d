"""T7, T8: whoever has no key exhausts nothing, and what was paid once is answered, not computed, again.

A real server, asked over sockets; the flood at full size by `make claims`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import resource
import socket
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import FULL, wait_for
from hydrahive.ledger.verification import verify
from hydrahive.serving.answered import KEPT_BYTES, KEPT_SECONDS, Answered
from hydrahive.serving.door import STRANGE_AT_ONCE, STRANGE_PER_SECOND, Most, Strangers
from hydrahive.serving.policy import ServedPolicy
from hydrahive.serving.proxy import BODY_SECONDS
from servers import CALLS, PRICE, Server, rows


def raw(server: Server, head: str, *parts: bytes, wait_s: float = 30) -> bytes:
    """What comes for bytes that are sent as they are."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait_s) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n")
        for part in parts:
            line.sendall(part)
        answer = b""
        while True:
            try:
                more = line.recv(65536)
            except TimeoutError:
                return answer
            answer += more
            if not more or (b"\r\n\r\n" in answer and answer.endswith(b"}")):
                return answer


def post(path: str, length: int, key: str = "", *more: str) -> str:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    return "\n".join([*lines, *more, ""])


def test_the_key_comes_before_the_body(server: Server) -> None:
    """Not a byte of it is waited for, whatever it would have been."""
    began = time.monotonic()
    for key, said in (("", "show an account's key"), ("hh_nobody", "no account has this key")):
        answer = raw(server, post("/v1/act", 5000, key))
        assert answer.startswith(b"HTTP/1.1 401")
        assert said.encode() in answer
    assert time.monotonic() - began < 5


def test_a_slow_body_holds_nothing_for_long(server: Server) -> None:
    began = time.monotonic()
    answer = raw(server, post("/v1/act", 5000, server.keys["rich"]), b'{"observations": [', wait_s=60)
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert time.monotonic() - began < BODY_SECONDS + 10


@pytest.mark.parametrize(
    "body",
    [
        b'{"observations": [' + b"[]," * 100_000 + b"[]]}",
        b'{"observations": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"observations": [[' + b"1," * 400_000 + b"1]]}",
        b'{"observations": [{' + b'"a":1,' * 10_000 + b'"b":1}]}',
        b'{"observations": [' + b'"a",' * 10_000 + b'"b"]}',
    ],
    ids=["lists", "nesting", "numbers", "names", "text"],
)
def test_what_no_question_holds_is_not_read_as_json(server: Server, body: bytes) -> None:
    status, answer = server.call("POST", "/v1/act", body, server.keys["rich"])
    assert status in (413, 422)
    assert "\n" not in answer["error"]
    assert re.search(r"the body (holds|is larger)", answer["error"])


def test_mutated_bodies_are_answered_in_a_line(server: Server, policy: ServedPolicy) -> None:
    good = {"observations": rows(policy, 2), "run": "gru", "state": [[0.0] * 256] * 2, "legal": None}
    draw = random.Random(5)
    junk = [None, True, -1, 2**70, 1e400, "", "\x00", [], [[]], {}, {"a": []}, [None], "é" * 99]

    def body() -> bytes:
        made = json.loads(json.dumps(good))
        for _ in range(draw.randint(1, 3)):
            name = draw.choice(list(made) or ["observations"])
            if draw.random() < 0.3 or not isinstance(made.get(name), list) or not made[name]:
                made[draw.choice([name, "unknown", "run"])] = draw.choice(junk)
            else:
                made[name][draw.randrange(len(made[name]))] = draw.choice(junk)
            made = json.loads(json.dumps(made))  # parts of their own
        text = bytearray(json.dumps(made).encode())
        for _ in range(draw.choice([0, 0, 1, 3])):
            text[draw.randrange(len(text))] = draw.randrange(256)
        return bytes(text[: draw.choice([len(text), len(text), draw.randrange(len(text))])])

    bodies = [body() for _ in range(20_000 if FULL else 400)]
    with ThreadPoolExecutor(8) as asking:
        said = list(asking.map(lambda text: server.call("POST", "/v1/act", text, server.keys["rich"]), bodies))
    assert {status for status, _ in said} <= {200, 404, 413, 422}, Counter(status for status, _ in said)
    assert not [answer for status, answer in said if status != 200 and "\n" in answer["error"]]


def test_headers_do_not_change_the_servers_time_outs(server: Server, policy: ServedPolicy) -> None:
    """Serve would end a request after a millisecond because its caller says so."""
    good = {"observations": rows(policy, 1)}
    headers = {"X_Request_Timeout_Seconds": "0.001", "X_Request_Disconnect_Disabled": "?1"}
    status, _ = server.call("POST", "/v1/act", good, server.keys["rich"], **headers)
    assert status == 200


def test_keys_that_nobody_has_are_slowed_down_and_those_of_accounts_are_not(
    server: Server, policy: ServedPolicy
) -> None:
    good = {"observations": rows(policy, 1)}
    assert server.call("POST", "/v1/act", good, server.keys["rich"])[0] == 200
    began = time.monotonic()
    with ThreadPoolExecutor(16) as guessing:
        said = list(guessing.map(lambda i: server.call("POST", "/v1/act", good, f"hh_{i}")[0], range(300)))
    assert set(said) <= {401, 429}
    replicas = 2  # each has buckets of its own
    assert said.count(401) <= replicas * (STRANGE_AT_ONCE + STRANGE_PER_SECOND * (time.monotonic() - began)) + 16
    assert server.call("POST", "/v1/act", good, server.keys["rich"])[0] == 200
    episodes = [server.call("POST", "/v1/episode", {"episode": 0}, "hh_nobody")[0] for _ in range(9)]
    assert set(episodes) <= {401, 429}, "they take no turn"


def test_one_paid_name_is_answered_again_but_not_computed_for_ever(server: Server, policy: ServedPolicy) -> None:
    good, rich = {"observations": rows(policy, 3)}, server.keys["rich"]
    before = server.call("GET", "/v1/balance", key=rich)[1]["balance_microtokens"]
    with ThreadPoolExecutor(16) as asking:
        calls = list(
            asking.map(lambda _: server.call("POST", "/v1/act", good, rich, Idempotency_Key="once"), range(200))
        )
    answers = [answer for status, answer in calls if status == 200]
    assert {status for status, _ in calls} <= {200, 409}
    assert len({json.dumps(answer["actions"]) for answer in answers}) == 1
    wait_for(
        lambda: before - server.call("GET", "/v1/balance", key=rich)[1]["balance_microtokens"] == PRICE,
        "it is paid once",
    )


def test_who_hangs_up_while_his_episode_is_played_pays_for_it_and_finds_it_again(server: Server) -> None:
    rich = server.keys["rich"]
    before = server.call("GET", "/v1/balance", key=rich)[1]["balance_microtokens"]
    body = b'{"episode": 5}'
    line = socket.create_connection(("127.0.0.1", server.port))
    line.sendall(
        post("/v1/episode", len(body), rich, "Idempotency-Key: hung-up").replace("\n", "\r\n").encode() + b"\r\n"
    )
    line.sendall(body)
    time.sleep(0.3)
    line.close()
    time.sleep(3)
    status, answer = server.call("POST", "/v1/episode", {"episode": 5}, rich, Idempotency_Key="hung-up")
    assert status == 200
    assert answer["gif"]
    time.sleep(1)
    spent = before - server.call("GET", "/v1/balance", key=rich)[1]["balance_microtokens"]
    assert spent == 10 * PRICE, "once, whether it was played before he hung up or when he asked again"


def test_a_flood_leaves_the_server_answering_and_its_memory_bounded(
    server: Server, policy: ServedPolicy, report
) -> None:
    """Calls without keys, with keys that nobody has, with bodies that never come; and honest ones among them."""
    good = json.dumps({"observations": rows(policy, 1)}).encode()
    rich, before = server.keys["rich"], _memory_mib(server)
    taken: list[float] = []
    stop = threading.Event()
    peak = [before]

    def watch() -> None:
        while not stop.wait(0.2):
            peak[0] = max(peak[0], _memory_mib(server))

    watching = threading.Thread(target=watch)
    watching.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    answered = asyncio.run(_flood(server.port, good, rich, CALLS, taken))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    stop.set()
    watching.join()
    assert answered[200] == len(taken) >= CALLS // 4, "every honest call is answered"
    assert set(answered) <= {200, 401, 408, 413, 422, 429, 503, 0}, _why(server)
    assert peak[0] - before < 1024, f"{before:.0f} MiB before, {peak[0]:.0f} at most"
    p99 = statistics.quantiles(taken, n=100)[98] if len(taken) > 1 else taken[0]
    report.add("Serving", f"- a flood of {CALLS:,} concurrent calls, a quarter each honest, without a key, with nobody's "
               f"key, and with a body that never comes: every honest one answered, p50 {statistics.median(taken):.1f} s, "
               f"p99 {p99:.1f} s; the server's processes took {before:,.0f} MiB before and {peak[0]:,.0f} MiB at most")  # fmt: skip
    time.sleep(2)
    assert server.call("POST", "/v1/act", {"observations": rows(policy, 1)}, rich)[0] == 200
    ledger = server.ledger()
    assert verify(ledger.journal).problem is None
    ledger.close()


def _why(server: Server) -> str:
    """What the replicas wrote of an error that is none of the askers'."""
    logs = Path("/tmp/ray").glob("session_*/logs/serve/replica_*")
    newest = sorted(logs, key=lambda path: path.stat().st_mtime)[-2:]
    return "\n".join(line for path in newest for line in path.read_text(errors="replace").splitlines()[-60:])


async def _flood(port: int, good: bytes, key: str, calls: int, taken: list[float]) -> dict[int, int]:
    answered: dict[int, int] = {}

    async def one(i: int) -> None:
        kind = i % 4
        shown = {0: key, 1: "", 2: f"hh_{i}", 3: key}[kind]
        for attempt in range(200):
            began = time.monotonic()
            try:
                status = await _call(port, post("/v1/act", len(good) + (10**4 if kind == 3 else 0), shown), good)
            except OSError:
                status = 0
            if kind or status == 200:
                break
            await asyncio.sleep(0.1 + attempt % 10 / 10)  # as a client does that is told to ask again
        if kind == 0:
            taken.append(time.monotonic() - began)
        answered[status] = answered.get(status, 0) + 1

    await asyncio.gather(*(one(i) for i in range(calls)))
    return answered


async def _call(port: int, head: str, body: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write((head + "Connection: close\n").replace("\n", "\r\n").encode() + b"\r\n" + body)
        await writer.drain()
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    finally:
        writer.close()


def _memory_mib(server: Server) -> float:
    """Of the server's processes, all together, without what they share."""
    parents, total = {}, 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    for pid in parents:
        above = pid
        while above in parents and above != server.process.pid:
            above = parents[above]
        if above == server.process.pid:
            with suppress(OSError):
                _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
                total += (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


def test_a_bucket_for_each_address() -> None:
    now = [0.0]
    strangers = Strangers(lambda: now[0])
    for _ in range(int(STRANGE_AT_ONCE)):
        assert strangers.wait_of("here") == 0
        strangers.note("here")
    assert 0 < strangers.wait_of("here") <= 1 / STRANGE_PER_SECOND
    assert strangers.wait_of("there") == 0
    now[0] += 1 / STRANGE_PER_SECOND
    assert strangers.wait_of("here") == 0


def test_what_shapes_allow_is_enough_for_every_honest_question() -> None:
    for shape, memory, choices in (((4,), 0, 0), ((3, 9, 9), 256, 4), ((), 0, 7), ((84, 84, 4), 0, 18)):
        most = Most.of(3, shape, memory, choices, 2**30)
        value: object = -1.2345678901234567e-300
        for size in reversed(shape):
            value = [value] * size
        body = {"run": "r" * 200, "observations": [value] * 3, "state": [[-1.2345678901234567e-300] * memory] * 3,
                "legal": [[False] * choices] * 3}  # fmt: skip
        text = json.dumps(body, indent=1 if len(shape) < 2 else None).encode()
        assert most.wrong_with(text) is None
        assert len(json.dumps(body).encode()) <= most.size


def test_answers_are_kept_for_a_while_and_not_without_bound() -> None:
    now = [0.0]
    kept = Answered(lambda: now[0])
    for i in range(1000):
        kept.keep(("key", "act", "digest", str(i)), i, KEPT_BYTES // 100)
    assert kept.found(("key", "act", "digest", "999")) == 999
    assert kept.found(("key", "act", "digest", "0")) is None
    assert kept.found(("key", "act", "another question", "999")) is None
    kept.keep(("key", "act", "digest", "huge"), "huge", KEPT_BYTES + 1)
    assert kept.found(("key", "act", "digest", "huge")) is None
    now[0] += KEPT_SECONDS + 1
    assert kept.found(("key", "act", "digest", "999")) is None
