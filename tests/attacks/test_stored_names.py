"""T2: an object store takes any name; none leads out of a run's folder, neither when it is read nor when removed."""

import json
import os
import shutil
import subprocess
import sys

import fsspec
import pytest

from conftest import Hydrahive
from hydrahive.core.errors import CheckpointError, StoredNamesError
from hydrahive.runtime.runs.checkpoints import CheckpointStore, read_checkpoint
from hydrahive.runtime.runs.storage import Storage
from hydrahive.runtime.runs.stored import StoredRun, is_known

LEADING_OUT = ["../../outside.txt", "checkpoints/../manifest.json", "checkpoints/000000008/../../../x", "./run.json"]


def stored(name, keys):
    """A run in a store whose keys are just text."""
    spoken = fsspec.filesystem("memory")
    spoken.store.clear()
    for key in keys:
        path = f"/store/{name}/{key}"
        file = fsspec.implementations.memory.MemoryFile(spoken, path, data=b"{}")
        spoken.store[path] = file
    return spoken, Storage("memory://store")


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("key", LEADING_OUT)
def test_a_key_that_leads_out_is_neither_fetched_nor_removed(tmp_path, key):
    spoken, storage = stored("u1", ["run.json", "config.yaml", key])
    before = set(spoken.store)
    run = StoredRun(storage, "u1", tmp_path / "a" / "b" / "u1")
    (tmp_path / "a" / "manifest.json").parent.mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir()
    (tmp_path / "a" / "b" / "outside").write_text("kept")
    with pytest.raises(StoredNamesError, match="leads out of 'u1'; nothing was read"):
        run.fetch()
    with pytest.raises(StoredNamesError, match="leads out of 'u1'"):
        run.store()
    assert files_below(tmp_path) == ["a/b/outside"]
    assert set(spoken.store) == before


def test_what_is_no_file_of_a_run_is_left_where_it_is(tmp_path):
    """A person's notes, another program's files, and what would speak to a process that trains here."""
    strange = ["request.json", "state.json", "lock", ".bashrc", "sitecustomize.py", "notes/todo.txt", "a b.json"]
    spoken, storage = stored("u1", ["run.json", *strange, "checkpoints/evil/manifest.json", "checkpoints/8/x.so"])
    run = StoredRun(storage, "u1", tmp_path / "u1")
    run.fetch()
    assert files_below(tmp_path) == ["u1/run.json"]
    (tmp_path / "u1" / "summary.json").write_text("{}")
    run.store()
    assert {f"/store/u1/{key}" for key in strange} <= set(spoken.store)
    assert "/store/u1/summary.json" in spoken.store


def test_every_file_that_a_run_leaves_is_known(tmp_path):
    """Else it would be lost with the machine that trained it."""
    sizes = [
        "--env.size",
        "9",
        "--fragment_length",
        "64",
        "--boundary_every",
        "2",
        "--stop.env_steps",
        "80_000",
        "--workers",
        "0",
    ]
    Hydrahive(tmp_path)("train", "snake/ath-q", "--name", "r", *sizes)
    here = [
        name
        for name in files_below(tmp_path / "r")
        if name not in ("lock", "driver.json", "state.json", "watch/shown.json")
    ]
    assert len(here) > 8
    assert [name for name in here if not is_known(name)] == []
    checkpoint = sorted((tmp_path / "r" / "checkpoints").glob("0*"))[-1]
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert manifest["replay_blocks"]
    manifest |= {"replay_blocks": ["../../../../etc/hostname"]}
    del manifest["manifest_sha256"]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="which is no digest"):
        read_checkpoint(checkpoint, with_replay=True)
    shutil.rmtree(checkpoint)
    assert CheckpointStore(checkpoint.parent).newest()[0] is not None


def test_a_listing_passes_over_a_run_that_leads_out(tmp_path):
    """Over files that are named as in an object store, by a filesystem that reads them from a zip."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "runs.zip", "w") as archive:
        for key in ("good/notes.txt", "bad/run.json", "bad/../../outside.txt"):
            archive.writestr(key, "{}")
    command = [sys.executable, "-m", "hydrahive.cli.main", "runs", "--runs", f"zip://::file://{tmp_path}/runs.zip"]
    environment = {**os.environ, "HYDRAHIVE_SCRATCH": str(tmp_path / "scratch")}
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert [told.returncode, told.stderr.count("\n"), "Traceback" in told.stderr] == [0, 1, False], told.stderr
    assert "run 'bad' is passed over" in told.stderr
    assert not (tmp_path / "outside.txt").exists()
    assert not list(tmp_path.rglob("outside.txt"))
