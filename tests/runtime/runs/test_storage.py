"""Runs on a filesystem that is spoken to: what is stored is the run, and nothing relies on renaming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import TINY, Hydrahive, digests_of, wait_for
from hydrahive.core.durable import write_whole
from hydrahive.core.errors import UsageError
from hydrahive.runtime.runs.run_folder import RunFolder, runs_folder
from hydrahive.runtime.runs.sending import Sender
from hydrahive.runtime.runs.storage import Storage, scratch_of, storage_of
from hydrahive.runtime.runs.stored import StoredRun
from hydrahive.telemetry.jsonl import read_rows

RUN = [*TINY, "--shards", 2, "--boundary_every", 2, "--checkpoint.every_boundaries", 1, "--metrics_every", 1]
STEPS = 12_288


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYDRAHIVE_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def stored(tmp_path: Path) -> tuple[Hydrahive, Path]:
    """The command over runs at a URI, and the folder behind it."""
    place = tmp_path / "bucket"
    place.mkdir()
    hydrahive = Hydrahive(place, {"HYDRAHIVE_RUNS": f"file://{place}", "HYDRAHIVE_LEDGER": str(tmp_path / "l.sqlite")})
    return hydrahive, place


def test_a_stored_run_has_the_digest_and_files_of_any_other(tmp_path: Path, scratch: Path) -> None:
    hydrahive, place = stored(tmp_path)
    plain = Hydrahive(tmp_path / "plain").train("snake/vtrace", "run", *RUN, "--stop.env_steps", STEPS)
    hydrahive.train("snake/vtrace", "run", *RUN, "--stop.env_steps", STEPS)
    summary = json.loads((place / "run" / "summary.json").read_text())
    assert digests_of(summary) == digests_of(plain)

    def shape(folder: Path) -> set[str]:
        files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return {
            name for name in files if "tfevents" not in name and name not in ("lock", "state.json", "watch/shown.json")
        }

    assert shape(place / "run") == shape(tmp_path / "plain" / "run")
    shutil.rmtree(scratch)  # another machine
    assert str(plain["digest"]) in hydrahive("digest", "run").stdout
    assert "finished" in hydrahive("runs").stdout
    assert "nearest: run" in hydrahive("digest", "rum", code=2).stderr
    assert not (scratch_of(f"file://{place}") / "rum").exists()


def test_another_machine_goes_on_from_what_is_stored(tmp_path: Path, scratch: Path) -> None:
    hydrahive, place = stored(tmp_path)
    expected = Hydrahive(tmp_path / "plain").train("snake/vtrace", "run", *RUN, "--stop.env_steps", 8 * STEPS)
    options = [*RUN, "--stop.env_steps", 8 * STEPS]
    process = hydrahive.start_training("snake/vtrace", "run", *options)
    hydrahive.stop_at(process, "run", STEPS, signal.SIGKILL)
    shutil.rmtree(scratch)
    second = hydrahive("train", "snake/vtrace", "--name", "run", "--recording", "false", *options)
    assert "resuming at" in second.stderr
    assert digests_of(json.loads((place / "run" / "summary.json").read_text())) == digests_of(expected)

    def rows(folder: Path) -> list[tuple[int, int, float]]:
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [(row["updates"], row["env_steps"], row["loss"]) for row in lines]

    assert rows(place / "run") == rows(tmp_path / "plain" / "run"), "no row is written twice, or lost"
    assert "98,304 env steps paid and conserved" in hydrahive("ledger", "verify").stdout


def test_a_second_training_of_the_same_run_is_refused(tmp_path: Path, scratch: Path) -> None:
    hydrahive, _ = stored(tmp_path)
    options = [*RUN, "--stop.env_steps", 10**9]
    process = hydrahive.start_training("snake/vtrace", "run", *options)
    try:
        while not (tmp_path / "bucket" / "run" / "checkpoints").is_dir():
            assert process.poll() is None
        assert "is being trained" in hydrahive("train", "snake/vtrace", "--name", "run", *options, code=2).stderr
        assert len(hydrahive("digest", "run").stdout.split()[0]) == 64, "reading is not refused"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def run_with(folder: Path, checkpoints: dict[str, str]) -> RunFolder:
    """A folder that looks like a run: checkpoints by name, each with what its one array file holds."""
    for name, text in checkpoints.items():
        path = folder / "checkpoints" / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "state.safetensors").write_text(text)
        (path / "manifest.json").write_text(json.dumps({"of": text}))
    (folder / "run.json").write_text("{}")
    return RunFolder(folder)


CHANGES = 9
"""That `store` makes in the tests below at most."""


class Failing(Storage):
    """A storage that fails at its nth change."""

    left = 10**9

    def _change(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError("the network is gone")

    def write(self, path: str, data: bytes, mode: int = 0o666) -> None:
        self._change()
        super().write(path, data, mode)

    def remove(self, path: str) -> None:
        self._change()
        super().remove(path)


def whole(place: Path) -> dict[str, str]:
    """The checkpoints that a storage holds completely, each with what its array file holds."""
    found = {}
    for manifest in (place / "run" / "checkpoints").glob("*/manifest.json"):
        text = (manifest.parent / "state.safetensors").read_text()
        assert json.loads(manifest.read_text())["of"] == text, "a manifest speaks of other bytes"
        found[manifest.parent.name] = text
    return found


def test_a_storage_that_is_away_for_a_moment_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydrahive.runtime.runs.sending.PAUSES", (0.01, 0.02))
    place, here = tmp_path / "bucket", tmp_path / "here" / "run"
    place.mkdir()
    storage, said = Failing(f"file://{place}"), []
    run_with(here, {"1": "a", "2": "b"})
    storage.left = 2
    sender = Sender(StoredRun(storage, "run", here).store)
    first, second = sender.ask(), sender.ask()
    assert (first, second) == (1, 2)
    wait_for(lambda: storage.left < -5, "attempts", 20)
    assert sender.done == 0
    assert whole(place) == {}, "training goes on meanwhile"
    storage.left = 10**9  # it is there again
    wait_for(lambda: sender.done == second, "the storage", 20)
    assert whole(place) == {"1": "a", "2": "b"}
    sender.look(lambda *event: said.append(event))
    assert [kind for kind, _ in said] == ["storage_away", "storage_back"]
    assert "the network is gone" in said[0][1]
    storage.left = 0
    run_with(here, {"3": "c"})
    sender.ask()
    with pytest.raises(OSError, match="the network is gone"):
        sender.finish(0.3, lambda *event: said.append(event))
    wait_for(lambda: not any(one.name == "storing" for one in threading.enumerate()), "its thread to end", 20)
    storage.left = 10**9
    sender.ask()
    sender.finish(20, lambda *event: said.append(event))
    assert whole(place) == {"1": "a", "2": "b", "3": "c"}


def test_what_cannot_be_mended_ends_storing(tmp_path: Path) -> None:
    place, here = tmp_path / "bucket", tmp_path / "here" / "run"
    place.mkdir()
    run_with(here, {"1": "a"})
    mirror = StoredRun(Storage(f"file://{place}"), "run", here)

    def lost() -> None:
        raise UsageError("somebody else has it")

    mirror.see_claim = lost
    sender = Sender(mirror.store)
    sender.ask()
    with pytest.raises(UsageError):
        sender.finish(20, lambda *_: None)
    with pytest.raises(UsageError):
        sender.ask()
    assert not list(place.iterdir())


class Counting(Failing):
    """Counts the bytes that are written."""

    bytes = 0

    def write(self, path: str, data: bytes, mode: int = 0o666) -> None:
        super().write(path, data, mode)
        self.bytes += len(data)


def lines(count: int, begin: int = 0) -> bytes:
    return b"".join(f'{{"updates": {i}, "loss": 0.5}}\n'.encode() for i in range(begin, begin + count))


def test_rows_are_stored_in_parts_and_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydrahive.runtime.runs.stored.PART_BYTES", 1000)
    place, here, there = tmp_path / "bucket", tmp_path / "here" / "run", tmp_path / "there" / "run"
    place.mkdir()
    storage = Counting(f"file://{place}")
    run_with(here, {"1": "a"})
    mirror = StoredRun(storage, "run", here)
    rows = here / "metrics.jsonl"
    costs = []
    for step in range(40):
        with rows.open("ab") as file:
            file.write(lines(7, 7 * step))
        before = storage.bytes
        mirror.store()
        costs.append(storage.bytes - before)
    assert max(costs[1:]) <= 1000 + 2 * 7 * 30, "what an upload costs does not grow"
    assert rows.stat().st_size > 8000
    StoredRun(storage, "run", there).fetch()
    assert (there / "metrics.jsonl").read_bytes() == rows.read_bytes()
    # A run that goes on from before: rows are cut off, and others written.
    other = StoredRun(storage, "run", there)
    other.fetch()
    for left, new in ((200, 0), (33, 2), (33, 0), (1, 500)):
        write_whole(there / "metrics.jsonl", lines(left) + lines(new, 1000))
        other.store()
        StoredRun(storage, "run", here).fetch()
        assert rows.read_bytes() == (there / "metrics.jsonl").read_bytes()
    stored_parts = [path.name for path in (place / "run").iterdir() if path.name.startswith("metrics")]
    assert len(stored_parts) == len(rows.read_bytes()) // 1000 + 1


def test_rows_before_a_cut_are_there_whenever_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydrahive.runtime.runs.stored.PART_BYTES", 100)
    for fails_at in range(12):
        place, here = tmp_path / f"bucket{fails_at}", tmp_path / f"here{fails_at}" / "run"
        place.mkdir()
        storage = Failing(f"file://{place}")
        run_with(here, {"1": "a"})
        (here / "metrics.jsonl").write_bytes(lines(40))
        mirror = StoredRun(storage, "run", here)
        mirror.store()
        write_whole(here / "metrics.jsonl", lines(25) + lines(2, 1000))
        storage.left = fails_at
        with suppress(OSError):
            mirror.store()
        fresh = StoredRun(storage, "run", tmp_path / f"there{fails_at}" / "run")
        fresh.fetch()
        assert (tmp_path / f"there{fails_at}" / "run" / "metrics.jsonl").read_bytes().startswith(lines(25))
        storage.left = 10**9
        mirror.store()
        fresh.fetch()
        assert (tmp_path / f"there{fails_at}" / "run" / "metrics.jsonl").read_bytes() == lines(25) + lines(2, 1000)


def test_training_goes_on_while_the_storage_is_away_and_payment_waits(tmp_path: Path, scratch: Path) -> None:
    """The bucket is taken away while a run is trained; it comes back before the end."""
    hydrahive, place = stored(tmp_path)
    process = hydrahive.start_training("snake/vtrace", "run", *RUN, "--stop.env_steps", 10**9)
    copy = scratch_of(f"file://{place}") / "run"
    kinds = lambda: [row["kind"] for row in read_rows(copy / "events.jsonl", "kind")]  # noqa: E731

    def paid() -> int:
        rows = hydrahive("ledger", "balance", "--json").stdout.splitlines()
        return sum(json.loads(row)["env_steps"] for row in rows)

    try:
        wait_for(lambda: (place / "run" / "checkpoints").is_dir(), "a checkpoint", 60)
        place.rename(tmp_path / "away")
        place.write_text("no folder")  # nothing can be written into it
        wait_for(lambda: "storage_away" in kinds(), "trouble", 60)
        time.sleep(1)
        before, rows = paid(), len((copy / "metrics.jsonl").read_bytes())
        time.sleep(3)
        assert len((copy / "metrics.jsonl").read_bytes()) > rows, "it is trained on"
        assert paid() == before, "nothing is paid that could be lost"
        place.unlink()
        (tmp_path / "away").rename(place)
        wait_for(lambda: "storage_back" in kinds(), "the storage", 60)
        wait_for(lambda: paid() > before, "payment", 60)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    hydrahive("digest", "run")


def test_whenever_it_fails_what_is_stored_is_whole(tmp_path: Path) -> None:
    """A checkpoint is replaced by another of the same number, one goes and one comes: stopped after each change."""
    for fails_at in range(CHANGES + 1):
        place, here = tmp_path / f"bucket{fails_at}", tmp_path / f"here{fails_at}" / "run"
        place.mkdir()
        storage = Failing(f"file://{place}")
        run_with(here, {"1": "a", "2": "b", "3": "c"})
        mirror = StoredRun(storage, "run", here)
        mirror.store()
        shutil.rmtree(here / "checkpoints" / "1")
        run_with(here, {"3": "other", "4": "d"})
        storage.left = fails_at
        if fails_at < CHANGES:
            with pytest.raises(OSError, match="the network is gone"):
                mirror.store()
            found = whole(place)
            assert found["2"] == "b", "what stays is never touched"
            assert set(found.items()) <= {("1", "a"), ("2", "b"), ("3", "c"), ("3", "other"), ("4", "d")}
            storage.left = 10**9
        mirror.store()
        assert storage.left >= 0
        assert whole(place) == {"2": "b", "3": "other", "4": "d"}
    assert not list(tmp_path.rglob("*.partial"))


def test_where_one_checkpoint_is_kept_there_is_always_one(tmp_path: Path) -> None:
    for fails_at in range(CHANGES):
        place, here = tmp_path / f"bucket{fails_at}", tmp_path / f"here{fails_at}" / "run"
        place.mkdir()
        storage = Failing(f"file://{place}")
        run_with(here, {"1": "a"})
        mirror = StoredRun(storage, "run", here)
        mirror.store()
        shutil.rmtree(here / "checkpoints" / "1")
        run_with(here, {"2": "b"})
        storage.left = fails_at
        with suppress(OSError):
            mirror.store()
        assert whole(place)
    assert whole(place) == {"2": "b"}
    assert not (place / "run" / "checkpoints" / "1").exists()


def test_a_run_that_goes_on_has_no_summary_there(tmp_path: Path) -> None:
    """Else another machine would take it for finished, with what it came to before."""
    place, here = tmp_path / "bucket", tmp_path / "here" / "run"
    place.mkdir()
    run_with(here, {"1": "a"})
    (here / "summary.json").write_text("{}")
    (here / "secret").write_text("00")
    StoredRun(Storage(f"file://{place}"), "run", here).store()
    assert (place / "run" / "summary.json").exists()
    assert (place / "run" / "secret").stat().st_mode & 0o777 == 0o600
    later = StoredRun(Storage(f"file://{place}"), "run", here)
    later.fetch()
    (here / "summary.json").unlink()
    later.store()
    assert not (place / "run" / "summary.json").exists()


def test_what_opens_a_storage_is_not_told() -> None:
    storage = Storage("memory://key:word@runs")
    assert storage.shown == "memory://runs"


def test_what_was_half_stored_is_not_fetched(tmp_path: Path) -> None:
    place = tmp_path / "bucket"
    run_with(place / "run", {"1": "a", "2": "b"})
    (place / "run" / "checkpoints" / "2" / "manifest.json").unlink()
    (place / "run" / "secret").write_text("00")
    there = tmp_path / "there" / "run"
    run_with(there, {"9": "stale"})
    (there / "lock").write_text("")
    StoredRun(Storage(f"file://{place}"), "run", there).fetch()
    assert sorted(path.name for path in (there / "checkpoints").iterdir()) == ["1"]
    assert (there / "secret").stat().st_mode & 0o777 == 0o600
    assert (there / "lock").is_file(), "what is between processes of this machine stays"


def test_without_a_run_there_is_no_copy(tmp_path: Path) -> None:
    there = tmp_path / "there" / "run"
    run_with(there, {"9": "stale"})
    StoredRun(Storage(f"file://{tmp_path / 'bucket'}"), "run", there).fetch()
    assert not RunFolder(there).exists()
    assert not list((there / "checkpoints").iterdir())


def test_nothing_is_sent_twice(tmp_path: Path) -> None:
    place, here = tmp_path / "bucket", tmp_path / "here" / "run"
    place.mkdir()
    storage = Failing(f"file://{place}")
    run_with(here, {"1": "a"})
    StoredRun(storage, "run", here).store()
    later = StoredRun(storage, "run", here)
    later.fetch()
    storage.left = 0
    later.store()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("nowhere://bucket/runs", "nowhere://bucket/runs"),
        ("file:///proc/runs", "cannot write to file:///proc/runs"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(tmp_path: Path, scratch: Path, uri: str, says: str) -> None:
    hydrahive = Hydrahive(tmp_path, {"HYDRAHIVE_RUNS": uri, "HYDRAHIVE_LEDGER": str(tmp_path / "l.sqlite")})
    said = hydrahive("train", "snake/vtrace", *TINY, code=2).stderr
    assert says in said
    assert len(said.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    said = Hydrahive(tmp_path)("train", "snake/vtrace", *TINY, "--runs", "/proc/runs", code=2).stderr
    assert said.startswith("hydrahive: error: --runs: cannot write to /proc/runs")
    assert len(said.splitlines()) == 1


def test_a_ledger_must_be_named(tmp_path: Path, scratch: Path) -> None:
    hydrahive = Hydrahive(tmp_path, {"HYDRAHIVE_RUNS": f"file://{tmp_path}/bucket"})
    said = hydrahive("train", "snake/vtrace", *TINY, code=2).stderr
    assert said.startswith("hydrahive: error: HYDRAHIVE_LEDGER: runs at a URI")
    assert not (tmp_path / "bucket").exists()


def test_a_relative_folder_is_refused_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("HYDRAHIVE_RUNS", "runs")
    with pytest.raises(UsageError, match="an absolute folder is required"):
        runs_folder(None)
    assert runs_folder("/tmp/runs") == Path("/tmp/runs")


def test_sweeps_want_a_folder(tmp_path: Path, scratch: Path) -> None:
    said = Hydrahive(tmp_path)("tune", "run", "sweeps/snake-pbt", "--runs", f"file://{tmp_path}", code=2).stderr
    assert "mount the storage" in said


def test_fsspec_speaks_what_pyarrow_does_not(tmp_path: Path) -> None:
    storage = Storage("memory://runs")
    storage.prove_writable()
    storage.write("a/b", b"c")
    assert storage.read("a/b") == b"c"
    assert storage.files("a") == ["b"]
    assert storage.names() == ["a"]
    storage.remove("a")
    assert storage.names() == []


def test_a_scratch_knows_its_storage(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRAHIVE_RUNS", f"file://{tmp_path}/bucket/")
    folder = runs_folder(None)
    assert folder.parent == scratch
    assert storage_of(folder).uri == f"file://{tmp_path}/bucket"
    assert runs_folder(f"file://{tmp_path}/bucket") == folder
    assert storage_of(tmp_path) is None
    monkeypatch.setenv("HYDRAHIVE_SCRATCH", "/proc/scratch")
    with pytest.raises(UsageError, match="HYDRAHIVE_SCRATCH"):
        runs_folder(None)
    assert os.path.isdir(folder)


PILOT = {"every": 1, "episodes": 4, "search": {"space": {"algorithm.discount": {"uniform": [0.9, 0.999]}}, "settle": 2}}


def test_a_piloted_run_goes_on_from_what_is_stored(tmp_path: Path, scratch: Path) -> None:
    """What was decided is there before any checkpoint that was made with it."""
    hydrahive, place = stored(tmp_path)
    options = [*RUN, "--stop.env_steps", 8 * STEPS, "--pilot", json.dumps(PILOT)]
    expected = Hydrahive(tmp_path / "plain").train("snake/vtrace", "run", *options)
    for steps in (2 * STEPS, 5 * STEPS):
        process = hydrahive.start_training("snake/vtrace", "run", *options)
        hydrahive.stop_at(process, "run", steps, signal.SIGKILL)
        shutil.rmtree(scratch)
    hydrahive("train", "snake/vtrace", "--name", "run", "--recording", "false", *options)
    summary = json.loads((place / "run" / "summary.json").read_text())
    assert digests_of(summary) == digests_of(expected)
    assert summary["pilot"] == expected["pilot"]
    for file in ("pilot.jsonl", "best.json", "piloted.yaml"):
        theirs = (tmp_path / "plain" / "run" / file).read_bytes()
        assert (place / "run" / file).read_bytes() == theirs
