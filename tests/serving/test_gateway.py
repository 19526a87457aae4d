"""The gateway's door: who is answered, what is read, and what is never believed. A real port, a real ledger."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import FULL, ROOT, wait_for
from gateways import HttpLine, gateway_with, opened, wanted_of
from hydrahive.runtime.cluster.lending.shares import shares
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.roles.lending.worker import Lease
from hydrahive.serving.gateway import web
from hydrahive.serving.gateway.blobs import Blobs
from hydrahive.serving.gateway.desk import FAULTS, SESSIONS_EACH, Desk
from volunteers import SIZES

SIZE = 100_000


class Lender:
    """Waits for answers."""

    def __init__(self):
        self.answers = []

    def answer(self, lease, shard, body):
        self.answers.append((lease, shard, body))
        return True


@pytest.fixture(scope="module")
def config():
    return load_run_config(shipped_experiments()["snake/vtrace"], SIZES)


@pytest.fixture(scope="module")
def wanted(config):
    return wanted_of(config)


@pytest.fixture
def gateway(tmp_path):
    with gateway_with(tmp_path / "ledger.sqlite") as gateway:
        gateway.keys = opened(tmp_path / "ledger.sqlite", "alice", "bob")
        yield gateway


@pytest.fixture
def worker(gateway, wanted):
    """A process of alice's that has proven its class."""
    return entered(gateway, wanted, "alice")


def entered(gateway, wanted, name):
    gateway.soon(gateway.desk.announce, wanted)
    status, given, _ = gateway.call("POST", "/v1/workers", {}, gateway.keys[name])
    assert status == 200, given
    proof = {"worker": given["worker"], "machine_class": wanted.machine_class}
    proof |= {"fingerprint": dict(wanted.fingerprint), "digest": wanted.known[given["nonce"]]}
    assert gateway.call("POST", "/v1/proof", proof, gateway.keys[name])[0] == 200
    return given["worker"]


def lent(gateway, worker, least=SIZE, most=SIZE, shards=(0, 1), states=()):
    """A lease for it, as it fetched it, and who waits for it."""
    line, lender = HttpLine(gateway, worker), Lender()
    line.lender = lender
    line.offer(
        Lease(f"{len(gateway.desk.leases):032x}", 5, 4, shards, dict(states), least, most), np.ones(50_000, np.float32)
    )
    status, given, _ = gateway.call("POST", "/v1/lease", {"worker": worker}, gateway.keys["alice"])
    assert status == 200
    return given["leases"][-1], lender


def test_nobody_is_answered_without_a_key_but_at_two_places(gateway):
    assert gateway.call("GET", "/")[0] == 200
    assert gateway.call("GET", "/healthz")[:2] == (200, {"status": "ok"})
    a = "0" * 32
    paths = ["/openapi.json", "/docs", "/v1/earnings", f"/v1/weights/{a}{a}", "/nowhere", "/v1/workers"]
    tried = [("GET", path) for path in paths] + [("PUT", f"/v1/fragments/{a}/0"), ("DELETE", "/"), ("POST", "/")]
    for method, path in [*tried, *(("POST", f"/v1/{name}") for name in ("workers", "proof", "lease", "leave"))]:
        for key in (None, "hh_nobodys"):
            status, answer, headers = gateway.call(method, path, None, key)
            assert status == 401, (method, path)
            assert headers["WWW-Authenticate"] == "Bearer"
            assert "\n" not in answer["error"]


def test_a_key_that_was_revoked_opens_nothing_for_long(gateway, monkeypatch, tmp_path):
    monkeypatch.setattr(web, "KNOWN_SECONDS", 0.0)
    from hydrahive.ledger.ledger import Ledger

    assert gateway.call("GET", "/v1/earnings", key=gateway.keys["bob"])[0] == 200
    Ledger(tmp_path / "ledger.sqlite").accounts.revoke("bob")
    wait_for(lambda: gateway.call("GET", "/v1/earnings", key=gateway.keys["bob"])[0] == 401, "the key to be forgotten")


def test_who_was_caught_may_not_enter(gateway, wanted, tmp_path):
    from hydrahive.ledger.ledger import Ledger

    gateway.soon(gateway.desk.announce, wanted)
    Ledger(tmp_path / "ledger.sqlite").journal.strike("bob", "run", "account bob", "other bytes")
    status, answer, _ = gateway.call("POST", "/v1/workers", {}, gateway.keys["bob"])
    assert status == 403
    assert "was caught 1 times" in answer["error"]


def test_forged_class_versions_and_digest_are_refused_in_one_line(gateway, wanted):
    gateway.soon(gateway.desk.announce, wanted)
    other = wanted.machine_class.replace("torch-", "torch-9.")
    for change, said in [
        ({"machine_class": other}, "its machine class is"),
        ({"fingerprint": {**wanted.fingerprint, "numerics": "1"}}, "the run is computed with numerics"),
        ({"digest": "0" * 64}, "it computes other bytes"),
    ]:
        given = gateway.call("POST", "/v1/workers", {}, gateway.keys["alice"])[1]
        proof = {"worker": given["worker"], "machine_class": wanted.machine_class}
        proof |= {"fingerprint": dict(wanted.fingerprint), "digest": wanted.known[given["nonce"]]}
        status, answer, _ = gateway.call("POST", "/v1/proof", proof | change, gateway.keys["alice"])
        assert status == 409
        assert said in answer["error"]
        assert gateway.call("POST", "/v1/lease", {"worker": given["worker"]}, gateway.keys["alice"])[0] == 410


def test_without_the_known_fragment_there_is_no_work(gateway, wanted):
    gateway.soon(gateway.desk.announce, wanted)
    given = gateway.call("POST", "/v1/workers", {}, gateway.keys["alice"])[1]
    assert gateway.call("POST", "/v1/lease", {"worker": given["worker"]}, gateway.keys["alice"])[0] == 422
    assert not gateway.soon(gateway.desk.announce, wanted).sessions


def test_work_is_fetched_and_brought_back(gateway, wanted, worker):
    state = {"round": np.array([5]), "env/board": np.arange(12, dtype=np.int8)}
    lease, lender = lent(gateway, worker, states={1: state})
    assert (lease["round"], lease["version"]) == (5, 4)
    assert lease["states"]["0"] == ""
    key = gateway.keys["alice"]
    whole = gateway.call("GET", f"/v1/weights/{lease['weights']}", key=key)
    assert whole[1] == np.ones(50_000, np.float32).tobytes()
    assert whole[2]["ETag"] == f'"{lease["weights"]}"'
    part = gateway.call("GET", f"/v1/weights/{lease['weights']}", key=key, Range="bytes=100-199")
    assert (part[0], part[1], part[2]["Content-Range"]) == (206, whole[1][100:200], "bytes 100-199/200000")
    assert gateway.call("GET", f"/v1/weights/{lease['weights']}", key=key, Range="bytes=200000-")[0] == 416
    from safetensors.numpy import load

    given = load(gateway.call("GET", f"/v1/states/{lease['states']['1']}", key=key)[1])
    assert given["env/board"].tolist() == list(range(12))
    body = bytes(SIZE)
    for _ in range(2):  # the second changes nothing
        assert gateway.call("PUT", f"/v1/fragments/{lease['lease']}/1", body, key)[:2] == (200, {"received": True})
    assert lender.answers == [(lease["lease"], 1, body)]


def test_anothers_lease_and_one_that_has_ended_are_not_there(gateway, wanted, worker):
    lease, lender = lent(gateway, worker)
    path = f"/v1/fragments/{lease['lease']}/0"
    entered(gateway, wanted, "bob")
    assert gateway.call("PUT", path, bytes(SIZE), gateway.keys["bob"])[0] == 410
    assert gateway.call("POST", "/v1/lease", {"worker": worker}, gateway.keys["bob"])[0] == 410
    assert gateway.call("POST", "/v1/leave", {"worker": worker}, gateway.keys["bob"])[0] == 410
    assert gateway.call("PUT", f"/v1/fragments/{lease['lease']}/7", bytes(SIZE), gateway.keys["alice"])[0] == 404
    gateway.soon(gateway.desk.withdraw, lease["lease"])
    assert gateway.call("PUT", path, bytes(SIZE), gateway.keys["alice"])[0] == 410
    assert not lender.answers


def raw(gateway, head, *parts, wait_s=20.0):
    """What comes for bytes that are sent as they are, and after how many seconds."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=wait_s) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n")
        for part in parts:
            line.sendall(part)
        answer = b""
        while b"}" not in answer:
            more = line.recv(65536)
            if not more:
                break
            answer += more
    return int(answer.split()[1]) if answer else 0, answer, time.monotonic() - began


def put(gateway, path, *lines):
    head = [f"PUT {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {gateway.keys['alice']}", *lines]
    return "\n".join([*head, ""])


def test_no_byte_is_read_before_its_length_is_known_and_right(gateway, worker):
    lease, lender = lent(gateway, worker)
    path = f"/v1/fragments/{lease['lease']}/0"
    status, answer, seconds = raw(gateway, put(gateway, path, "Content-Length: 1000000000000"))
    assert (status, seconds < 2) == (413, True), answer
    assert raw(gateway, put(gateway, path, f"Content-Length: {SIZE - 1}"))[0] == 422
    assert raw(gateway, put(gateway, path, "Transfer-Encoding: chunked"), b"5\r\nhello\r\n")[0] == 411
    assert raw(gateway, put(gateway, path))[0] == 422
    assert not lender.answers
    assert gateway.call("PUT", path, bytes(SIZE), gateway.keys["alice"])[0] == 200


def test_a_slow_body_is_given_up_and_others_are_answered_meanwhile(gateway, worker, monkeypatch):
    monkeypatch.setattr(web, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(web, "BODY_RATE", 10 * SIZE)
    lease, lender = lent(gateway, worker)
    head = put(gateway, f"/v1/fragments/{lease['lease']}/0", f"Content-Length: {SIZE}")
    slow = [threading.Thread(target=lambda: told.append(raw(gateway, head, b"x" * 50)), daemon=True) for _ in range(30)]
    told = []
    for one in slow:
        one.start()
    began = time.monotonic()
    assert gateway.call("PUT", f"/v1/fragments/{lease['lease']}/1", bytes(SIZE), gateway.keys["alice"])[0] == 200
    assert time.monotonic() - began < 5
    for one in slow:
        one.join(20)
    assert {status for status, *_ in told} <= {408, 409, 410}  # one of them is read; after some its process is over
    assert [shard for _, shard, _ in lender.answers] == [1]
    assert gateway.behind.reading == 0


def test_whose_answers_are_refused_again_and_again_must_begin_anew(gateway, worker):
    lease, _ = lent(gateway, worker)
    path = f"/v1/fragments/{lease['lease']}/0"
    statuses = [gateway.call("PUT", path, b"x", gateway.keys["alice"])[0] for _ in range(FAULTS + 1)]
    assert statuses == [422] * FAULTS + [410]
    status, answer, _ = gateway.call("POST", "/v1/lease", {"worker": worker}, gateway.keys["alice"])
    assert status == 410
    assert "were refused" in answer["error"]


def test_who_asks_too_fast_is_told_so(gateway, monkeypatch):
    monkeypatch.setattr(web, "AT_ONCE", 20.0)
    monkeypatch.setattr(web, "PER_SECOND", 1.0)
    statuses = [gateway.call("GET", "/v1/earnings", key=gateway.keys["alice"])[0] for _ in range(30)]
    assert statuses[:15] == [200] * 15
    assert 429 in statuses
    assert gateway.call("GET", "/v1/earnings", key=gateway.keys["bob"])[0] == 200


def test_whatever_is_sent_the_answer_is_as_described(gateway, wanted, worker, tmp_path):
    """Schemathesis makes requests up from the description, right ones and wrong ones, and reads each answer."""
    gateway.desk._clock = lambda: 0.0  # nobody falls silent meanwhile
    schemathesis = Path(sys.executable).parent / "schemathesis"
    command = [schemathesis, "--config-file", ROOT / "tests/serving/schemathesis.toml", "run"]
    command += [f"{gateway.url}/openapi.json", "-H", f"Authorization: Bearer {gateway.keys['alice']}"]
    command += ["--max-examples", "300" if FULL else "20", "--no-color", "--report-dir", tmp_path]
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_silent_ones_are_forgotten_slow_ones_rest_and_nobody_fills_the_house(wanted):
    clock = Clock()
    desk = Desk(clock)
    desk.announce(wanted)
    process, _ = desk.enter("alice", None, is_shown=False)
    desk.prove(process, wanted.machine_class, dict(wanted.fingerprint), wanted.known[process.nonce])
    assert [one.id for one in desk.announce(wanted).sessions] == [process.id]
    desk.let_go(process.id, "slow")
    assert not desk.announce(wanted).sessions
    for _ in range(4):
        clock.now += 10
        desk.of(process.id, "alice")
        crowd = desk.announce(wanted)
    assert len(crowd.sessions) == 1  # it has rested
    for _ in range(SESSIONS_EACH - 1):
        desk.enter("alice", None, is_shown=False)
    with pytest.raises(Exception, match="are here already"):
        desk.enter("alice", None, is_shown=False)
    desk.enter("bob", None, is_shown=False)
    for _ in range(4):
        clock.now += 10
        desk.announce(wanted)
    with pytest.raises(Exception, match="nothing was heard of it"):
        desk.of(process.id, "alice")
    clock.now += 20
    with pytest.raises(Exception, match="no run wants volunteers"):
        desk.enter("bob", None, is_shown=False)


def test_who_is_accused_is_told_to_the_run_once_and_all_his_processes_end(wanted):
    desk = Desk()
    desk.announce(wanted)
    first, second = (desk.enter("alice", None, is_shown=False)[0] for _ in range(2))
    bobs, _ = desk.enter("bob", None, is_shown=False)
    desk.accuse(first.id, 3, 7, "made up")
    assert [(one.account, one.why) for one in desk.announce(wanted).accused] == [("alice", "made up")]
    assert not desk.announce(wanted).accused
    for one in (first, second):
        with pytest.raises(Exception, match="made up"):
            desk.of(one.id, "alice")
    assert desk.of(bobs.id, "bob") is bobs


def test_who_leaves_before_his_lie_is_found_is_accused_all_the_same(wanted):
    desk = Desk()
    desk.announce(wanted)
    process, _ = desk.enter("alice", None, is_shown=False)
    desk.end(process, "it has left")
    desk.accuse(process.id, 1, 2, "made up")
    assert [(one.account, one.session) for one in desk.announce(wanted).accused] == [("alice", process.id)]


def test_a_run_that_goes_on_with_other_known_fragments_still_knows_what_it_asked(wanted):
    desk = Desk()
    desk.announce(wanted)
    process, _ = desk.enter("alice", None, is_shown=False)
    desk.announce(replace(wanted, known={99: "0" * 64}))
    desk.prove(process, wanted.machine_class, dict(wanted.fingerprint), wanted.known[process.nonce])
    assert process.proven


def test_an_account_holds_no_more_unproven_shards_with_more_processes():
    one = shares(16, 1.0, 1, [False], ["alice"])
    assert (one.most, one.has_room) == ((2,), True)
    assert shares(16, 1.0, 1, [False, False], ["alice", "alice"]).most == (2, 0)
    assert shares(16, 1.0, 1, [False, False, False], ["alice", "bob", "carl"]).most == (2, 2, 0)
    assert shares(16, 0.5, 1, [True, False], ["alice", "bob"]).most == (8, 0)
    assert shares(16, 1.0, 2, [True, True], ["alice", "alice"]).most == (8, 8)
    assert shares(2, 0.1, 1, [False], ["alice"]).most == (1,)


def test_blobs_go_when_there_are_too_many_bytes():
    blobs = Blobs(100)
    names = [blobs.keep(bytes([i]) * 40) for i in range(3)]
    assert [blobs.get(name) is not None for name in names] == [False, True, True]
    assert blobs.get(blobs.keep(bytes(1000))) is not None
