"""Mutated snapshots, fragments, states, manifests and postings: refused in a line or taken, never more than that.

100,000 of them by `make claims`, a share of it in `make test`. HTTP bodies are fuzzed against the real server
(`tests/serving`), by schemathesis and by hand.
"""

from __future__ import annotations

import copy
import json
import random
import resource
import sys
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
from test_snapshots_are_data import RAN, Enemy, Field

from conftest import FULL
from hydrahive.core.errors import CheckpointError, HydrahiveError, RefusedWorkError, StateRefusedError
from hydrahive.core.fragment import FragmentId
from hydrahive.core.state import as_json_array, from_json_array
from hydrahive.envs.plain import state as plain_state
from hydrahive.ledger.posting import sealed
from hydrahive.ledger.verification import verify
from hydrahive.runtime.accounting.run_accounts import read_outbox
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.roles import intake
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.runs.boundary import Boundary, Progress
from hydrahive.runtime.runs.checkpoints import CheckpointStore, read_checkpoint
from ledger.books import KEY, opened, posting

EACH = 100_000 if FULL else 5_000
GROWTH_MIB = 200

JUNK = [
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, "", "a", "../../x", "\x00", "é" * 50,
    [], [[]], {}, {"a": 1}, {"flag": ["os", "system", "x"]}, {"named": ["builtins", "eval"]}, {"same": 0}, {"same": 99},
    {"constant": "x"}, {"tuple": []}, {"array": "env.board"}, {"view": [{"same": 0}, 0, "<i8", [9], [8]]},
    {"generator": {"dict": [[["bit_generator", "PCG64"]]]}}, {"object": [["subprocess", "Popen"], []]}, {"holder": []},
    {"list": [1]}, {"deque": [1, [1, 2]]}, {"scalar": "env.board"}, {"text": ["env.board", "<U1", [1]]},
]  # fmt: skip
"""What stands where something else should."""


def mutated(value, draw: random.Random):
    """A copy of plain data with one to three places changed: something else there, nothing there, twice, or swapped."""
    made = copy.deepcopy(value)
    for _ in range(draw.randint(1, 3)):
        made = _changed(made, draw, draw.randint(0, 6))
    return made


def _changed(value, draw: random.Random, depth: int):
    below = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not below or not depth:
        return copy.deepcopy(draw.choice(JUNK)) if draw.random() < 0.8 else value
    at = draw.choice(below)
    how = draw.random()
    if how < 0.05:
        del value[at]
    elif how < 0.1 and isinstance(value, list):
        value.insert(at, copy.deepcopy(value[draw.choice(below)]))
    elif how < 0.13 and isinstance(value, dict):
        value[str(draw.choice(JUNK))] = value.pop(at)
    else:
        value[at] = _changed(value[at], draw, depth - 1)
    return value


def mutated_array(array: np.ndarray, draw: random.Random) -> object:
    """Another type, another shape, other values; or no array."""
    how = draw.randrange(7)
    if how == 0:
        return array.astype(draw.choice([np.float64, np.int8, np.bool_, np.complex64, object]))
    if how == 1:
        return array[: draw.randint(0, len(array))] if array.ndim else array
    if how == 2:
        return np.repeat(array, 2, axis=0) if array.ndim else array
    if how == 3:
        return array.reshape(-1)
    if how == 4 and array.size:
        made = array.copy()
        place = draw.randrange(made.size)
        made.reshape(-1).view(np.uint8)[place * made.itemsize] ^= 1 << draw.randrange(8)
        return made
    if how == 5 and array.size and array.dtype.kind == "f":
        made = array.copy()
        made.reshape(-1)[draw.randrange(made.size)] = draw.choice([np.nan, np.inf, -np.inf, 1e38])
        return made
    return draw.choice([None, "array", [1, 2], 5, np.zeros(0)])


class Watched:
    """Sees that nothing is imported or left running, and that memory does not grow."""

    def __enter__(self):
        self.modules, self.memory = set(sys.modules), _peak_mib()
        self.came, self.said = Counter(), set()
        return self

    def hear(self, refused):
        """A refusal."""
        self.came["refused"] += 1
        self.said.add(str(refused))

    def __exit__(self, *failed):
        if failed[0] is None:
            assert set(sys.modules) == self.modules, "something was imported"
            assert _peak_mib() - self.memory < GROWTH_MIB
            assert self.came["refused"], "the mutations are too tame"
            assert not [text for text in self.said if "\n" in text or len(text) > 2000]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_snapshots():
    field = Field()
    field.enemies.append(Enemy())
    state = plain_state.capture(field)
    tree, draw, fresh = from_json_array(state["tree"]), random.Random(1), Field()
    names = plain_state.Names.of(fresh)
    RAN.clear()
    with Watched() as watched:
        for _ in range(EACH):
            given = {**state, "tree": as_json_array(mutated(tree, draw))}
            if draw.random() < 0.3:
                name = draw.choice([name for name in state if name != "tree"])
                given[name] = mutated_array(state[name], draw)
            if draw.random() < 0.1:
                text = bytearray(state["tree"].tobytes())
                text[draw.randrange(len(text))] = draw.randrange(256)
                given["tree"] = np.frombuffer(bytes(text), np.uint8)
            try:
                plain_state.restore(Field.__new__(Field) if draw.random() < 0.1 else Field(), given, names)
                watched.came["taken"] += 1
            except StateRefusedError as refused:
                watched.hear(refused)
            RAN[:] = [ran for ran in RAN if "was made" not in ran and "__setattr__" not in ran]
    assert RAN == [], "nothing of the environment's own ran but the building of it"


@pytest.fixture(scope="module")
def honest():
    config = load_run_config(shipped_experiments()["snake/vtrace"], ["--env.size=9", "--envs_per_shard=4"])
    worker, learner = EnvWorker(config, "run"), Learner(config, "cpu")
    worker.adopt(0, None)
    fragments, summaries = worker.simulate([0], 0, 0, learner.weights())
    return config, fragments[0], summaries[0], worker.snapshot(0)


def test_fragments_and_what_is_said_of_them(honest):
    config, fragment, summary, state = honest
    look, draw = intake.Intake(config), random.Random(2)
    arrays = [field.name for field in fields(fragment) if isinstance(getattr(fragment, field.name), np.ndarray)]
    said = [field.name for field in fields(summary)]
    leased = [intake.Leased(FragmentId("run", 0, 0, 0), 0, summary.env_steps)]
    with Watched() as watched:
        for _ in range(EACH):
            try:
                how = draw.random()
                if how < 0.5:
                    name = draw.choice(arrays)
                    look.fragments([replace(fragment, **{name: mutated_array(getattr(fragment, name), draw)})], leased)
                elif how < 0.8:
                    name = draw.choice(said)
                    value = getattr(summary, name)
                    value = mutated_array(value, draw) if isinstance(value, np.ndarray) else draw.choice(JUNK)
                    intake.summaries(config, [replace(summary, **{name: value})], [0], 0)
                elif how < 0.9:
                    name = draw.choice(list(state))
                    intake.shard_state(config, {**state, name: mutated_array(state[name], draw)}, 0, 1)
                else:
                    part = draw.choice(
                        [None, [], [1], [fragment, fragment], {0: fragment}, fragment, "x", [[fragment]]]
                    )
                    draw.choice([lambda p: look.fragments(p, leased), lambda p: intake.summaries(config, p, [0], 0),
                                 lambda p: intake.positions(p, 4)])(part)  # fmt: skip
                watched.came["taken"] += 1
            except RefusedWorkError as refused:
                watched.hear(refused)
    assert watched.came["refused"] > EACH // 3


def test_manifests(tmp_path):
    store = CheckpointStore(tmp_path)
    boundary = Boundary({"learner/counters": np.arange(3), "shards/0/round": np.array([4])}, Progress(4, 100), True)
    path = store.write(boundary, 1.0, "here", fingerprint={"numerics": "3"}, outbox=b"[]", standings={"valid": {}})
    good, draw = json.loads((path / "manifest.json").read_text()), random.Random(3)
    del good["manifest_sha256"]  # as whoever can write the folder can make it anew
    with Watched() as watched:
        for _ in range(EACH if FULL else EACH // 5):
            (path / "manifest.json").write_text(json.dumps(mutated(good, draw)))
            try:
                read_checkpoint(path, with_replay=True)
                store.newest()
                watched.came["taken"] += 1
            except CheckpointError as refused:
                watched.hear(refused)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_postings(tmp_path):
    ledger = opened(tmp_path / "ledger.sqlite")
    draw, paid = random.Random(4), 0
    with Watched() as watched:
        for i in range(EACH if FULL else EACH // 5):
            at = i % 50
            good = sealed(posting(at, at + 1, unproven=("w0",)), KEY).as_plain()
            changed = mutated(good, draw)
            try:
                (given,) = read_outbox(json.dumps([changed]).encode())
                if draw.random() < 0.7:
                    given = sealed(given.posting, KEY)  # the run itself is whoever is dishonest
                ledger.work.settle(given)
                watched.came["taken"] += 1
            except HydrahiveError as refused:
                watched.hear(refused)
    paid = ledger.journal.account("alice")
    assert verify(ledger.journal).problem is None or "env steps that the learner" in verify(ledger.journal).problem
    assert paid is None or paid.balance <= 50 * 10**6 * 512
