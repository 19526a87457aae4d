"""Slice workers in this process that are made to fail, without Ray."""

from __future__ import annotations

import dataclasses

import numpy as np

from fragile import FragileFleet
from hydrahive.core.errors import LostError, WorkerFailedError
from hydrahive.runtime.roles.slices import Here, SliceWorker

SECRET = bytes(range(32))


class PlainLine:
    """A line to slice workers of this process. `plan` says what happens at which call: `lose`, `late` (never comes),
    `fail`, `lie` (a small untruth), `wrong` (no gradient at all)."""

    def __init__(self, config, plan=(), lies=lambda worker, gradient_steps: False):
        self._config, self._plan, self._lies = config, dict(plan), lies
        self._workers, self._known, self.calls, self.done = {}, {}, 0, 0

    def ask(self, worker, standing, work):
        self.calls += 1
        finder = self._workers.setdefault(worker, SliceWorker(self._config, "cpu"))
        known = self._known.setdefault(worker, {})
        vectors = {n: (i, get()) for n, (i, get) in standing.vectors.items() if known.get(n) != i}
        known |= {name: number for name, (number, _) in vectors.items()}
        here = Here(vectors, standing.returns, standing.gradient_steps, standing.config)
        what = "lie" if self._lies(worker, standing.gradient_steps) else self._plan.get(self.calls)
        return [worker, what, finder.find(here, work)]

    def ready(self, calls, timeout_s):
        return [call for call in calls if call[1] != "late"][:1]

    def answer(self, call):
        worker, what, done = call
        if what == "lose":
            raise LostError(f"slice worker {worker} is gone")
        if what == "fail":
            raise WorkerFailedError("no such page")
        if what == "wrong":
            return dataclasses.replace(done, gradient=done.gradient[:-1])
        if what == "lie":
            gradient = done.gradient.copy()
            gradient[np.flatnonzero(gradient)[:1]] *= np.float32(1.5)
            return dataclasses.replace(done, gradient=gradient)
        self.done += 1
        return done

    def call_off(self, call):
        call[1] = "off"


class HelpedFleet(FragileFleet):
    """A fleet whose learner has slice workers."""

    def __init__(self, config, plan, helpers, line, share=0.0):
        super().__init__(config, plan)
        self.line, self.helped, self._shares = line, [], dict.fromkeys(range(helpers), share)
        self._learner.help_from(line, SECRET, self._shares)

    def renew(self, *, everything):
        super().renew(everything=everything)
        self._learner.help_from(self.line, SECRET, self._shares)

    def update(self, *arguments, **more):
        given = super().update(*arguments, **more)
        self.helped += getattr(given[1], "helped", ())
        return given
