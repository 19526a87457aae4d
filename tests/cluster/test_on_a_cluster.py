"""A real cluster on this machine: a head and two joined nodes, token authentication on, jobs, a lost node, metrics.

One story, told by tests in their order; each of them may be read alone, but stands on those before it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import COMMAND, FULL, ROOT, Hydrahive, digests_of, full_only, wait_for

STEPS = 2_000_000 if FULL else 500_000
RUN = [
    "--shards",
    "4",
    "--workers",
    "2",
    "--metrics_every",
    "1",
    "--boundary_every",
    "10",
    "--checkpoint.every_boundaries",
    "1",
]
RUN += ["--stop.env_steps", str(STEPS)]
NAME = "story"


def free_port() -> int:
    """Above those that Ray gives to its workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """The cluster of `cluster/up.sh`, in folders and on ports of its own."""

    home: Path
    ports: dict[str, int] = field(default_factory=dict)
    nodes: list[subprocess.Popen[str]] = field(default_factory=list)
    address: str = ""

    @property
    def state(self) -> Path:
        return self.home / "c"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['DASHBOARD_PORT']}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HYDRAHIVE_"))}
        ports = {f"HYDRAHIVE_{name}": str(port) for name, port in self.ports.items()}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, **ports, "HOME": str(self.home), "HYDRAHIVE_CLUSTER": str(self.state), "PATH": path}

    def script(self, name: str, *arguments: str, code: int = 0, timeout_s: float = 240, **environment: str) -> str:
        """Run one of the scripts in `cluster/`; what it says."""
        done = subprocess.run(
            [str(ROOT / "cluster" / name), *arguments], cwd=ROOT, env={**self.environment, **environment},
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def hydrahive(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run the command as somebody on another machine would; what it says."""
        done = subprocess.run(
            [*COMMAND, *arguments], env={**self.environment, **environment}, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def submit(self, *options: str) -> subprocess.Popen[str]:
        """Submit the story's run and follow it."""
        command = [str(ROOT / "cluster" / "submit.sh"), "snake/vtrace", "--name", NAME, *RUN, *options]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def ray_job(self, *words: str) -> str:
        """`ray job submit`, as everybody knows it; its log."""
        command = ["ray", "job", "submit", "--address", self.dashboard, "--working-dir", ".", "--", "hydrahive", *words]
        environment = {**self.environment, "RAY_AUTH_MODE": "token"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def join(self) -> None:
        """Have a node join, as on another machine."""
        command = [*COMMAND, "worker", "--address", self.address, "--cpus", "2"]
        log = (self.home / f"node-{len(self.nodes)}.log").open("w")
        node = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, text=True)
        self.nodes.append(node)

    def joined(self) -> int:
        return sum("joined" in path.read_text() for path in self.home.glob("node-*.log"))

    def kill_node(self, index: int) -> None:
        """End a node as a power failure does: the command, and the group of all that `ray start` started."""
        node = self.nodes[index]
        below = [pid for pid in pids() if parent(pid) == node.pid]
        node.kill()
        for pid in below:
            os.killpg(pid, signal.SIGKILL)
        node.wait()

    def steps(self, name: str = NAME) -> int:
        """How far a run has come."""
        try:
            last = (self.state / "runs" / name / "metrics.jsonl").read_text().splitlines()[-1]
            return int(json.loads(last)["env_steps"])
        except (OSError, IndexError, ValueError):
            return 0

    def events(self, name: str = NAME) -> list[dict[str, Any]]:
        lines = (self.state / "runs" / name / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def summary(self, name: str = NAME) -> dict[str, Any]:
        return json.loads((self.state / "runs" / name / "summary.json").read_text())


def pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def drivers(site: Site) -> list[int]:
    """The processes of the story's job that train, not the shell that started them."""
    found = []
    for pid in pids():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            mine = str(site.home).encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mine and b"train" in words and any(word.endswith(b"/hydrahive") for word in words[:3]):
            found.append(pid)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # Sockets lie below it, and their paths may not be long.
    home = Path("/tmp") / f"hh{os.getpid()}"
    home.mkdir()
    names = ("PORT", "DASHBOARD_PORT", "CLIENT_PORT", "AGENT_PORT", "METRICS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
    site = Site(home, {name: free_port() for name in names})
    try:
        said = site.script("up.sh", "--num-cpus=0")
        site.address = re.search(r"the head is up at (\S+),", said)[1]
        yield site
    finally:
        for node in site.nodes:
            node.send_signal(signal.SIGTERM)
        for node in site.nodes:
            node.wait(60)
        site.script("down.sh")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The same run in one process."""
    hydrahive = Hydrahive(tmp_path_factory.mktemp("laptop"))
    return hydrahive.train("snake/vtrace", NAME, *RUN, "--workers", 0)


def test_the_head_is_up_and_its_token_is_its_owners_alone(site: Site) -> None:
    token = site.home / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    secret = token.read_text().strip()
    assert len(secret) >= 32
    assert all(secret not in path.read_text() for path in site.state.glob("*.log")), "it is never printed"
    assert "is up already" in site.script("up.sh", code=1)


def test_nodes_join(site: Site) -> None:
    site.join()
    site.join()
    wait_for(lambda: site.joined() == 2, "two nodes")


def test_without_the_token_nobody_is_let_in(site: Site, tmp_path: Path) -> None:
    """No token, and a wrong one; all at once, because Ray tries for some seconds before it says so."""
    (tmp_path / "none").mkdir()
    (tmp_path / "wrong" / ".ray").mkdir(parents=True)
    (tmp_path / "wrong" / ".ray" / "auth_token").write_text("0" * 64)
    client = f"ray://127.0.0.1:{site.ports['CLIENT_PORT']}"
    submit = [str(ROOT / "cluster" / "submit.sh"), "snake/vtrace"]
    train = [*COMMAND, "train", "snake/vtrace", "--runs", str(tmp_path / "runs"), "--address"]
    asked = {
        ("none", "job"): submit,
        ("none", "driver"): [*train, site.address],
        ("none", "client"): [*train, client],
        ("none", "node"): [*COMMAND, "worker", "--address", site.address],
        ("wrong", "job"): submit,
        ("wrong", "client"): [*train, client],
    }
    started = {}
    for (home, what), command in asked.items():
        environment = {**site.environment, "HOME": str(tmp_path / home)}
        started[home, what] = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    for which, process in started.items():
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 1, (which, said)
        assert "~/.ray/auth_token" in said, which
        assert len(said.splitlines()) == 1, (which, said)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir()), "nothing was begun"
    for path in ("/api/jobs/", "/api/cluster_status", "/nodes?view=summary", "/api/v0/actors"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(site.dashboard + path, timeout=10)
        assert refused.value.code in (401, 403)


def test_what_cannot_work_is_one_line(site: Site, tmp_path: Path) -> None:
    assert "not a file below" in site.script("submit.sh", "/etc/missing.yaml", code=1)
    said = site.script("submit.sh", "snake/vtrace", code=1, RAY_API_SERVER_ADDRESS="http://127.0.0.1:1")
    assert "cannot submit to http://127.0.0.1:1" in said
    assert len(said.splitlines()) == 1


def test_monitoring_comes_up(site: Site) -> None:
    if shutil.which("prometheus") is None:
        assert "prometheus is not installed" in site.script("monitoring.sh", code=1)
        pytest.skip("prometheus is not installed: metrics were NOT scraped")
    assert "prometheus" in site.script("monitoring.sh")


def test_a_job_survives_a_node_and_goes_on_after_its_driver(site: Site, laptop: dict[str, object]) -> None:
    first = site.submit()
    wait_for(lambda: site.steps() > 0.1 * STEPS, "the job", 240)
    site.kill_node(1)
    wait_for(lambda: any(event["kind"] == "recovered" for event in site.events()), "the recovery", 240)
    if not FULL:
        said, _ = first.communicate(timeout=240)
        assert first.returncode == 0, said
        assert digests_of(site.summary()) == digests_of(laptop)
        return
    assert "paused" in site.hydrahive("pause", NAME, "--address", site.address)

    second, _ = (process := site.submit()).communicate(timeout=240)
    assert process.returncode == 1
    assert f"run '{NAME}' is being trained by another process" in second

    site.hydrahive("continue", NAME, "--address", site.address)
    for pid in drivers(site):
        os.kill(pid, signal.SIGKILL)
    said, _ = first.communicate(timeout=240)
    assert first.returncode == 1
    assert "the same command goes on from its last checkpoint" in said
    assert "\x1b" not in said, "no ANSI codes in a job's log"

    said = site.ray_job("train", "snake/vtrace", "--name", NAME, *RUN)
    assert "resuming at" in said
    assert digests_of(site.summary()) == digests_of(laptop)
    assert str(laptop["digest"]) in said
    kinds = {event["kind"] for event in site.events()}
    assert {"started", "worker_lost", "recovered", "resumed", "finished"} <= kinds


def test_the_dashboard_shows_names_that_people_know(site: Site) -> None:
    token = (site.home / ".ray" / "auth_token").read_text().strip()
    request = urllib.request.Request(
        site.dashboard + "/api/v0/actors?detail=1", headers={"Authorization": f"Bearer {token}"}
    )
    found = json.load(urllib.request.urlopen(request, timeout=30))["data"]["result"]["result"]
    names = {actor["name"] for actor in found if actor["name"]}
    assert "hydrahive-coordinator" in names
    assert any(re.fullmatch(rf"{NAME}:learner-0:\w+", name) for name in names)
    assert any(re.fullmatch(rf"{NAME}:env-worker-1:\w+", name) for name in names)


def queried(site: Site, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers."""
    query = urllib.parse.urlencode({"query": expression})
    answer = urllib.request.urlopen(
        f"http://127.0.0.1:{site.ports['PROMETHEUS_PORT']}/api/v1/query?{query}", timeout=10
    )
    return json.load(answer)["data"]["result"]


def test_prometheus_has_the_runs_true_numbers(site: Site) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: metrics were NOT scraped")
    summary = site.summary()

    def value(metric: str) -> float | None:
        found = queried(site, f'ray_hydrahive_{metric}{{run="{NAME}"}}')
        return float(found[0]["value"][1]) if len(found) == 1 else None

    wait_for(lambda: value("run_env_steps_total") == summary["env_steps"], "the last figures to be scraped", 60)
    wait_for(lambda: value("ledger_credited_env_steps") == summary["env_steps"], "the ledger's figures", 60)
    assert value("learner_version_updates") == value("run_rounds_total") == summary["updates"]
    assert value("run_episodes_total") == summary["episodes"]
    assert value("run_score_mean") == pytest.approx(summary["score_mean"])
    assert value("ledger_conservation_difference_env_steps") == 0
    assert value("ledger_credited_microtokens") == summary["ledger"]["credited_microtokens"]
    assert value("run_throughput_env_steps_per_second") == 0, "it has ended"
    (build,) = queried(site, f'ray_hydrahive_build_info{{run="{NAME}"}}')
    assert build["metric"]["machine_class"] == summary["machine_class"]


NOT_IN_THIS_RUN = ("replay_",)
"""Areas that a run without a replay has no figures of."""


def test_every_query_of_the_dashboard_is_answered(site: Site) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: metrics were NOT scraped")
    dashboard = json.loads((ROOT / "k8s" / "components" / "monitoring" / "hydrahive.json").read_text())
    asked = 0
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$run", NAME).replace("$__rate_interval", "1m")
            assert "$" not in expression
            found = queried(site, expression)
            assert found or any(area in expression for area in NOT_IN_THIS_RUN), f"no answer to {expression}"
            asked += 1
    assert asked > 20
    alerts = json.load(
        urllib.request.urlopen(f"http://127.0.0.1:{site.ports['PROMETHEUS_PORT']}/api/v1/rules", timeout=10)
    )["data"]["groups"]
    assert [rule["health"] for group in alerts for rule in group["rules"]].count("err") == 0


@full_only
def test_a_laptop_trains_through_the_client_port(site: Site, tmp_path: Path) -> None:
    address = f"ray://127.0.0.1:{site.ports['CLIENT_PORT']}"
    options = [
        "--shards",
        "4",
        "--workers",
        "1",
        "--stop.env_steps",
        "100_000",
        "--runs",
        str(tmp_path / "runs"),
        "--name",
        "far",
    ]
    site.hydrahive("train", "snake/vtrace", "--address", address, *options, "--recording", "false")
    here = Hydrahive(tmp_path / "here").train(
        "snake/vtrace", "far", "--shards", 4, "--workers", 0, "--stop.env_steps", 100_000
    )
    assert digests_of(json.loads((tmp_path / "runs" / "far" / "summary.json").read_text())) == digests_of(here)


@full_only
def test_a_laptop_runs_free_and_goes_on_after_it_was_killed(site: Site, tmp_path: Path) -> None:
    """By references that a client is given anew each time; and what it held is let go by Ray only half a minute later."""
    address = f"ray://127.0.0.1:{site.ports['CLIENT_PORT']}"
    runs = f"file://{tmp_path}/bucket"
    options = ["snake/vtrace", "--address", address, "--runs", runs, "--name", "far", "--shards", "4", "--workers", "1"]
    options += ["--schedule", "free-running", "--recording", "false", "--boundary_every", "4"]
    scratch = {"HYDRAHIVE_SCRATCH": str(tmp_path / "scratch")}
    laptop = subprocess.Popen(
        [*COMMAND, "train", *options, "--stop.env_steps", "1_000_000_000"], env={**site.environment, **scratch},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list((tmp_path / "bucket" / "far" / "checkpoints").glob("*/manifest.json")), "a checkpoint", 120)
    laptop.kill()
    _, said = laptop.communicate()
    assert "pass the head's object store" in said
    assert "resuming at" in site.hydrahive("train", *options, "--stop.env_steps", "400_000", **scratch)


@full_only
def test_two_jobs_cannot_train_one_run_in_a_storage(site: Site, tmp_path: Path) -> None:
    """Their scratches are apart, as on two machines; only the cluster can tell. One is a node, one a laptop."""
    addresses = {"a": site.address, "b": f"ray://127.0.0.1:{site.ports['CLIENT_PORT']}"}
    options = ["--runs", f"file://{tmp_path}/bucket", "--name", "one", "--shards", "4", "--workers", "1"]
    both = [
        subprocess.Popen(
            [*COMMAND, "train", "snake/vtrace", *options, "--address", address, "--stop.env_steps", "1_000_000_000_000"],
            env={**site.environment, "HYDRAHIVE_SCRATCH": str(tmp_path / scratch)}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for scratch, address in addresses.items()
    ]  # fmt: skip
    try:
        wait_for(lambda: any(process.poll() is not None for process in both), "one to give up", 240)
        (refused,) = (process for process in both if process.poll() is not None)
        said, _ = refused.communicate()
        assert refused.returncode == 2
        assert (
            said
            == "hydrahive: error: run 'one' is being trained by another process; stop it or choose another --name\n"
        )
    finally:
        for process in both:
            process.send_signal(signal.SIGINT)
        assert sorted(process.wait(60) for process in both) == [2, 130]


@pytest.mark.skipif(not FULL, reason="two minutes; `make claims` tells it")
def test_four_commands_from_work_to_answers(site: Site, tmp_path: Path) -> None:
    """Start, join, earn, buy; as alice, on a machine of her own."""
    ports = {"HYDRAHIVE_SERVE_PORT": str(free_port()), "HYDRAHIVE_GATEWAY_PORT": str(free_port())}
    account = {"HYDRAHIVE_ACCOUNT": "alice", **ports}
    quick = ["--boundary_every", "10", "--checkpoint.every_boundaries", "1", "--ledger.microtokens_per_step", "1000"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(ROOT / "cluster" / "hive.sh"), "snake/hive", *quick],
            cwd=ROOT, env=site.environment | account, stdout=(tmp_path / "hive.log").open("w"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    hive = start()

    def said() -> str:
        assert hive.poll() is None, (tmp_path / "hive.log").read_text()
        return (tmp_path / "hive.log").read_text()

    try:
        wait_for(lambda: "serving hive at" in said(), "the server", 120)
        alice = {
            "HYDRAHIVE_KEY": re.search(r"hh_[\w-]+", said())[0],
            "HYDRAHIVE_URL": f"http://127.0.0.1:{account['HYDRAHIVE_SERVE_PORT']}",
        }
        gateway = re.search(r"hydrahive volunteer (http\S+)", said())[1]
        volunteer = subprocess.Popen(
            [*COMMAND, "volunteer", gateway, "--folder", str(tmp_path / "volunteer")],
            env={**site.environment, **alice, "HOME": str(tmp_path)}, stdout=(tmp_path / "volunteer.log").open("w"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        site.nodes.append(volunteer)

        def balance() -> float:
            return float(re.search(r"alice: ([\d.]+) tokens", site.hydrahive("query", "alice", "balance", **alice))[1])

        wait_for(lambda: balance() > 5.5, "what alice earns", 180)
        gif = tmp_path / "episode.gif"
        assert "score" in site.hydrahive("query", "alice", "episode", "0", str(gif), **alice)
        assert gif.read_bytes()[:3] == b"GIF"
        serve = ["serve", "hive", "--wait", "--port", str(free_port()), "--address", site.address]
        assert "another `hydrahive serve` uses this cluster" in site.hydrahive(*serve, code=2)
        assert "alice: " in site.hydrahive("query", "alice", "balance", **alice), "the first goes on"
        hive.send_signal(signal.SIGINT)
        hive.wait(60)
        hive = start()
        wait_for(lambda: "serving hive at" in said(), "the server, again", 120)
        assert "hive is trained already" in said()
        site.hydrahive("stop", "hive", "--address", site.address)
        spent = site.hydrahive("ledger", "balance", "alice", HYDRAHIVE_LEDGER=str(site.state / "ledger.sqlite"))
        assert "5.000000" in spent
        site.hydrahive("ledger", "verify", HYDRAHIVE_LEDGER=str(site.state / "ledger.sqlite"))
    finally:
        hive.send_signal(signal.SIGINT)
        hive.wait(60)


def test_the_node_leaves_and_the_cluster_goes_down(site: Site) -> None:
    site.nodes[0].send_signal(signal.SIGTERM)
    assert site.nodes[0].wait(60) == 143
    before = time.monotonic()
    assert "head" in site.script("down.sh")
    assert time.monotonic() - before < 60
    assert "nothing was up" in site.script("down.sh")
    ours = str(site.state / "ray").encode()
    wait_for(lambda: not any(ours in cmdline(pid) for pid in pids()), "all of the cluster's processes to end", 30)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
