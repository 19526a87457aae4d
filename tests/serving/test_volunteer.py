"""The volunteer's side, which believes the gateway no more than the gateway believes it."""

from __future__ import annotations

import http.server
import json
import os
import threading

import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import save

from hydrahive.core.errors import HydrahiveError, UsageError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.volunteer.acting import Acting, config_of
from hydrahive.volunteer.budget import IDLE_SECONDS, LOOK_SECONDS, Budget
from hydrahive.volunteer.line import LEAST_PART, Line, TurnedAwayError
from volunteers import SIZES


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_budget_ends_after_its_hours():
    clock = Clock()
    budget = Budget(2.0, clock=clock, others=lambda: 0.0)
    assert budget.may_work()
    clock.now = 7199
    assert budget.may_work()
    assert budget.left_s == 1
    clock.now = 7200
    assert budget.is_spent
    assert not budget.may_work()
    assert not Budget(clock=clock).is_spent


def test_while_others_use_the_machine_an_idle_only_one_rests():
    clock, used = Clock(), [0.0]
    cpus = os.cpu_count() or 1
    budget = Budget(idle_only=True, clock=clock, others=lambda: used[0])

    def later(seconds, busy):
        clock.now += seconds
        used[0] += seconds * busy * cpus
        return budget.may_work()

    assert later(LOOK_SECONDS, 0.05)
    assert not later(LOOK_SECONDS, 0.9)
    assert not later(LOOK_SECONDS, 0.0)
    assert not later(IDLE_SECONDS / 2, 0.0)
    assert later(IDLE_SECONDS, 0.0)
    assert Budget(clock=clock, others=lambda: 1e9).may_work()  # who does not mind


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with what it is told, and counts."""

    given: dict[str, bytes] = {}
    seen: list[str] = []
    fails = 0

    def do_GET(self):
        self.seen.append(self.headers.get("Range") or "all")
        content = self.given.get(self.path)
        if Server.fails:
            Server.fails -= 1
            self._send(503, b"{}")
        elif content is None:
            self._send(404, json.dumps({"error": "nothing\nthere \x1b[31m"}).encode())
        else:
            low, _, high = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
            self._send(206 if "Range" in self.headers else 200, content[int(low) : int(high) + 1 if high else None])

    def _send(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def line():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.given, Server.seen, Server.fails = {}, [], 0
    line = Line(f"http://127.0.0.1:{server.server_port}", "hh_key", lambda text: None)
    yield line
    line.close()
    server.shutdown()


def test_what_is_large_comes_in_parts_and_what_has_another_name_is_refused(line):
    content = np.random.default_rng(1).bytes(10 * LEAST_PART + 17)
    name = blake3(content).hexdigest()
    Server.given = {f"/v1/weights/{name}": content, f"/v1/weights/{'0' * 64}": content}
    assert line.fetched("weights", name, len(content)).result(20) == content
    assert len(Server.seen) == 10
    assert line.fetched("weights", name).result(20) == content
    with pytest.raises(HydrahiveError, match="gave other weights than it had named"):
        line.fetched("weights", "0" * 64, len(content)).result(20)


def test_it_asks_again_while_nobody_answers_and_not_when_it_is_turned_away(line):
    Server.fails = 2
    Server.given = {"/v1/earnings": b'{"account": "alice"}'}
    assert line.asked("GET", "/v1/earnings") == {"account": "alice"}
    assert len(Server.seen) == 3
    with pytest.raises(TurnedAwayError) as turned:
        line.asked("GET", "/v1/nothing")
    assert str(turned.value) == "nothingthere [31m"  # nothing that a terminal would obey
    Server.given = {"/v1/earnings": b"<html>"}
    with pytest.raises(HydrahiveError, match="is no gateway"):
        line.asked("GET", "/v1/earnings")


def test_keys_do_not_travel_in_the_open():
    for url in ("ftp://x", "hive.example.org", "http://hive.example.org"):
        with pytest.raises(UsageError):
            Line(url, "hh_key", print)
    with pytest.raises(UsageError, match="no key"):
        Line("https://hive.example.org", "hh_key\r\nX: y", print)
    Line("http://hive.example.org", "hh_key", print, is_plain_fine=True)


@pytest.mark.parametrize("env", ["os.system", "somebody.Env", "gymnasium.envs.registration.load_env_creator"])
def test_a_config_that_names_code_is_not_built(env):
    config = {"env": {"class_path": "Gym", "init_args": {"id": f"{env}:Env-v0"}}}
    with pytest.raises(HydrahiveError, match=r"is not asked to run|means nothing here"):
        config_of(config)


@pytest.mark.parametrize(
    "init",
    [
        {"id": "CartPole-v1", "wrappers": ["gymnasium.wrappers.RecordVideo"]},
        {"id": "CartPole-v1", "wrappers": [{"class_path": "hydrahive.core.machine.become"}]},
        {"id": "Ant-v5", "kwargs": {"xml_file": "/etc/passwd"}},
        {"id": "Ant-v5", "kwargs": {"deep": {"xml": 1}}},
    ],
)
def test_neither_wrappers_nor_files_are_taken_from_a_stranger(init):
    with pytest.raises(HydrahiveError, match="is not asked to run"):
        config_of({"env": {"class_path": "Gym", "init_args": init}})


def test_words_and_numbers_are():
    kwargs = {"render_mode": None, "healthy": True, "mode": "rgb_array", "weight": 0.5}
    made = config_of({"env": {"class_path": "Gym", "init_args": {"id": "CartPole-v1", "kwargs": kwargs}}})
    assert made.env.kwargs == kwargs


def test_weights_and_states_of_another_run_are_refused():
    acting = Acting(load_run_config(shipped_experiments()["snake/vtrace"], SIZES), "run")
    with pytest.raises(HydrahiveError, match="bytes of weights; expected"):
        acting.load("x", bytes(12))
    for state in (b"", b"not safetensors", save({"round": np.array([1])}), save({"round": np.zeros((2, 2))})):
        with pytest.raises(HydrahiveError, match="cannot be gone on from"):
            acting.stand(0, state)
    assert acting.stands_at(0) is None
