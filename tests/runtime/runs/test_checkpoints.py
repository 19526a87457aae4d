import hashlib
import json
import os
import signal
import sys

import numpy as np
import pytest

from hydrahive.core.errors import CheckpointError
from hydrahive.runtime.runs.boundary import Block, Boundary, Progress
from hydrahive.runtime.runs.checkpoints import CheckpointStore, read_checkpoint


def block(number):
    return Block({"numbers": np.array([number]), "rows/rewards": np.full(9, number, np.float32)})


def boundary(updates, score=0.0, resumable=True, blocks=()):
    state = {
        "learner/weights/w": np.full(3, updates, np.float32),
        "learner/counters": np.array([updates, updates, updates * 10], np.int64),
        "shards/0/round": np.array([updates], np.int64),
        f"versions/{updates}": np.zeros(4, np.float32),
    }
    return Boundary(state, Progress(updates, updates * 10, 1, (score,), score), resumable, blocks)


def test_a_checkpoint_comes_back_equal(tmp_path):
    store = CheckpointStore(tmp_path)
    written = boundary(5, 2.5)
    path = store.write(written, 1.5, "class")
    checkpoint = read_checkpoint(path)
    assert checkpoint.boundary.progress == written.progress
    assert (checkpoint.seconds, checkpoint.machine_class) == (1.5, "class")
    assert checkpoint.boundary.digest() == checkpoint.digest == written.digest()
    assert checkpoint.boundary.state_digest() == checkpoint.state_digest
    np.testing.assert_array_equal(checkpoint.boundary.versions()[5], np.zeros(4))


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    path = CheckpointStore(tmp_path).write(boundary(1), 0, "c")
    assert {file.name for file in path.iterdir()} == {"state.safetensors", "manifest.json"}


@pytest.mark.parametrize("damage", ["truncated", "altered", "manifest", "format", "missing", "counts", "lacks"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    store = CheckpointStore(tmp_path)
    good, bad = store.write(boundary(1), 0, "c"), store.write(boundary(2), 0, "c")
    tensors, manifest = bad / "state.safetensors", bad / "manifest.json"
    if damage == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif damage == "altered":
        tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    elif damage == "manifest":
        manifest.write_text("{")
    elif damage == "format":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    elif damage == "counts":
        said = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**said, "progress": {**said["progress"], "env_steps": 999}}))
    elif damage == "lacks":
        said = json.loads(manifest.read_text())
        del said["machine_class"], said["manifest_sha256"]
        manifest.write_text(json.dumps(said))
    else:
        tensors.unlink()
    with pytest.raises(CheckpointError):
        read_checkpoint(bad)
    newest, passed_over = store.newest()
    assert newest.path == good
    assert len(passed_over) == 1
    assert bad.name in passed_over[0]
    assert store.write(boundary(3), 0, "c").is_dir(), "a damaged one is in nobody's way"
    assert store.newest()[0].path == store.newest(up_to=3)[0].path


def test_one_whose_arrays_an_older_version_sealed_is_read(tmp_path):
    path = CheckpointStore(tmp_path).write(boundary(1), 0, "c")
    said = json.loads((path / "manifest.json").read_text())
    del said["state_blake3"], said["manifest_sha256"]
    tensors = (path / "state.safetensors").read_bytes()
    for sealed, is_whole in ((tensors, True), (tensors[:-1] + b"?", False)):
        older = {**said, "state_sha256": hashlib.sha256(sealed).hexdigest()}
        (path / "manifest.json").write_text(json.dumps(older))
        if is_whole:
            assert read_checkpoint(path).digest == boundary(1).digest()
        else:
            with pytest.raises(CheckpointError, match="truncated or altered"):
                read_checkpoint(path)


def test_a_replays_blocks_are_written_once_and_a_damaged_one_again(tmp_path):
    store = CheckpointStore(tmp_path)
    store.write(boundary(1, blocks=(block(1),)), 0, "c")
    store.write(boundary(2, blocks=(block(1), block(2))), 0, "c")
    first, second = (tmp_path / "replay" / f"{block(number).digest}.safetensors" for number in (1, 2))
    written = first.stat().st_mtime_ns
    store.write(boundary(3, blocks=(block(1), block(2))), 0, "c")
    assert first.stat().st_mtime_ns == written
    newest, _ = store.newest(with_replay=True)
    assert [one.digest for one in newest.boundary.blocks] == [block(1).digest, block(2).digest]
    second.write_bytes(second.read_bytes()[:-1] + b"\x55")
    again = CheckpointStore(tmp_path)
    newest, passed_over = again.newest(with_replay=True)
    assert newest.boundary.updates == 1
    assert all(block(2).digest in reason for reason in passed_over)
    again.write(boundary(4, blocks=(block(2),)), 0, "c")
    assert again.newest(with_replay=True)[0].boundary.updates == 4


def test_the_newest_the_best_and_the_continuable_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for updates, score in [(1, 1.0), (2, 9.0), (3, 2.0), (4, 3.0), (5, 4.0)]:
        store.write(boundary(updates, score), 0, "c")
    store.write(boundary(6, 5.0, resumable=False), 0, "c")
    store.write(boundary(7, 5.0, resumable=False), 0, "c")
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 5, 6, 7]
    assert store.newest()[0].boundary.updates == 7
    assert store.newest(resumable=True)[0].boundary.updates == 5


def test_what_a_crash_left_half_written_is_never_read_and_later_removed(tmp_path):
    store = CheckpointStore(tmp_path)
    (tmp_path / "000000009.partial").mkdir(parents=True)
    assert store.newest() == (None, [])
    store.write(boundary(1), 0, "c")
    assert [path.name for path in tmp_path.iterdir()] == ["000000001"]


TOUCHES_THE_DISK = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.scandir",
    "os.listdir",
    "shutil.rmtree",
}


def write_and_die(store, at):
    """In a process of its own: write checkpoint 3, and die (SIGKILL) at the `at`-th touch of the disk; its exit code."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    touches = 0

    def touch(*_):
        nonlocal touches
        touches += 1
        if touches == at:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync

    def counted_fsync(descriptor):
        touch()
        fsync(descriptor)
        touch()

    os.fsync = counted_fsync
    sys.addaudithook(lambda event, arguments: touch() if event in TOUCHES_THE_DISK else None)
    store.write(boundary(3, 3.0, blocks=(block(2), block(3))), 0, "c")
    os._exit(0)


def test_killed_at_any_point_of_writing_the_newest_whole_one_is_used(tmp_path):
    """Point by point: before and after each file is opened, synced, renamed or removed."""
    found, at, code = [], 0, signal.SIGKILL
    while code != 0:
        at += 1
        store = CheckpointStore(tmp_path / str(at), keep=1)
        for updates in (1, 2):
            store.write(boundary(updates, float(updates), blocks=(block(1), block(2))), 0, "c")
        code = write_and_die(store, at)
        newest, passed_over = store.newest(resumable=True, with_replay=True)
        assert passed_over == []
        assert len(newest.boundary.blocks) == 2
        assert newest.boundary.state_digest() == boundary(newest.boundary.updates).state_digest()
        found.append(newest.boundary.updates)
        store.write(boundary(4, 4.0, blocks=(block(4),)), 0, "c")
        assert sorted(path.name for path in (tmp_path / str(at)).iterdir()) == ["000000004", "replay"]
        assert [path.stem for path in (tmp_path / str(at) / "replay").iterdir()] == [block(4).digest]
    assert at > 10
    assert found == sorted(found)
    assert set(found) == {2, 3}


def test_a_boundary_of_a_thousand_shards_is_sorted_out_once():
    state = {f"shards/{i}/{name}": np.full(1, i) for i in range(1024) for name in ("a", "carry/b")}
    boundary = Boundary({**state, "learner/weights": np.zeros(2)}, Progress(), True)
    passes = 0

    class Counted(dict):
        def items(self):
            nonlocal passes
            passes += 1
            return super().items()

    boundary = Boundary(Counted(boundary.state), Progress(), True)
    assert all(boundary.shard(i)["carry/b"] == i and len(boundary.shard(i)) == 2 for i in range(1024))
    assert boundary.shard(2000) == {}
    assert passes == 1
