"""Volunteers from outside of a real cluster, over HTTP: killed, slow and disconnected, and one digest all the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from test_on_a_cluster import Site, free_port

from conftest import COMMAND, FULL, ROOT, Hydrahive, Report, digests_of, full_only, wait_for
from hydrahive.ledger.ledger import Ledger
from hydrahive.ledger.statements import balances, work_credits
from hydrahive.ledger.verification import verify
from wires import Wire

RUN = ["--env.size", "7", "--env.window", "5", "--policy.encoder.hidden", "[32]", "--shards", "12"]
RUN += ["--envs_per_shard", "8", "--boundary_every", "5", "--look", "none", "--recording", "false"]
RUN += ["--stop.env_steps", "3_000_000" if FULL else "900_000"]
AWAY_SECONDS = 60 if FULL else 6
NAMES = ("alice", "bob", "carl")


class Hive(Site):
    """A cluster with a gateway; volunteers reach it through wires."""

    def start(self) -> None:
        said = self.script("up.sh", "--num-cpus=2")
        self.address = re.search(r"the head is up at (\S+),", said)[1]
        self.keys = {name: self.opened(name) for name in NAMES}
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.gateway = self.begin("gateway", "--address", self.address, "--port", str(free_port()))
        self.url = self.said("gateway", r"hydrahive volunteer (http\S+)")
        self.wires = {name: Wire(int(self.url.rpartition(":")[2])) for name in NAMES}

    def opened(self, name: str) -> str:
        """A new account's key."""
        return re.search(r"hh_\S+", self.hydrahive("ledger", "accounts", "open", name, **self.where))[0]

    @property
    def where(self) -> dict[str, str]:
        place = {"HYDRAHIVE_RUNS": str(self.state / "runs"), "HYDRAHIVE_LEDGER": str(self.state / "ledger.sqlite")}
        return {**place, "RAY_AUTH_MODE": "token"}

    def begin(self, name: str, *words: str, **more: str) -> subprocess.Popen[str]:
        command = words if words[0] in ("train", "volunteer") else (name, *words)
        with (self.home / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(
                [*COMMAND, *command], env={**self.environment, **self.where, **more}, stdout=log,
                stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip
        return self.processes[name]

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def said(self, name: str, pattern: str, seconds: float = 60) -> str:
        wait_for(lambda: re.search(pattern, self.log(name)), f"{pattern} of {name}", seconds)
        return re.search(pattern, self.log(name))[1]

    def volunteer(self, name: str, *more: str) -> None:
        url = f"http://127.0.0.1:{self.wires[name].port}"
        folder = str(self.home / "v")
        self.begin(name, "volunteer", url, "--folder", folder, *more, HYDRAHIVE_KEY=self.keys[name])

    def train(self, name: str, *options: str) -> None:
        words = ["train", "snake/vtrace", "--name", name, "--workers", "1", "--runs", str(self.state / "runs"), *RUN]
        self.begin(name, *words, *options, "--address", self.address)

    def paid(self) -> dict[str, int]:
        ledger = Ledger(self.state / "ledger.sqlite", create=False)
        return {row["owner"]: row["env_steps"] for row in balances(ledger.journal)}

    def kinds(self, name: str) -> list[str]:
        return [event["kind"] for event in self.events(name)]


@pytest.fixture(scope="module")
def hive():
    home = Path("/tmp") / f"hv{os.getpid()}"
    home.mkdir()
    names = ("PORT", "DASHBOARD_PORT", "CLIENT_PORT", "AGENT_PORT", "METRICS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
    hive = Hive(home, {name: free_port() for name in names})
    try:
        hive.start()
        yield hive
    finally:
        for process in getattr(hive, "processes", {}).values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGTERM)
        for process in getattr(hive, "processes", {}).values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        hive.script("down.sh")
        shutil.rmtree(home, ignore_errors=True)


def test_one_digest_whatever_becomes_of_volunteers(hive: Hive, tmp_path: Path) -> None:
    # Code that is compiled once lies where the volunteers' folder is.
    laptop = Hydrahive(tmp_path, environment={"NUMBA_CACHE_DIR": str(hive.home / "v" / "numba")})
    alone = laptop.train("snake/vtrace", "alone", *RUN, "--workers", 0)
    for name in NAMES:
        hive.volunteer(name, *(["--shown"] if name == "alice" else []))
    for name in NAMES:
        hive.said(name, "(waiting): no run wants volunteers now")
    hive.train("lent", "--remote.share", "0.8", "--audit.trust_after", "3")
    for name in NAMES:
        hive.said(name, "(working) for run lent")
    wait_for(lambda: hive.kinds("lent").count("volunteer_joined") >= 2, "two volunteers")
    wait_for(lambda: hive.kinds("lent").count("volunteer_trusted") >= 1, "one that is trusted")
    os.killpg(hive.processes["alice"].pid, signal.SIGKILL)
    hive.wires["bob"].cut()
    slow = threading.Thread(target=sleepy, args=(hive, "carl"), daemon=True)
    slow.start()
    time.sleep(AWAY_SECONDS)
    hive.wires["bob"].mend()
    assert hive.processes["lent"].wait(400) == 0, hive.log("lent")
    summary = hive.summary("lent")
    assert digests_of(summary) == digests_of(alone)
    if FULL:  # who is silent is missed after half a minute
        assert hive.kinds("lent").count("volunteer_left") >= 1
    assert not {"worker_lost", "recovering", "failed", "volunteer_caught"} & set(hive.kinds("lent"))
    paid = hive.paid()
    assert sum(paid[name] for name in NAMES) > 2_000, paid
    ledger = Ledger(hive.state / "ledger.sqlite", create=False)
    assert verify(ledger.journal).problem is None
    assert sum(row["env_steps"] for row in work_credits(ledger.journal)) == summary["env_steps"]
    page = urllib.request.urlopen(f"{hive.url}/").read().decode()
    assert "The hive" in page
    assert "carl" not in page
    assert hive.keys["bob"] not in hive.log("bob") + hive.log("lent") + hive.log("gateway")
    hive.processes["bob"].send_signal(signal.SIGTERM)
    assert hive.processes["bob"].wait(20) == 0
    assert "left after" in hive.log("bob")
    written = {path.parts[len(hive.home.parts)] for path in hive.home.rglob("*") if path.is_file()}
    assert written <= {"c", "v", ".ray", ".cache", *(f"{name}.log" for name in (*NAMES, "lent", "gateway"))}, written


def sleepy(hive: Hive, name: str) -> None:
    """Have somebody stand still for a second, again and again."""
    while hive.processes["lent"].poll() is None:
        os.killpg(hive.processes[name].pid, signal.SIGSTOP)
        time.sleep(1)
        os.killpg(hive.processes[name].pid, signal.SIGCONT)
        time.sleep(0.5)


def behind(session: int, politeness: int) -> None:
    """Let a session's processes take what the cluster leaves: elsewhere they would take none of its cores."""
    if (group := Path(f"/proc/{session}/autogroup")).exists():  # niceness counts only within a session there
        group.write_text(str(politeness))
    os.setpriority(os.PRIO_PGRP, session, politeness)


@full_only
def test_thirty_dishonest_ones_beside_three_honest_ones_slow_nothing_down_for_long(hive: Hive, report: Report) -> None:
    """All of them on the two cores of the cluster itself, behind it; in one run after the other."""
    size = ["--stop.env_steps", "1_000_000_000", "--shards", "12", "--metrics_every", "20"]

    def speed(name: str, seconds: float) -> float:
        rows = [json.loads(line) for line in (hive.state / "runs" / name / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in rows if rows[-1]["seconds"] - row["seconds"] <= seconds]
        return (rows[-1]["env_steps"] - rows[0]["env_steps"]) / (rows[-1]["seconds"] - rows[0]["seconds"])

    def ended(name: str) -> None:
        hive.processes[name].send_signal(signal.SIGTERM)
        hive.processes[name].wait(120)

    hive.train("quiet", *size)
    hive.said("quiet", r"(\d,\d+ steps) ")
    time.sleep(60)
    alone = speed("quiet", 40)
    ended("quiet")
    robbers = {name: hive.opened(name) for name in (f"robber{i}" for i in range(30))}
    (hive.home / "robbers.json").write_text(json.dumps(robbers))
    command = [sys.executable, str(ROOT / "tests" / "robbers.py"), hive.url, str(hive.home / "robbers.json")]
    with (hive.home / "robbers.log").open("w") as log:
        crowd = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    for name in NAMES:
        if hive.processes.get(name) is None or hive.processes[name].poll() is not None:
            hive.volunteer(name)
        behind(hive.processes[name].pid, 10)
    try:
        hive.said("robbers", "(ready)")
        behind(crowd.pid, 19)
        hive.train("robbed", *size, "--remote.share", "0.8")
        hive.said("robbed", "(is given work)", 240)
        began = time.monotonic()
        wait_for(
            lambda: {"volunteer_trusted", "volunteer_caught"} <= set(hive.kinds("robbed")), "trust and its end", 400
        )
        time.sleep(60)
        beside = speed("robbed", time.monotonic() - began)
    finally:
        os.killpg(crowd.pid, signal.SIGKILL)
    ended("robbed")
    caught = {event["owner"] for event in hive.events("robbed") if event["kind"] == "volunteer_caught"}
    assert caught
    assert caught <= set(robbers)
    assert not {"taken_back", "failed"} & set(hive.kinds("robbed"))
    paid = hive.paid()
    assert not [name for name in robbers if paid.get(name)], paid
    report.add(
        "Dishonest volunteers",
        f"30 beside 3 honest ones, all of which compute on the cluster's own two cores: training at {beside / alone:.2f} of its speed without "
        f"({beside:,.0f} against {alone:,.0f} steps/s); {len(caught)} were caught, none was paid",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "is no gateway's address"),
        (["http://192.0.2.1:1"], "would send the key unencrypted"),
        (["https://127.0.0.1:1", "--hours", "-1"], "--hours: -1.0 is not accepted"),
        (["https://127.0.0.1:1", "--ca", "/nowhere"], "--ca: /nowhere is not there"),
        (["https://127.0.0.1:1", "--folder", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_bad_input_is_told_in_a_line(tmp_path: Path, words: list[str], said: str) -> None:
    done = subprocess.run(
        [*COMMAND, "volunteer", "--folder", str(tmp_path), *words],
        env={**os.environ, "HYDRAHIVE_KEY": "hh_key"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_key_or_a_gateway_it_says_so(tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "HYDRAHIVE_KEY"}
    command = [*COMMAND, "volunteer", f"http://127.0.0.1:{free_port()}", "--folder", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "an account's key is needed" in done.stderr
    waits = subprocess.Popen(
        [*command, "--hours", "0.002"], env={**environment, "HYDRAHIVE_KEY": "hh_x"}, stderr=subprocess.PIPE, text=True
    )
    assert waits.wait(60) == 0
    assert "waiting: " in waits.stderr.read()


def test_the_client_needs_no_ray() -> None:
    """Nor does it import what the cluster needs, wherever that is installed."""
    code = "import sys; sys.modules['ray'] = None; import hydrahive.volunteer.working, hydrahive.cli.hive.volunteer"
    subprocess.run([sys.executable, "-c", code], check=True)
