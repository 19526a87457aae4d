"""Odd machines: it works, or one line names what to set. Each is a real process in the odd surroundings."""

import json
import os
import pwd
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from conftest import COMMAND, FULL, ROOT, full_only, wait_for
from gateways import gateway_with, opened, wanted_of
from hydrahive.core import machine
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.telemetry.progress import ProgressSink
from volunteers import SIZES

TINY = ["snake/vtrace", "--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=8"]
TINY += ["--envs_per_shard=4", "--fragment_length=8", "--boundary_every=5", "--stop.updates=10", "--recording=false"]


def hydrahive(tmp_path, *arguments, before=(), cwd=None, code=0, **environment):
    """The command in such an environment; what it said."""
    around = {**os.environ, "HYDRAHIVE_RUNS": str(tmp_path / "runs"), **environment}
    around = {name: value for name, value in around.items() if value is not None}
    done = subprocess.run(
        [*before, *COMMAND, *map(str, arguments)], capture_output=True, text=True, env=around, cwd=cwd or tmp_path,
        timeout=240, check=False, errors="replace",
    )  # fmt: skip
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def site(tmp_path, text):
    """A folder whose sitecustomize changes Python for a process that has it on its path."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return str(folder)


def test_cpus_are_those_that_one_may_use(tmp_path):
    told = "import os; os.cpu_count = lambda: 48"
    script = "from hydrahive.core.machine import cpus; import os; print(cpus(), os.cpu_count())"
    done = subprocess.run(
        ["taskset", "-c", "1", sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": site(tmp_path, told)},
    )  # fmt: skip
    assert done.stdout.split() == ["1", "48"]


@pytest.mark.parametrize(("quota", "expected"), [("150000 100000", 2), ("max 100000", None), ("50000 100000", 1)])
def test_a_quota_and_a_limit_of_a_cgroup_count(tmp_path, monkeypatch, quota, expected):
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    (tmp_path / "memory.max").write_text(f"{3 * 2**30}\n")
    assert machine.cpus() == (expected or 64)
    assert machine.memory_bytes() == 3 * 2**30


def test_variables_that_are_set_but_empty_are_unset(tmp_path):
    hydrahive(
        tmp_path, "train", *TINY, "--name", "a", "--workers", 0, RAY_ADDRESS="", HYDRAHIVE_LEDGER="", HYDRAHIVE_RUNS="",
    )  # fmt: skip
    assert (tmp_path / "runs" / "a" / "summary.json").is_file(), "in ./runs"


def test_a_dashboards_address_is_told_apart(tmp_path):
    said = hydrahive(tmp_path, "runs", RAY_ADDRESS="http://10.0.0.7:8265").stderr
    assert not said, "who needs no cluster is not asked for one"
    said = hydrahive(tmp_path, "train", *TINY, "--workers", 1, code=2, RAY_ADDRESS="http://10.0.0.7:8265").stderr
    assert said.count("\n") == 1
    assert "RAY_ADDRESS" in said
    assert "HOST:6379" in said


def test_a_filesystem_without_locks_is_told_and_used(tmp_path):
    refuses = (
        "import errno, fcntl, os\n"
        "real = fcntl.flock\n"
        "def flock(file, operation):\n"
        "    number = file if isinstance(file, int) else file.fileno()\n"
        f"    if os.readlink(f'/proc/self/fd/{{number}}').startswith({str(tmp_path / 'runs')!r}):\n"
        "        raise OSError(errno.ENOLCK, 'No locks available')\n"
        "    return real(file, operation)\n"
        "fcntl.flock = flock\n"
    )
    said = hydrahive(tmp_path, "train", *TINY, "--name", "a", "--workers", 0, PYTHONPATH=site(tmp_path, refuses)).stderr
    assert said.count("its filesystem has no locks (No locks available)") == 1
    assert str(tmp_path / "runs") in said
    assert json.loads((tmp_path / "runs" / "a" / "summary.json").read_text())["updates"] == 10


@full_only
def test_a_scheduler_that_refuses_a_class_is_gone_without(tmp_path):
    refuses = "import os\ndef no(*_): raise OSError(38, 'Function not implemented')\nos.sched_setscheduler = no\n"
    hydrahive(tmp_path, "train", *TINY, "--name", "a", "--workers", 1, PYTHONPATH=site(tmp_path, refuses))


def test_a_long_temporary_folder_is_gone_around_or_named(tmp_path):
    deep = tmp_path / ("y" * 90)
    deep.mkdir()
    if FULL:
        hydrahive(tmp_path, "train", *TINY, "--name", "a", "--workers", 1, TMPDIR=str(deep), RAY_TMPDIR=None)
    said = hydrahive(tmp_path, "train", *TINY, "--name", "b", "--workers", 1, code=2, RAY_TMPDIR=str(deep)).stderr
    assert "RAY_TMPDIR" in said.splitlines()[-1]
    assert "letters" in said.splitlines()[-1]


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def nobody(tmp_path):
    """What makes a command somebody's without a home, who may write only where the tests do."""
    for folder in (tmp_path, *list(tmp_path.parents)[:-1]):
        if folder.owner() == "root" and folder != Path("/tmp"):
            os.chmod(folder, folder.stat().st_mode | 0o755)
    place = tmp_path / "free"
    place.mkdir()
    os.chmod(place, 0o777)
    user = pwd.getpwnam("nobody")
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"], place


@needs_root
def test_without_a_home_or_a_cache_it_trains(nobody):
    before, place = nobody
    for workers in (0, 1):
        if workers:
            needs_our_python(before)
        hydrahive(
            place, "train", *TINY, "--name", f"w{workers}", "--workers", workers, before=before, HOME="/nonexistent",
            NUMBA_CACHE_DIR=None, PYTHONDONTWRITEBYTECODE="1", TMPDIR=str(place)[:0] or None,
        )  # fmt: skip


@needs_root
def test_a_volunteer_needs_no_privilege_and_writes_into_its_folder_only(nobody, tmp_path):
    before, place = nobody
    config = load_run_config(shipped_experiments()["snake/vtrace"], SIZES)
    before = [*before, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]

    def his() -> set[str]:
        where = [one for one in ("/tmp", "/var/tmp", "/dev/shm", "/run") if Path(one).is_dir()]
        command = ["find", *where, "-user", "nobody", "-not", "-path", f"{place}*"]
        return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())

    there = his()
    with gateway_with(tmp_path / "ledger.sqlite") as gateway:
        wanted = wanted_of(config)
        gateway.soon(gateway.desk.announce, wanted)
        key = opened(tmp_path / "ledger.sqlite", "alice")["alice"]
        command = [*before, *COMMAND, "volunteer", gateway.url, "--folder", str(place / "work")]
        environment = {**os.environ, "HOME": "/nonexistent", "HYDRAHIVE_KEY": key, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("NUMBA_CACHE_DIR", None)
        process = subprocess.Popen(command, cwd="/", env=environment, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(
                lambda: gateway.soon(gateway.desk.announce, wanted).sessions or process.poll() is not None,
                "the volunteer",
            )
        finally:
            process.terminate()
        assert process.wait(30) == 0, process.stderr.read()
    assert his() == there
    assert any((place / "work" / "numba").rglob("*.nbi"))


@needs_root
def test_a_python_that_its_user_cannot_look_for_begins_again(nobody):
    before, place = nobody
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python").symlink_to(Path(sys.executable).resolve())
    script = (
        "import os, sys; os.environ.setdefault('TOLD', ''); sys.path.insert(0, sys.argv[1])\n"
        "from hydrahive.core.machine import become\n"
        "become('-c', 'import os; print(os.environ[\"TOLD\"])', TOLD='again')"
    )
    done = subprocess.run(
        [*before, closed / "python", "-c", script, ROOT / "src"], capture_output=True, text=True, check=False, cwd=place
    )
    assert done.stdout == "again\n", done.stderr


def needs_our_python(before):
    """Skip where somebody else cannot read the Python that this environment stands on, as below a closed home."""
    script = "import sys; print(sys.base_prefix)"
    done = subprocess.run([*before, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if done.stdout.strip() != sys.base_prefix:
        pytest.skip("nobody cannot read this Python")


@full_only
@needs_root
def test_a_folder_of_rays_that_belongs_to_another_is_gone_around_or_named(nobody):
    before, place = nobody
    needs_our_python(before)
    shared = place / "t"
    (shared / "ray").mkdir(mode=0o755, parents=True)
    os.chmod(shared, 0o777)
    options = ["train", *TINY, "--workers", 1]
    around = {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    hydrahive(place, *options, "--name", "a", before=before, TMPDIR=str(shared), RAY_TMPDIR=None, **around)
    said = hydrahive(place, *options, "--name", "b", before=before, code=2, RAY_TMPDIR=str(shared), **around).stderr
    assert "RAY_TMPDIR" in said.splitlines()[-1]
    assert "somebody else's" in said.splitlines()[-1]


def test_a_proxy_is_not_asked_for_what_is_here(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    machine.settle()
    assert os.environ["no_proxy"] == "example.org,localhost,127.0.0.1,::1"
    assert os.environ["NO_PROXY"] == "localhost,127.0.0.1,::1"


def test_a_file_that_stands_in_the_way_of_a_module_is_named(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "yaml.py").write_text("tokens = 3\n")
    said = hydrahive(tmp_path, "train", *TINY, "--workers", 0, code=1, PYTHONPATH=str(folder)).stderr
    assert str(folder / "yaml.py") in said.splitlines()[-1]
    assert "rename it" in said.splitlines()[-1]


def test_a_port_that_is_taken_is_named(tmp_path):
    hydrahive(tmp_path, "train", *TINY, "--name", "a", "--workers", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = hydrahive(tmp_path, "serve", "a", "--price", 0, "--port", port, code=2).stderr
    assert said.count("\n") == 1
    assert f"--port: {port} on 127.0.0.1 is taken" in said


def test_a_locale_that_knows_no_letters_ends_nothing(tmp_path):
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    config = tmp_path / "Größe 日.yaml"
    config.write_text((ROOT / "experiments" / "snake" / "vtrace.yaml").read_text("utf-8") + "# 日本\n", "utf-8")
    hydrahive(tmp_path, "train", config, *TINY[1:], "--workers", 0, **bare)
    (run,) = (tmp_path / "runs").glob("Gr-*s1970")
    hydrahive(tmp_path, "evaluate", run.name, "--episodes", 2, **bare)


def test_a_name_that_nobody_gave_is_fit(tmp_path):
    config = tmp_path / "my two words!.yaml"
    config.write_text((ROOT / "experiments" / "snake" / "vtrace.yaml").read_text("utf-8"))
    hydrahive(tmp_path, "train", config, *TINY[1:], "--workers", 0)
    assert (tmp_path / "runs" / "my-two-words-s1970" / "summary.json").is_file()


ROW = {"env_steps": 5_000_000, "steps_per_second": 123456.0, "score_mean": 1.0, "score_max": 2.0, "loss": 1.0}
ROW |= {"entropy": 1.0, "lag": 1.0}


class Terminal:
    """A stream that says that it is one, and keeps what is written."""

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize(("term", "columns"), [("xterm", 60), ("xterm", 200), ("dumb", 60)])
def test_the_live_line_fits_the_terminal(monkeypatch, term, columns):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    ProgressSink(10**7, stream).row(ROW)
    if term == "dumb":
        assert "\x1b" not in stream.text
    else:
        assert len(stream.text.removeprefix("\r\x1b[2K")) < columns
        assert "5,000,000 steps" in stream.text


def test_infos_that_json_does_not_know_are_left_out(tmp_path):
    games = str(ROOT / "tests" / "games")
    options = ["--envs_per_shard=2", "--shards=2", "--fragment_length=8", "--stop.updates=20", "--workers=0"]
    hydrahive(
        tmp_path, "train", "cartpole/vtrace", "--env.id", "strangers:Endless-v0", "--name", "a", *options,
        "--recording=false", PYTHONPATH=games,
    )  # fmt: skip

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    for name in ("metrics.jsonl", "episodes.jsonl", "events.jsonl"):
        for line in (tmp_path / "runs" / "a" / name).read_text().splitlines():
            json.loads(line, parse_constant=refuse)
    assert '"episode_fine"' in (tmp_path / "runs" / "a" / "metrics.jsonl").read_text()


def test_a_run_that_memory_cannot_hold_is_refused_before_it_begins(tmp_path):
    options = ["snake/vtrace", "--workers=0", "--envs_per_shard=4000", "--fragment_length=2000", "--recording=false"]
    said = hydrahive(tmp_path, "train", *options, before=["prlimit", "--as=9000000000"], code=2).stderr
    assert said.count("\n") == 1
    assert "would be in memory" in said
    assert "fragment_length" in said


@full_only
def test_memory_is_flat_over_many_updates(tmp_path):
    """Resident memory of 200,000 further updates of one step."""
    options = ["cartpole/vtrace", "--shards=1", "--envs_per_shard=1", "--fragment_length=1", "--boundary_every=500"]
    options += ["--metrics_every=500", "--workers=0", "--stop.env_steps=400000", "--recording=false", "--name=a"]
    process = subprocess.Popen(
        [*COMMAND, "train", *options], env={**os.environ, "HYDRAHIVE_RUNS": str(tmp_path)}, stderr=subprocess.DEVNULL
    )
    import time

    import psutil

    seen, metrics = {}, tmp_path / "a" / "metrics.jsonl"
    while process.poll() is None:
        time.sleep(1)
        if metrics.exists() and (lines := metrics.read_text().splitlines()):
            seen[json.loads(lines[-1])["updates"]] = psutil.Process(process.pid).memory_info().rss
    late = {updates: rss for updates, rss in seen.items() if updates > 100_000}
    first, last = min(late), max(late)
    assert (late[last] - late[first]) / (last - first) < 8, "bytes an update"


def test_curves_go_on_though_the_clock_was_set_back(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from hydrahive.telemetry.tensorboard import TensorBoardSink

    now = 1_800_000_000.0
    for begin, clock in ((0, now), (300, now - 7_200), (600, now - 90_000)):
        monkeypatch.setattr("hydrahive.telemetry.tensorboard.time.time", lambda clock=clock: clock)
        sink = TensorBoardSink(tmp_path, begin + 1 if begin else None)
        for step in range(begin + 100, begin + 500, 100):  # the last was written behind the checkpoint
            sink.row({"env_steps": step, "score": float(step)})
        sink.close()
    seen = EventAccumulator(str(tmp_path)).Reload().Scalars("score")
    assert [event.step for event in seen] == list(range(100, 1100, 100))
    assert all(later.wall_time >= earlier.wall_time for earlier, later in pairwise(seen))
