"""A fleet of plain objects that are made to fail, without Ray; and a training over it that recovers as the Trainer does."""

from __future__ import annotations

from hydrahive.core.errors import FragmentError, LearnerLostError, LostError
from hydrahive.runtime.fleet.inline import InlineFleet
from hydrahive.runtime.fleet.refs import Ref, Stock
from hydrahive.runtime.roles.env_worker import EnvWorker
from hydrahive.runtime.roles.replay import Replay
from hydrahive.runtime.schedule.schedules import schedule_of


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

    def snapshots(self, worker, shards):
        return [self.snapshot(worker, shard) for shard in shards]

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
        if what == "lose fragments" and not isinstance(result, Failed):
            return Failed(LostError("the fragments are gone")), result[1]
        if what == "lose result" or isinstance(result, Failed):
            failed = result if isinstance(result, Failed) else Failed(LostError("the object is gone"))
            return failed, failed
        return result

    def refuse(self, worker, refused):
        self.events.append(("work_refused", str(refused)))
        self._workers.pop(worker, None)

    def update(self, version, parts, leased, sample, *, keep_actions):
        self._calls += 1
        if self._plan.get(self._calls) == "lose update":
            return tuple(Failed(LostError("an argument is gone")) for _ in range(3))
        if self._plan.get(self._calls) == "lose replay":
            self._replay = None
        return self._or_failed(
            3, lambda: super(FragileFleet, self).update(version, parts, leased, sample, keep_actions=keep_actions)
        )

    def take(self, round_, fragments, summaries, leased, judged):
        if self._replay is None:
            return Failed(LostError("the replay is gone")), Failed(LostError("the replay is gone"))
        return self._or_failed(2, lambda: super(FragileFleet, self).take(round_, fragments, summaries, leased, judged))

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
