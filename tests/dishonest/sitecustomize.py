"""Put on a node's PYTHONPATH this makes its env workers dishonest, in the way that $DISHONEST says.

Python imports a module of this name when it starts; it changes the worker's code once that is imported, as somebody
would who edits what is installed on his own machine.
"""

import importlib.abc
import importlib.util
import os
import sys


def made_up_rewards(shard):
    step = shard.Shard._step

    def better(self, t, actions, record):
        step(self, t, actions, record)
        record.rewards[t] += self.round >= FROM_ROUND

    shard.Shard._step = better


def skipped_steps(shard):
    """Every other step is not computed: what the one before gave is told again."""
    step = shard.Shard._step

    def lazy(self, t, actions, record):
        if t % 2 == 0 or self.round < FROM_ROUND:
            return step(self, t, actions, record)
        for told in (record.rewards, record.terminated, record.truncated, record.valid):
            told[t] = told[t - 1]

    shard.Shard._step = lazy


def forged_snapshot(shard):
    snapshot = shard.Shard.snapshot

    def forged(self):
        state = snapshot(self)
        state["returns"] = state["returns"] + (self.round >= FROM_ROUND)
        return state

    shard.Shard.snapshot = forged


def stale_weights(env_worker):
    """New weights are not loaded, but once."""
    load = env_worker.FlatWeights.load

    def lazy(self, weights):
        if not getattr(self, "loaded", False):
            load(self, weights)
        self.loaded = True

    class Lazy(env_worker.FlatWeights):
        pass

    Lazy.load = lazy
    env_worker.FlatWeights = Lazy


def changed_part(change):
    """From some round on what a worker gives is not what was asked for."""

    def edit(env_worker):
        simulate = env_worker.EnvWorker.simulate

        def forged(self, shards, round_, *rest):
            fragments, summaries = simulate(self, shards, round_, *rest)
            return (fragments, summaries) if round_ < FROM_ROUND else change(fragments, summaries)

        env_worker.EnvWorker.simulate = forged

    return edit


def no_numbers(fragments, summaries):
    for fragment in fragments:
        fragment.rewards[0] = float("nan")
    return fragments, summaries


def no_actions(fragments, summaries):
    for fragment in fragments:
        fragment.actions[0] = 99
    return fragments, summaries


def nothing(fragments, summaries):
    return None, None


def an_error(fragments, summaries):
    raise TypeError("an error that is none of ours")


def other_gradients(slices):
    """Whoever asks for a slice's gradient is given twice as much."""
    find = slices.SliceWorker.find

    def forged(self, here, work):
        done = find(self, here, work)
        done.gradient[:] *= 2
        return done

    slices.SliceWorker.find = forged


REFUSED = ("hydrahive.runtime.roles.env_worker", "nan", "actions", "nothing", "error")

WAYS = {
    "nan": (REFUSED[0], changed_part(no_numbers)),
    "actions": (REFUSED[0], changed_part(no_actions)),
    "nothing": (REFUSED[0], changed_part(nothing)),
    "error": (REFUSED[0], changed_part(an_error)),
    "slices": ("hydrahive.runtime.roles.slices", other_gradients),
    "rewards": ("hydrahive.runtime.roles.shard", made_up_rewards),
    "steps": ("hydrahive.runtime.roles.shard", skipped_steps),
    "snapshot": ("hydrahive.runtime.roles.shard", forged_snapshot),
    "weights": ("hydrahive.runtime.roles.env_worker", stale_weights),
}
FROM_ROUND = int(os.environ.get("DISHONEST_FROM_ROUND", "0"))


class Edited(importlib.abc.MetaPathFinder):
    """Finds one module where it is, and changes it once it is loaded."""

    def __init__(self, name, change):
        self.name, self.change, self.looking = name, change, False

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name or self.looking:
            return None
        self.looking = True
        spec = importlib.util.find_spec(fullname)
        execute = spec.loader.exec_module

        def and_change(module):
            execute(module)
            self.change(module)

        spec.loader.exec_module = and_change
        return spec


if "DISHONEST" in os.environ:
    sys.meta_path.insert(0, Edited(*WAYS[os.environ["DISHONEST"]]))
