"""What is lost is made again with the same bytes: the schedule over plain objects that are made to fail, without Ray."""

import pytest

from conftest import FULL, ROOT
from hydrahive.core.errors import FragmentError, HydrahiveError, LearnerLostError, LostError
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.refs import Ref, Stock
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.replay import Replay
from hydrahive.runtime.schedule.schedules import schedule_of

SIZES = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
SIZES += ["--fragment_length=8", "--boundary_every=5", "--learner.slices=2", "--stop.env_steps=2000"]


class Failed:
    """The result of a call that failed."""

    def __init__(self, error):
        self.error = error


class Late:
    """The result of a call on a frozen worker."""

    def __init__(self, worker):
        self.worker = worker


class FragileFleet(InlineFleet):
    """Several workers in this process; `plan` says in which call which worker dies or which result is lost."""

    def __init__(self, config, plan, workers=3):
        super().__init__(config, "run", "cpu")
        self._workers = {worker: EnvWorker(config, "run") for worker in range(workers)}
        self._plan, self._calls = plan, 0
        self._frozen = set()
        self.events = []
        self.listener = lambda kind, text, **fields: self.events.append((kind, text))

    @property
    def worker_count(self):
        return len(self._workers)

    def workers(self):
        return sorted(self._workers)

    def get(self, ref):
        if isinstance(ref, Failed):
            raise ref.error
        if isinstance(ref, Late):
            raise LostError(f"worker {ref.worker} was ended while it was frozen")
        return ref

    def ready(self, refs, timeout_s):
        return not any(isinstance(ref, Late) and ref.worker in self._workers for ref in refs)

    def dismiss(self, worker, why):
        del self._workers[worker]

    def adopt(self, worker, shard, state):
        self._on(worker, lambda target: target.adopt(shard, self.get(state)))

    def release(self, worker, shard):
        self._on(worker, lambda target: target.release(shard))

    def snapshot(self, worker, shard):
        return self._on(worker, lambda target: target.snapshot(shard))

    def simulate(self, worker, shards, round_, version, weights):
        self._calls += 1
        what = self._plan.get(self._calls)
        if what == "die":
            self._workers.pop(worker, None)
        elif what == "freeze":
            self._frozen.add(worker)
        elif what == "join":
            self._workers[max(self._workers) + 1] = EnvWorker(self._config, "run")
        result = self._on(worker, lambda target: target.simulate(shards, round_, version, self.get(weights)))
        if isinstance(result, Late):
            return result, result
        if what == "lose result" or isinstance(result, Failed):
            failed = result if isinstance(result, Failed) else Failed(LostError("the object is gone"))
            return failed, failed
        return result

    def update(self, version, parts, sample, *, keep_actions):
        self._calls += 1
        if self._plan.get(self._calls) == "lose update":
            return tuple(Failed(LostError("an argument is gone")) for _ in range(3))
        if self._plan.get(self._calls) == "lose replay":
            self._replay = None
        return self._or_failed(
            3, lambda: super(FragileFleet, self).update(version, parts, sample, keep_actions=keep_actions)
        )

    def take(self, round_, fragments, summaries, judged):
        if self._replay is None:
            return Failed(LostError("the replay is gone")), Failed(LostError("the replay is gone"))
        return self._or_failed(2, lambda: super(FragileFleet, self).take(round_, fragments, summaries, judged))

    def replay_state(self, since):
        return super().replay_state(since) if self._replay else Failed(LostError("the replay is gone"))

    def _or_failed(self, results, call):
        try:
            return call()
        except LostError as error:
            return tuple(Failed(error) for _ in range(results))

    def stock(self):
        self._workers = {name: worker for name, worker in self._workers.items() if name not in self._frozen}
        if not self._workers:
            self._workers[99] = EnvWorker(self._config, "run")
        if self._config.replay and self._replay is None:
            raise LearnerLostError("the replay is gone")
        positions = {name: worker.positions() for name, worker in self._workers.items()}
        taken = self._replay.position() if self._replay else None
        return Stock(self._learner.position(), positions, replay_position=taken)

    def _on(self, worker, call):
        if worker not in self._workers:
            return Failed(LostError(f"worker {worker} is gone"))
        if worker in self._frozen:
            return Late(worker)
        try:
            return Ref(call(self._workers[worker]))
        except (LostError, FragmentError) as error:
            return Failed(error)


def trained(config, fleet):
    """The digests of all boundaries; as the Trainer does, the run goes back to the last one when learner or replay are
    gone."""
    digests, start = {}, None
    while True:
        try:
            for update in schedule_of(config, fleet, start).updates():
                if update.boundary:
                    digests[update.progress.updates] = update.boundary.state_digest()
                    start = update.boundary if update.boundary.resumable else start
        except LearnerLostError:
            fleet.renew(everything=True)
            fleet._replay = Replay(config)
            fleet.listener("went back", "")
            if start:
                fleet.restore_learner(start.learner())
                fleet.restore_replay(start.replay(), [block.arrays for block in start.blocks])
        else:
            return digests


REPLAY = ["--replay=Ath", "--replay.capacity=1200", "--replay.ratio=0.5", "--policy.core=Gru", "--policy.core.hidden=8"]


@pytest.fixture(params=[(0, []), (1, []), (3, []), (1, REPLAY)], ids=["lag 0", "lag 1", "lag 3", "replay"])
def config(request):
    lag, options = request.param
    return load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, f"--lag={lag}", *options])


CALLS = {
    (False, True): (1, 2, 3, 4, 7, 10, 13, 18, 21, 22, 23, 24, 25, 37, 60, 75),
    (False, False): (7, 22, 60),
    (True, True): (4, 7, 22, 23, 60),
    (True, False): (7, 23),
}
"""In which calls something is lost: with a replay or without, at full size or small."""


@pytest.mark.parametrize("what", ["die", "lose result", "lose update", "join"])
def test_every_boundary_is_the_same_whatever_is_lost_and_when(config, what):
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    for call in CALLS[config.replay is not None, FULL]:
        fleet = FragileFleet(config, {call: what})
        assert trained(config, fleet) == undisturbed, f"{what} in call {call}: {fleet.events}"


def test_every_boundary_is_the_same_when_the_replay_is_lost():
    config = load_run_config(shipped_experiments()["snake/vtrace"], [*SIZES, *REPLAY])
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    back = 0
    for call in (7, 11, 23, 27, 47):  # updates
        fleet = FragileFleet(config, {call: "lose replay"})
        assert trained(config, fleet) == undisturbed, f"in call {call}: {fleet.events}"
        back += sum(kind == "went back" for kind, _ in fleet.events)
    assert back == 5


def test_a_straggler_is_hedged_and_ended(config, monkeypatch):
    monkeypatch.setattr("hydrahive.runtime.schedule.hedging.HEDGE_SECONDS", -1)
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    hedged = 0
    calls = (14, 18, 21, 22, 23, 24, 25, 37, 60) if FULL else (18, 22, 37)
    for call in calls:
        fleet = FragileFleet(config, {call: "freeze", 2 * call: "die", 3 * call: "join"}, workers=4)
        assert trained(config, fleet) == undisturbed, f"frozen in call {call}: {fleet.events}"
        hedged += sum(kind == "hedged" for kind, _ in fleet.events)
    assert hedged > len(calls) // 2


def test_losing_all_workers_one_after_the_other(config):
    undisturbed = trained(config, InlineFleet(config, "run", "cpu"))
    fleet = FragileFleet(config, {9: "die", 21: "die", 23: "lose update", 30: "die", 41: "join", 50: "die", 52: "die"})
    assert trained(config, fleet) == undisturbed


def test_endless_losses_end_the_run(config):
    fleet = FragileFleet(config, dict.fromkeys(range(20, 1000), "lose result"))
    with pytest.raises(HydrahiveError, match="losses without an update"):
        trained(config, fleet)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("Raises", "the simulator is on fire"),
        ("NotFinite", "rewards that are not finite"),
        ("LastNotFinite", "observations that are not finite"),
        ("Shape", "observations|shape"),
    ],
)
def test_poisoned_work_is_tried_three_times_and_ends_the_run_with_its_traceback(hydrahive, env, says, tmp_path):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    options = ["--env.id", f"poison:{env}-v0", "--fragment_length", 8, "--boundary_every", 2, "--workers", 0]
    options += ["--shards", 2, "--envs_per_shard", 3, "--checkpoint.every_boundaries", 1]
    failed = hydrahive("train", "cartpole/vtrace", "--name", "a", "--recording", "false", *options, code=1)
    assert "round 4 failed 3 times" in failed.stderr
    assert "Traceback" not in failed.stderr
    import json
    import re

    events = [json.loads(line) for line in (hydrahive.runs / "a" / "events.jsonl").read_text().splitlines()]
    attempts = [event for event in events if event["kind"] == "fragment_failed"]
    assert len(attempts) == 3
    assert all(event["round"] == 4 for event in attempts)
    assert all(re.search(says, event["traceback"]) for event in attempts)
    assert json.loads(hydrahive("digest", "a", "--json").stdout)["updates"] >= 2


def test_what_fails_once_is_done_again_and_changes_nothing(hydrahive, tmp_path):
    hydrahive.environment["PYTHONPATH"] = str(ROOT / "tests" / "poison")
    options = ["--env.id", "poison:RaisesOnce-v0", "--fragment_length", 8, "--boundary_every", 2, "--workers", 0]
    options += ["--shards", 2, "--envs_per_shard", 3, "--stop.env_steps", 1000]
    hydrahive.environment["POISON_MARK"] = str(tmp_path / "mark")
    once = hydrahive.train("cartpole/vtrace", "once", *options)
    assert once["recoveries"] == 1
    never = hydrahive.train("cartpole/vtrace", "never", *options)
    assert never["recoveries"] == 0
    assert once["digest"] == never["digest"]
