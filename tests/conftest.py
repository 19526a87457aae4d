"""What all tests share: the real command, a folder of runs, and the report of the claims."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from forks import Fork, can_fork, end_forks

Command = subprocess.Popen[str] | Fork

ROOT = Path(__file__).parents[1]
FULL = os.environ.get("HYDRAHIVE_CLAIMS") == "full"
"""Whether the claims run at full size (`make claims`)."""

COMMAND = [sys.executable, "-m", "hydrahive.cli.main"]


full_only = pytest.mark.skipif(not FULL, reason="run by make claims")
"""For what `make test` has no time for."""

TINY = ["--workers", "0", "--env.size", "8", "--env.window", "5"]
TINY += ["--policy.encoder.hidden", "[32]", "--envs_per_shard", "16"]
"""Options that make a Snake experiment train in a moment, inline."""


DIGEST_STEPS = 500_000 if FULL else 48_000
DIGEST_RUN = ["--shards", 4, "--stop.env_steps", DIGEST_STEPS, "--metrics_every", 1]
DIGEST_RUN += ["--checkpoint.every_boundaries", 1]
DIGEST_RUN += [] if FULL else ["--envs_per_shard", 16, "--boundary_every", 5]
"""Options of the `snake/vtrace` run whose digest is compared."""


@dataclass
class Hydrahive:
    """The `hydrahive` command over one folder of runs."""

    runs: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: object) -> Command:
        """Start a command; the claims at full size start it from scratch."""
        env = {**os.environ, "HYDRAHIVE_RUNS": str(self.runs), **self.environment}
        env.pop("RAY_ADDRESS", None)
        words = [*map(str, arguments)]
        if not FULL and can_fork(words, env):
            return Fork(words, env)
        return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def __call__(self, *arguments: object, code: int = 0, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        assert process.returncode == code, f"exit code {process.returncode}, expected {code}\n{out}\n{err}"
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self, config: str, name: str, *options: object) -> dict[str, object]:
        """Train a run to its end and give its summary."""
        self("train", config, "--name", name, "--recording", "false", *options)
        return self.summary(name)

    def summary(self, name: str) -> dict[str, object]:
        """The summary of a finished run."""
        return json.loads((self.runs / name / "summary.json").read_text())

    def start_training(self, config: str, name: str, *options: object) -> Command:
        """Start training."""
        return self.start("train", config, "--name", name, "--recording", "false", *options)

    def stop_at(self, process: Command, name: str, env_steps: int, signum: int) -> int:
        """Send a signal once the run's metrics show so many env steps; give the exit code."""
        metrics = self.runs / name / "metrics.jsonl"

        def reached() -> bool:
            assert process.poll() is None, f"it ended by itself: {process.communicate()}"
            lines = metrics.read_text().splitlines() if metrics.exists() else []
            return bool(lines) and _steps(lines[-1]) >= env_steps

        wait_for(reached, f"{env_steps} env steps of {name}")
        process.send_signal(signum)
        process.communicate(timeout=60)
        return process.returncode


def _steps(line: str) -> int:
    try:
        return int(json.loads(line)["env_steps"])
    except ValueError:
        return -1


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float = 120) -> None:
    """Wait until a condition holds, or fail."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session", autouse=True)
def _no_fork_stays() -> Iterator[None]:
    yield
    end_forks()


@pytest.fixture
def hydrahive(tmp_path: Path) -> Hydrahive:
    """The command over an empty folder of runs."""
    return Hydrahive(tmp_path / "runs")


@dataclass
class Report:
    """Lines for the report of the claims, by section."""

    sections: dict[str, list[str]] = field(default_factory=dict)

    def add(self, section: str, line: str) -> None:
        """Put a line into the report, and on the terminal."""
        self.sections.setdefault(section, []).append(line)
        print(f"\n{section}: {line}")


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """The report; at full size each section it has replaces its like in `docs/benchmarks/claims.md`."""
    report = Report()
    yield report
    if FULL and report.sections:
        _write_report(ROOT / "docs" / "benchmarks" / "claims.md", report.sections)


def measured_on() -> str:
    """The machine and the day, as a sentence."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    return f"Measured on {os.cpu_count()} cores of {cpu.split(':')[1].strip()}, {time.strftime('%Y-%m-%d')}."


def _write_report(path: Path, sections: dict[str, list[str]]) -> None:
    measured = measured_on()
    kept: dict[str, list[str]] = {}
    for block in path.read_text().split("\n## ")[1:] if path.is_file() else []:
        title, _, text = block.partition("\n")
        kept[title] = [text.strip()]
    kept |= {title: [measured, "", *lines] for title, lines in sections.items()}
    blocks = ["\n".join([f"## {title}", "", *lines]) for title, lines in sorted(kept.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    heading = "# The claims at full size\n\nWritten by `make claims`; each section by its file in `tests/claims/`."
    path.write_text("\n\n".join([heading, *blocks]) + "\n")


def digests_of(summary: dict[str, object]) -> tuple[object, object]:
    """What must be equal between equal runs."""
    return summary["digest"], summary["state_digest"]


def kill(process: Command) -> None:
    """SIGKILL."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.fixture
def tune(hydrahive: Hydrahive, tmp_path: Path) -> Callable[..., Path]:
    """Runs a sweep that is given as plain data, and gives its folder."""

    def run(name: str, sweep: dict[str, object], *options: object) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(sweep))
        hydrahive("tune", "run", path, *options, timeout_s=1200)
        return hydrahive.runs / name

    return run


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Trains a run with volunteers, of whom one may be dishonest: (summary, fleet, ledger, events)."""
    from volunteers import training_in

    return training_in(tmp_path, monkeypatch)


SERVED = ("tests/attacks/test_the_gate.py", "tests/serving/test_serving.py")
"""Files that ask one server: it takes most of a minute to come up."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """By file, as `--dist loadfile`, but for those that share a server."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "served" if file in SERVED else file

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A real server, for all tests of it."""
    from servers import a_server

    with a_server(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="session")
def policy(server: object) -> object:
    """The policy that answers first."""
    from hydrahive.runtime.runs.run_folder import RunFolder
    from hydrahive.serving.policy import ServedPolicy

    return ServedPolicy(RunFolder(server.hydrahive.runs / "snake"))
