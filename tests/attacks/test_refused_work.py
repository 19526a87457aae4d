"""T4, T5: whoever consumes decides what came. What was not asked for is refused before a byte is learned from it.

Nobody else is blamed or paid for it, the work is done again elsewhere, and the run ends with the honest digest.
"""

import copy
import dataclasses

import numpy as np
import pytest

from conftest import digests_of
from hydrahive.core.errors import (
    DivergedError,
    FragmentError,
    HydrahiveError,
    LearnerLostError,
    OutOfStepError,
    RefusedWorkError,
)
from hydrahive.core.fragment import FragmentId
from hydrahive.core.watched import Frame
from hydrahive.ledger.statements import audits, work_credits
from hydrahive.ledger.verification import verify
from hydrahive.runtime.config.parsing import load_run_config
from hydrahive.runtime.config.shipped import shipped_experiments
from hydrahive.runtime.roles import intake
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.learner import Learner
from hydrahive.runtime.schedule.dataflow import Replayed
from hydrahive.runtime.schedule.schedules import schedule_of
from volunteers import Honest, VolunteerFleet


class Changed(Honest):
    """From some round on one fragment, or what is said of it, is another."""

    def __init__(self, fragment=lambda f: f, summary=lambda s: s, state=lambda s: s, whole=lambda f, s: (f, s)):
        self.fragment, self.summary, self.state, self.whole = fragment, summary, state, whole

    def simulate(self, worker, shards, round_, version, weights):
        fragments, summaries = worker.simulate(shards, round_, version, weights)
        if round_ < 7:
            return fragments, summaries
        fragments, summaries = [self.fragment(f) for f in fragments], [self.summary(s) for s in summaries]
        return self.whole(fragments, summaries)

    def snapshot(self, state):
        return self.state(state)


def put(name, index, value):
    """One value of an array is another."""

    def change(fragment):
        array = getattr(fragment, name).copy()
        array[index] = value
        return dataclasses.replace(fragment, **{name: array})

    return change


def having(**parts):
    return lambda whole: dataclasses.replace(whole, **{name: make(whole) for name, make in parts.items()})


def as_bytes(name):
    return lambda fragment: dataclasses.replace(fragment, **{name: np.full(getattr(fragment, name).shape, 2, np.uint8).view(bool)})  # fmt: skip


def more_cuts(fragment):
    rows = np.concatenate([fragment.cut_rows, [[0, 0]]]).astype(np.int32)
    return dataclasses.replace(fragment, cut_rows=rows)


HUGE = Frame(0, 0, 0.0, 0, np.broadcast_to(np.uint8(0), (2**15, 2**15)))

FRAGMENTS = {
    "a reward that is no number": (put("rewards", (3, 2), np.nan), "rewards are not finite"),
    "a reward without end": (put("rewards", (0, 0), np.inf), "rewards are not finite"),
    "an action that there is not": (put("actions", (0, 0), 99), "actions are none"),
    "an action below 0": (put("actions", (0, 0), -1), "actions are none"),
    "a step less": (having(rewards=lambda f: f.rewards[1:]), "rewards are float32[7, 4]; expected float32[8, 4]"),
    "twice as many games": (having(actions=lambda f: np.repeat(f.actions, 2, 1)), "actions are int64[8, 8]"),
    "rewards of another type": (having(rewards=lambda f: f.rewards.astype(np.float64)), "are float64[8, 4]"),
    "objects": (having(observations=lambda f: f.observations.astype(object)), "observations are object"),
    "no array": (having(observations=lambda f: None), "observations are a NoneType"),
    "half true": (as_bytes("valid"), "valid are neither true nor false"),
    "ended and cut": (lambda f: put("truncated", 0, True)(put("terminated", 0, True)(f)), "both ended and were cut"),
    "fewer steps than told": (put("valid", (0, 0), False), "31 env steps; 32 were told"),
    "a cut that is none": (more_cuts, "one last observation for each"),
    "nothing": (lambda f: None, "a NoneType came in place of a fragment"),
    "text": (lambda f: "fragment", "a str came in place of a fragment"),
}

SUMMARIES = {
    "twice the steps": (having(env_steps=lambda s: 2 * s.env_steps), "64 env steps; expected 0 to 32"),
    "steps below none": (having(env_steps=lambda s: -5), "-5 env steps"),
    "half a step": (having(env_steps=lambda s: 0.5), "0.5 env steps"),
    "another shard": (having(shard=lambda s: s.shard + 1), "summary is of shard"),
    "a score that is no number": (having(scores=lambda s: np.array([np.nan])), "scores are no finite numbers"),
    "scores without lengths": (having(scores=lambda s: np.zeros(3), lengths=lambda s: s.lengths[:0]), "lengths"),
    "a million scores": (having(scores=lambda s: np.zeros(10**6)), "scores are no finite numbers"),
    "facts without end": (having(facts=lambda s: {str(i): s.scores for i in range(1000)}), "facts have no names"),
    "facts that are text": (having(facts=lambda s: {"a": "b"}), "facts are no numbers"),
    "pictures that are none": (having(frames=lambda s: ("picture",)), "frames are no pictures"),
    "a picture of gigabytes": (
        having(frames=lambda s: (HUGE,)),
        "bytes",
    ),
    "time that runs back": (having(seconds=lambda s: -1.0), "-1.0 seconds"),
    "nothing": (lambda s: None, "a NoneType came in place of a summary"),
}

STATES = {
    "nothing": (lambda s: None, "a NoneType came in place of its state"),
    "of another round": (lambda s: {**s, "round": s["round"] + 5}, "its state is of round"),
    "objects": (lambda s: {**s, "returns": np.array([print], object)}, "no array of plain numbers"),
    "without its round": (lambda s: {n: a for n, a in s.items() if n != "round"}, "does not say of which round"),
}

WHOLES = {
    "no summaries": (lambda f, s: (f, None), "a NoneType came in place of 1 summaries"),
    "too few summaries": (lambda f, s: (f, s[1:]), "summaries"),
    "no fragments": (lambda f, s: (None, s), "a NoneType came in place of 1 fragments"),
    "too many fragments": (lambda f, s: (f + f, s), "2 of something came in place of 1 fragments"),
}

WAYS = {
    **{f"fragment: {name}": (Changed(fragment=change), what) for name, (change, what) in FRAGMENTS.items()},
    **{f"summary: {name}": (Changed(summary=change), what) for name, (change, what) in SUMMARIES.items()},
    **{f"state: {name}": (Changed(state=change), what) for name, (change, what) in STATES.items()},
    **{f"part: {name}": (Changed(whole=change), what) for name, (change, what) in WHOLES.items()},
}

SHORT = ["--stop.env_steps=2000"]
HONEST = {}


def honest_digests(trained):
    if not HONEST:
        HONEST["digests"] = digests_of(trained("honest", None, *SHORT)[0])
    return HONEST["digests"]


@pytest.mark.parametrize(("spoil", "what"), WAYS.values(), ids=WAYS.keys())
def test_what_was_not_asked_for_is_refused_and_done_again_elsewhere(trained, spoil, what):
    honest = honest_digests(trained)
    summary, fleet, ledger, events = trained("attacked", spoil, *SHORT)
    assert digests_of(summary) == honest
    assert sorted(fleet._workers) == [0, 2], "the one who sent it is there no more"
    refused = [event["text"] for event in events if event["kind"] == "work_refused"]
    assert len(refused) == 1
    assert what in refused[0]
    assert "\n" not in refused[0]
    assert (summary["segments"], summary["tainted"]) == (1, False), "nothing was learned from it"
    assert verify(ledger.journal).problem is None
    verdicts = [row for row in audits(ledger.journal, "attacked") if row["outcome"] == "refused"]
    assert [row["workers"] for row in verdicts] == ["w1"]
    rows = [row for row in work_credits(ledger.journal) if row["run"] == "attacked"]
    assert {row["state"] for row in rows if row["owner"] != "alice"} == {"paid"}
    assert sum(row["env_steps"] for row in rows) == summary["env_steps"], "each step is accounted for, once"


def test_a_fragments_name_is_the_consumers_word(trained):
    """A forged round ended the driver with an IndexError, took a later credit's key, or blamed another."""
    honest = honest_digests(trained)
    forged = FragmentId("another run", 9, 10**6, 0)
    spoil = Changed(fragment=having(id=lambda f: forged, version=lambda f: -1))
    summary, fleet, ledger, _ = trained("attacked", spoil, *SHORT)
    assert digests_of(summary) == honest, "it is known by what was asked for"
    assert sorted(fleet._workers) == [0, 1, 2]
    rows = [row for row in work_credits(ledger.journal) if row["run"] == "attacked"]
    assert {row["round"] for row in rows} == set(range(summary["updates"]))
    assert {row["owner"] for row in rows} == {"me", "alice", "bob"}


def test_a_policy_that_has_diverged_is_nobodys_fault(trained):
    """Volunteers are done without, and what the run's own worker gets decides: it ends, and says why."""
    nan = Changed(fragment=put("behaviour", (0, 0), np.nan))
    with pytest.raises(DivergedError, match=r"what the policy gives is not finite any more"):
        trained("attacked", nan, *SHORT, dishonest=(0, 1, 2))


def test_a_free_running_run_does_without_who_was_refused(tmp_path):
    options = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
    options += ["--schedule=free-running", "--stop.env_steps=1500", "--fragment_length=8"]
    config = load_run_config(shipped_experiments()["snake/vtrace"], options)
    fleet = VolunteerFleet(config, "run", Changed(fragment=put("rewards", 0, np.nan)))
    fleet.first_ready = lambda refs: 0
    told = []
    fleet.listener = lambda kind, text, **fields: told.append(kind)
    with pytest.raises(Exception, match="rewards are not finite"):
        list(schedule_of(config, fleet, None, Replayed()).updates())
    assert sorted(fleet._workers) == [0, 2]
    assert told == ["work_refused"]


@pytest.mark.parametrize(
    "experiment", ["snake/vtrace", "cartpole/ppo", "cartpole/dqn", "classic/pendulum", "snake/ath-q-gru"]
)
def test_what_every_honest_worker_sends_is_accepted(experiment):
    config = load_run_config(shipped_experiments()[experiment], ["--envs_per_shard=4"])
    worker, learner = EnvWorker(config, "run"), Learner(config, "cpu")
    worker.adopt(0, None)
    for round_ in range(3):
        fragments, summaries = worker.simulate([0], round_, round_, learner.weights())
        said = intake.summaries(config, summaries, [0], round_)
        leased = [intake.Leased(FragmentId("run", 0, round_, 0), round_, said[0].env_steps)]
        (given,) = intake.Intake(config).fragments(fragments, leased)
        assert given.id == leased[0].id
        assert given.observations is fragments[0].observations
        intake.shard_state(config, worker.snapshot(0), 0, round_ + 1)
    assert intake.positions(worker.positions(), 1) == {0: 3}


class HeardLate(VolunteerFleet):
    """As on Ray: what the learner refuses is heard where a later round waits for the weights that it did not make."""

    def update(self, version, parts, leased, sample, *, keep_actions):
        try:
            return super().update(version, parts, leased, sample, keep_actions=keep_actions)
        except (RefusedWorkError, OutOfStepError) as refused:
            return refused, refused, None

    def simulate(self, worker, shards, round_, version, weights):
        return (
            (weights, weights)
            if isinstance(weights, Exception)
            else super().simulate(worker, shards, round_, version, weights)
        )

    def get(self, ref):
        if isinstance(ref, RefusedWorkError):
            raise RefusedWorkError(ref.shard, ref.round, ref.what, of_the_policy=ref.of_the_policy)
        if isinstance(ref, OutOfStepError):
            raise ref
        return super().get(ref)


SAID = {
    "an error of the house's": HydrahiveError("nothing works any more"),
    "that the run has diverged": DivergedError("the loss is nan"),
    "that the learner is lost": LearnerLostError("it is gone"),
    "that another's work is bad": RefusedWorkError(0, 7, "its rewards are not finite"),
    "that what nobody asked for is bad": RefusedWorkError(999, 999, "x"),
    "that another's fragment failed": FragmentError(0, 7, "boom", ""),
    "an error without end": HydrahiveError("x\0" * 10_000),
}


class Liar(VolunteerFleet):
    """Its second worker fails with an error of its choice; as on Ray, that is heard where its answer is opened."""

    said: HydrahiveError

    def simulate(self, worker, shards, round_, version, weights):
        if worker == 1 and round_ >= 7:
            return self.said, self.said
        return super().simulate(worker, shards, round_, version, weights)

    def get(self, ref):
        if isinstance(ref, HydrahiveError):
            raise copy.copy(ref)
        return super().get(ref)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID.keys())
def test_a_workers_word_ends_no_run_and_blames_nobody_else(said):
    options = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
    options += ["--fragment_length=8", "--boundary_every=5", "--stop.env_steps=1500"]
    config = load_run_config(shipped_experiments()["snake/vtrace"], options)

    def trained(fleet):
        return [
            fleet.get(update.weights).tobytes() for update in schedule_of(config, fleet, None, Replayed()).updates()
        ]

    fleet = Liar(config, "run")
    fleet.said = said
    assert trained(fleet) == trained(VolunteerFleet(config, "run"))
    assert sorted(fleet._workers) == [0, 2]
    ((worker, refused),) = fleet.take_refused()
    assert worker.name == "w1"
    assert len(str(refused)) < 700
    assert "\0" not in str(refused)


class Failing(VolunteerFleet):
    """On its second worker every fragment fails, or it says for ever that it is out of step."""

    def simulate(self, worker, shards, round_, version, weights):
        if worker == 1 and round_ >= 7:
            said = FragmentError(shards[0], round_, "boom", "") if self.fails else OutOfStepError("I am elsewhere")
            return said, said
        return super().simulate(worker, shards, round_, version, weights)

    def get(self, ref):
        if isinstance(ref, HydrahiveError):
            raise copy.copy(ref)
        return super().get(ref)


@pytest.mark.parametrize("fails", [True, False])
def test_who_fails_at_everything_is_done_without(fails):
    """With many shards one such machine used up the losses that a run may have without an update."""
    options = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=24", "--envs_per_shard=1"]
    options += ["--fragment_length=8", "--boundary_every=5", "--stop.env_steps=4000"]
    config = load_run_config(shipped_experiments()["snake/vtrace"], options)

    def trained(fleet):
        return [
            fleet.get(update.weights).tobytes() for update in schedule_of(config, fleet, None, Replayed()).updates()
        ]

    fleet = Failing(config, "run")
    fleet.fails = fails
    assert trained(fleet) == trained(VolunteerFleet(config, "run"))
    assert sorted(fleet._workers) == [0, 2]


def test_nobody_is_blamed_who_only_waited_for_weights(tmp_path):
    """His call fails with what another's fragment has done to the learner."""
    options = ["--env.size=7", "--env.window=5", "--policy.encoder.hidden=[16]", "--shards=3", "--envs_per_shard=4"]
    options += ["--fragment_length=8", "--boundary_every=5", "--stop.env_steps=1500", "--lag=1"]
    config = load_run_config(shipped_experiments()["snake/vtrace"], options)

    def trained(fleet):
        return [
            fleet.get(update.weights).tobytes() for update in schedule_of(config, fleet, None, Replayed()).updates()
        ]

    fleet = HeardLate(config, "run", Changed(fragment=put("rewards", 0, np.nan)), dishonest=(2,))
    assert trained(fleet) == trained(VolunteerFleet(config, "run"))
    assert sorted(fleet._workers) == [0, 1]
    assert [worker.name for worker, _ in fleet.take_refused()] == ["w2"]
