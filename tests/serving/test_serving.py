"""The real server, as `hydrahive serve` brings it up: what it answers, refuses, and takes."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from chaos.harness import TITLES, ancestors, titled
from conftest import FULL, ROOT, wait_for
from hydrahive.ledger.till.queries import HOLD_SECONDS
from hydrahive.ledger.verification import verify
from hydrahive.runtime.runs.run_folder import RunFolder
from hydrahive.serving.config import ServingConfig, load_serving
from hydrahive.serving.policy import ServedPolicy
from servers import CALLS, PRICE, Server, rows


def test_it_says_what_it_serves(server: Server, policy: ServedPolicy) -> None:
    status, answer = server.call("GET", "/v1/model")
    assert status == 200
    assert [model["run"] for model in answer["models"]] == ["snake", "gru"]
    assert answer["models"][0] == policy.facts()
    assert answer["microtokens_per_query"] == PRICE


def test_it_answers_with_the_evaluators_bytes_and_is_paid(server: Server, policy: ServedPolicy) -> None:
    before = server.call("GET", "/v1/balance", key=server.keys["rich"])[1]["balance_microtokens"]
    asked = rows(policy, 7)
    status, answer = server.call("POST", "/v1/act", {"observations": asked}, server.keys["rich"])
    assert status == 200
    (expected,) = policy.answer([policy.read(asked, None, None)])
    assert answer["actions"] == expected.actions.tolist()
    assert answer["payment"]["microtokens"] == PRICE
    assert answer["state"] is None

    def paid() -> bool:
        return server.call("GET", "/v1/balance", key=server.keys["rich"])[1]["balance_microtokens"] == before - PRICE

    wait_for(paid, "the payment", 10)


def test_a_memory_goes_there_and_back(server: Server) -> None:
    policy = ServedPolicy(RunFolder(server.hydrahive.runs / "gru"))
    state, memory = None, None
    for step in range(4):
        asked = rows(policy, 2, step)
        body = {"run": "gru", "observations": asked, "state": state}
        status, answer = server.call("POST", "/v1/act", body, server.keys["rich"])
        assert status == 200
        (expected,) = policy.answer([policy.read(asked, memory, None)])
        state, memory = answer["state"], expected.memory.tolist()
        assert np.array_equal(np.float32(state), np.float32(memory))
        assert answer["actions"] == expected.actions.tolist()


def test_it_plays_an_episode(server: Server) -> None:
    status, answer = server.call("POST", "/v1/episode", {"episode": 3}, server.keys["rich"])
    assert status == 200
    assert base64.b64decode(answer["gif"])[:3] == b"GIF"
    assert answer["payment"]["microtokens"] == 10 * PRICE
    said = server.hydrahive(
        "play", "snake", "--episode", 3, "--out", server.hydrahive.runs / "e.gif", "--max-frames", 600
    )
    assert f"{answer['score']:g}" in said.stdout


def test_what_it_refuses(server: Server, policy: ServedPolicy) -> None:
    rich, good = server.keys["rich"], {"observations": rows(policy, 1)}
    before = server.call("GET", "/v1/balance", key=rich)[1]["available_microtokens"]
    nan = json.dumps(good).replace("0", "NaN", 1).encode()
    cases = [
        (401, "POST", "/v1/act", good, None, {}),
        (401, "POST", "/v1/act", good, "hh_nobody", {}),
        (401, "GET", "/v1/balance", None, "hh_nobody", {}),
        (401, "POST", "/v1/act", good, "a", {}),
        (404, "POST", "/v1/act", {**good, "run": "other"}, rich, {}),
        (404, "GET", "/v2/act", None, rich, {}),
        (405, "GET", "/v1/act", None, rich, {}),
        (413, "POST", "/v1/act", {"observations": rows(policy, 1) * 257}, rich, {}),
        (413, "POST", "/v1/act", b" " * (8 * 2**20 + 1), rich, {}),
        (422, "POST", "/v1/act", {"observations": [[1.0]]}, rich, {}),
        (422, "POST", "/v1/act", {"observations": []}, rich, {}),
        (422, "POST", "/v1/act", {**good, "unknown": 1}, rich, {}),
        (422, "POST", "/v1/act", {**good, "state": [[1.0]]}, rich, {}),
        (422, "POST", "/v1/act", nan, rich, {}),
        (422, "POST", "/v1/act", {**good, "run": "gru", "state": [[1e300] * 256]}, rich, {}),
        (422, "POST", "/v1/act", b"{", rich, {}),
        (422, "POST", "/v1/episode", {"episode": -1}, rich, {}),
        (422, "POST", "/v1/act", good, rich, {"Idempotency_Key": "x" * 201}),
    ]
    for wanted, method, path, body, key, headers in cases:
        status, answer = server.call(method, path, body, key, **headers)
        assert (status, list(answer)) == (wanted, ["error"]), (wanted, path, answer)
        assert "\n" not in answer["error"]
    assert server.call("GET", "/v1/balance", key=rich)[1]["available_microtokens"] == before, "nothing was paid"


def test_under_one_name_it_is_paid_once(server: Server, policy: ServedPolicy) -> None:
    good, key = {"observations": rows(policy, 1)}, server.keys["alice"]
    first = server.call("POST", "/v1/act", good, key, Idempotency_Key="mine")[1]
    wait_for(
        lambda: server.call("POST", "/v1/act", good, key, Idempotency_Key="mine")[1]["payment"]["microtokens"] == 0,
        "it",
    )
    again = server.call("POST", "/v1/act", good, key, Idempotency_Key="mine")[1]
    assert again["actions"] == first["actions"], (again, first)
    assert again["payment"]["available_microtokens"] == first["payment"]["available_microtokens"]
    other = {"observations": rows(policy, 1, seed=1)}
    status, answer = server.call("POST", "/v1/act", other, key, Idempotency_Key="mine")
    assert (status, "was used for another query" in answer["error"]) == (422, True)


def test_a_body_that_never_ends_is_too_large(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.keys['rich']}"}
    connection.request("POST", "/v1/act", (b" " * 2**20 for _ in range(12)), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, list(json.load(answer))) == (413, ["error"])
    connection.close()


def test_the_command_asks(server: Server, policy: ServedPolicy) -> None:
    alice = server.keys["alice"]
    asked = rows(policy, 2)
    (expected,) = policy.answer([policy.read(asked, None, None)])
    assert server.query("alice", "balance", key=alice).startswith("alice: ")
    assert server.query("alice", json.dumps(asked), key=alice).startswith(json.dumps(expected.actions.tolist()))
    lines = f"{json.dumps(asked)}\nbalance\n[[1]]\n"
    said = server.query("alice", key=alice, text=lines, code=1)
    assert json.dumps(expected.actions.tolist()) in said
    assert "alice: " in said
    assert "hydrahive: error: 422: observations: shape [1, 1]" in said
    assert "not 'bob''s" in server.query("bob", "balance", key=alice, code=1)
    assert "no account has this key" in server.query("alice", "balance", key="hh_no", code=1)
    before = server.call("GET", "/v1/balance", key=alice)[1]["available_microtokens"]
    assert "not 'bob''s" in server.query("bob", json.dumps(asked), key=alice, code=1)
    assert server.call("GET", "/v1/balance", key=alice)[1]["available_microtokens"] == before
    assert '"microtokens_per_query"' in server.query("alice", "model", key="")
    for words in (["balance"], [json.dumps(asked)]):
        assert "its key is needed" in server.query("alice", *words, key="", code=2)
    said = server.query("alice", "balance", key="hh_secret\r\nX", code=2)
    assert "holds characters that no account's key has" in said
    assert "secret" not in said
    lines = f"{json.dumps(asked[:1])}\n{json.dumps(asked)}\n{json.dumps(asked)}\n"
    assert server.query("alice", "--run", "gru", key=alice, text=lines).count("tokens") >= 3
    out = server.hydrahive.runs / "query.gif"
    assert "score" in server.query("alice", "episode", "0", str(out), key=alice)
    assert out.read_bytes()[:3] == b"GIF"


def test_whatever_is_sent_the_answer_is_as_described(server: Server) -> None:
    """Schemathesis makes requests up from the description, right ones and wrong ones, and reads each answer."""
    schemathesis = Path(sys.executable).parent / "schemathesis"
    command = [schemathesis, "--config-file", ROOT / "tests/serving/schemathesis.toml", "run"]
    command += [f"http://127.0.0.1:{server.port}/openapi.json", "-H", f"Authorization: Bearer {server.keys['rich']}"]
    command += ["--max-examples", "300" if FULL else "25", "--no-color", "--report-dir", server.hydrahive.runs]
    done = subprocess.run(
        list(map(str, command)), cwd=server.hydrahive.runs, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_bytes_that_are_no_text_are_refused_like_text_that_is_no_json(server: Server) -> None:
    for body in (b"\xff\xfe", b'{"observations": [[\x80]]}', b"{"):
        status, answer = server.call("POST", "/v1/act", body, server.keys["rich"])
        assert (status, answer["error"][:5]) == (422, "body:") or (status, answer["error"][:5]) == (422, "body.")


def test_what_cannot_be_told_apart_or_computed_together_is_not_served(server: Server, tmp_path: Path) -> None:
    snake, other = server.hydrahive.runs / "snake", tmp_path / "snake"
    shutil.copytree(snake, other)
    assert "two are called 'snake'" in server.hydrahive("serve", "snake", other, code=2).stderr
    exact = other.with_name("exact")
    other.rename(exact)
    config = exact / "config.yaml"
    text = config.read_text()
    assert "precision: medium" in text
    config.write_text(text.replace("precision: medium", "precision: highest"))
    assert "of different precision" in server.hydrahive("serve", "snake", exact, code=2).stderr


def test_prices_come_from_a_file(server: Server) -> None:
    config = server.hydrahive.runs / "prices.yaml"
    config.write_text("microtokens_per_query: 7\nqueries_per_secnd: 5\n")
    said = server.hydrahive("serve", "snake", "--config", config, code=2).stderr
    assert "queries_per_secnd" in said
    assert "queries_per_second" in said
    assert load_serving(None, {}) == ServingConfig()
    config.write_text("microtokens_per_query: 7\nrows: 3\n")
    assert load_serving(config, {"rows": 9}) == ServingConfig(microtokens_per_query=7, rows=9)


def test_those_with_too_little_never_overdraw_and_a_killed_replica_loses_no_token(
    server: Server, policy: ServedPolicy, report: Any
) -> None:
    """Many calls over 64 connections by accounts that cannot pay for all; the till and a replica are killed meanwhile."""
    good = {"observations": rows(policy, 1)}
    names = ["poor", "rich"]
    before = {name: server.call("GET", "/v1/balance", key=server.keys[name])[1] for name in names}
    counts: dict[tuple[str, int], int] = {}
    latencies: list[float] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        name = names[number % 2]
        began = time.monotonic()
        try:
            status, _ = server.call("POST", "/v1/act", good, server.keys[name])
        except (OSError, ValueError):
            status = 0
        with lock:
            counts[name, status] = counts.get((name, status), 0) + 1
            latencies.append(time.monotonic() - began)
        if number == CALLS // 4:
            tills = [pid for pid in titled(TITLES["coordinator"]) if server.process.pid in ancestors(pid)]
            os.kill(tills[0], signal.SIGKILL)
        if number == CALLS // 2:
            os.kill(titled("ray::ServeReplica:hydrahive")[0], signal.SIGKILL)

    began = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(one, range(CALLS)))
    seconds = time.monotonic() - began
    assert {status for _, status in counts} <= {200, 402, 0, 500, 502, 503}, counts
    time.sleep(2)
    ledger = server.ledger()
    ledger.journal._clock = lambda: (time.time_ns() // 1000) + (HOLD_SECONDS + 5) * 10**6
    ledger.transfers.expire()
    assert verify(ledger.journal).problem is None
    for name in names:
        account = ledger.journal.account(name)
        paid = (before[name]["balance_microtokens"] - account.balance) / PRICE
        answered = counts.get((name, 200), 0)
        lost = sum(count for (who, status), count in counts.items() if who == name and status not in (200, 402))
        assert account.balance >= 0
        assert answered - lost - 64 <= paid <= answered + lost, (name, paid, counts)
    assert counts["poor", 402] > 0
    ledger.close()
    latencies.sort()
    report.add(
        "Serving",
        f"- {CALLS:,} calls over 64 connections by accounts that cannot pay for all, the till and a replica killed meanwhile: "
        f"{CALLS / seconds:,.0f} calls/s, p50 {latencies[len(latencies) // 2] * 1000:.0f} ms, p99 "
        f"{latencies[len(latencies) * 99 // 100] * 1000:.0f} ms; nobody overdrew, and the ledger verifies",
    )
