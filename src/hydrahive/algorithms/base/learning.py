"""What every algorithm learns with: weights, optimizer, normalisers, minibatches, slices and precision.

An algorithm is a page (`vtrace.py`, `ppo.py`, `ath_q.py`): it says which gradient steps an update takes, as a story of
`Step`s, and the loss of each. Everything else is here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.algorithms.base.batch import Batch, clipped, replayed
from hydrahive.algorithms.base.minibatches import Minibatch, cut
from hydrahive.algorithms.base.normalisers import Returns, Statistics
from hydrahive.algorithms.base.optimizer import FlatOptimizer, OptimizerSettings
from hydrahive.algorithms.base.rule import Computing, Round
from hydrahive.algorithms.base.sharing import Done, Hands, Standing, Work, unpacked
from hydrahive.algorithms.base.steps import Gradients, Loss, Step, Story, Taken
from hydrahive.core.config import AlgorithmConfig
from hydrahive.core.replayed import Judgement, Sequences
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import stream
from hydrahive.policies.agent import CLAMP, Agent
from hydrahive.policies.flat_weights import FlatWeights


class Learning:
    """The weights of an algorithm's networks, and all that its gradient steps are taken with.

    Attributes:
        network: Acts and learns; its flat weights are the version.
        others: Networks that never leave the learner, such as a target, by name.
        weights: The acting network's, with gradients.
        flat: The others' weights, by name.
    """

    def __init__(
        self,
        network: Agent,
        others: Mapping[str, nn.Module],
        computing: Computing,
        seed: int,
        optimizer: OptimizerSettings,
        returns_discount: float | None,
        optimizers: Mapping[str, OptimizerSettings] | None = None,
    ) -> None:
        """Lay all weights flat.

        Args:
            network: Acts and learns.
            others: Do not act.
            computing: Where and how.
            seed: The run's.
            optimizer: Which, and its values.
            optimizers: Likewise of the others that learn.
            returns_discount: Of the returns by whose deviation rewards are divided; None where they are not.
        """
        self.network, self.others, self.computing, self.seed = network, dict(others), computing, seed
        self.weights = FlatWeights(network, with_gradients=True)
        learning = optimizers or {}
        self.flat = {name: FlatWeights(other, with_gradients=name in learning) for name, other in self.others.items()}
        self.optimizer = FlatOptimizer(self.weights, optimizer)
        self.optimizers = {name: FlatOptimizer(self.flat[name], settings) for name, settings in learning.items()}
        moved = {"": network, **{name: self.others[name] for name in learning}}
        leaves = {name: list(module.parameters()) for name, module in moved.items()}
        self._gradients = Gradients(computing, {"": self.weights, **self.flat}, leaves)
        self._numbers = dict.fromkeys(("", *self.flat), uuid4().int >> 64)
        """Of each network's weights as they are now: others whenever they change, and in each process."""
        shape = tuple(network.observation_mean.shape) if network.normalizes else ()
        self._observations = Statistics(shape) if network.normalizes else None
        self.returns = None if returns_discount is None else Returns(returns_discount)
        self._judged: list[Judgement] = []

    def help_from(self, hands: Hands | None) -> None:
        """Have these find slices' gradients; None for nobody else."""
        self._gradients.hands = hands

    @property
    def gradient_steps(self) -> int:
        """Taken so far, of the network that takes most."""
        return max(self.optimizer.steps, *(one.steps for one in self.optimizers.values()), 0)

    def normalise(self, round_: Round) -> None:
        """Take a round into the statistics; from here on the networks see with them."""
        if self.returns is not None:
            self.returns.merge(round_.fragments)
        if self._observations is None:
            return
        for fragment in round_.fragments:
            self._observations.merge(fragment.observations[:-1][fragment.valid])
        self._see_with_statistics()

    def _see_with_statistics(self) -> None:
        assert self._observations is not None, "the network normalises"
        mean = torch.from_numpy(self._observations.mean)
        scale = torch.from_numpy(1 / self._observations.deviation())
        for network in (self.network, *self.others.values()):
            if isinstance(network, Agent) and network.normalizes:
                network.observation_mean.copy_(mean)
                network.observation_scale.copy_(scale)
        self._changed()

    def rewards(self, rewards: Tensor, clip: float | None) -> Tensor:
        """Rewards as they are learned from: divided by their returns' deviation, or clipped."""
        if self.returns is None:
            return clipped(rewards, clip)
        # r / std(R), R_t = gamma R_{t-1} + r_t (Engstrom et al. 2020, section 3)
        return (rewards / float(self.returns.statistics.deviation()[0])).clamp(-CLAMP, CLAMP)

    def minibatches(self, round_: Round, epochs: int, count: int) -> Iterator[Minibatch]:
        """The parts of a round that gradient steps are taken on: each of so many once an epoch, in drawn orders."""
        slices, device = self.computing.slices, self.computing.device
        order = self.order(epochs, count)
        if epochs == 1 or slices > 1 or device.type != "cpu":
            yield from cut(round_, count, order, slices, device, order[0])
            return
        # Laying pictures out takes a CPU a tenth of the time that it learns from them: once is enough, where slices
        # are not to save memory.
        parts = {
            part.index: self._prepared(part) for part in cut(round_, count, range(count), slices, device, order[0])
        }
        yield from (parts[i] for i in order if i in parts)

    def order(self, epochs: int, count: int) -> list[int]:
        """So many minibatches in all epochs; each epoch goes through all of them in an order of its own."""
        orders = (
            stream(self.seed, "minibatches", self.gradient_steps, epoch).permutation(count) for epoch in range(epochs)
        )
        return [int(i) for order in orders for i in order]

    def _prepared(self, minibatch: Minibatch) -> Minibatch:
        """With observations as the network computes on them, to be gone through more than once."""
        with self.computing.precision():
            slices = [
                replace(batch, observations=self.network.prepared(batch.observations)) for batch in minibatch.slices
            ]
        return replace(minibatch, slices=slices)

    def replayed(self, sequences: Sequences, network: Agent | None = None) -> Batch:
        """Replayed sequences, with the memory that a network would have before them: the acting one, by default."""
        with self.computing.precision():
            return replayed(sequences, network or self.network, self.computing.device)

    def judge(self, keys: np.ndarray, taken: Taken) -> None:
        """Have the replay hear how far off the rows of a gradient step were."""
        if taken.errors is not None:
            self._judged.append(Judgement(keys, taken.errors.float().cpu().numpy()))

    def judgement(self) -> Judgement | None:
        """All that was judged since the last call, in order."""
        judged, self._judged = self._judged, []
        if not judged:
            return None
        return Judgement(*(np.concatenate([getattr(one, name) for one in judged]) for name in ("keys", "errors")))

    def follow(self, other: str, share: float, of: str = "") -> None:
        """Have another network's weights follow those `of` one that learns (empty: that acts) by a share of the way."""
        # theta^- <- theta^- + tau (theta - theta^-) (Lillicrap et al. 2016, algorithm 1)
        with torch.no_grad():
            self.flat[other].vector.lerp_((self.flat[of] if of else self.weights).vector, share)
        self._changed(other)

    def take(self, step: Step, config: AlgorithmConfig) -> Taken:
        """Take a gradient step, and the one beside it; errors as `Gradients.summed`, and of the optimizer.

        Raises:
            DivergedError: If a gradient is not finite; the weights are left as they were.
        """
        found = self._gradients.summed(step, partial(self._standing, config))
        taken: Taken | None = None
        for one, (sums, errors) in reversed(found):
            norm = (self.optimizers[one.of] if one.of else self.optimizer).step(one.learning_rate)
            self._changed(one.of)
            taken = Taken(sums, norm, errors, taken)
        assert taken is not None, "at least one"
        return taken

    def find(self, work: Work, loss: Callable[[Any], Loss]) -> Done:
        """A slice's gradient, as somebody else's `Gradients` asks for it, from where `stand` was told."""
        batch = unpacked(work.slice, self.computing.device)
        return self._gradients.found(Step([batch], loss, work.divisor, 0.0, of=work.of), batch)

    def stand(self, standing: Standing) -> None:
        """Stand where somebody else stands, to find slices' gradients for him."""
        for name, (number, vector) in standing.vectors.items():
            if self._numbers[name] != number:
                self._vector(name).load(vector())
                self._numbers[name] = number
        if self.returns is not None and standing.returns:
            self.returns.statistics.restore(standing.returns)
        self.optimizer.steps = standing.gradient_steps
        for optimizer in self.optimizers.values():
            optimizer.steps = standing.gradient_steps

    def _standing(self, config: AlgorithmConfig) -> Standing:
        vectors = {name: (number, self._vector(name).numpy) for name, number in self._numbers.items()}
        returns = {} if self.returns is None else self.returns.statistics.state()
        return Standing(vectors, returns, self.gradient_steps, config)

    def _vector(self, name: str) -> FlatWeights:
        return self.flat[name] if name else self.weights

    def _changed(self, *names: str) -> None:
        """Weights of these networks, or of all, are others now."""
        for name in names or self._numbers:
            self._numbers[name] += 1

    def state(self) -> State:
        """Weights, the optimizer's moments, and the normalisers' statistics, as named arrays."""
        state = nested("weights", self.weights.named(self.weights.vector))
        for name, flat in self.flat.items():
            state |= nested(name, flat.named(flat.vector))
        state |= self.optimizer.state()
        if self.optimizers:
            taken = {"": self.optimizer, **self.optimizers}
            state["optimizer steps"] = np.array([one.steps for one in taken.values()], np.int64)
            for name, optimizer in self.optimizers.items():
                state |= nested(f"optimizers/{name}", optimizer.state())
        if self._observations is not None:
            state |= nested("observations", self._observations.state())
        if self.returns is not None:
            state |= nested("returns", self.returns.state())
        return state

    def restore(self, state: State, gradient_steps: int) -> None:
        """Continue from `state` after so many gradient steps."""
        self.weights.load_named(self.weights.vector, under("weights", state))
        for name, flat in self.flat.items():
            flat.load_named(flat.vector, under(name, state))
        steps = [int(count) for count in state["optimizer steps"]] if self.optimizers else [gradient_steps]
        self.optimizer.restore(state, steps[0])
        for (name, optimizer), taken in zip(self.optimizers.items(), steps[1:], strict=True):
            optimizer.restore(under(f"optimizers/{name}", state), taken)
        if self._observations is not None:
            self._observations.restore(under("observations", state))
        if self.returns is not None:
            self.returns.restore(under("returns", state))
        self._changed()

    def load_weights(self, state: State) -> None:
        """Take over the weights of `state`, and the statistics that they were learned with; the optimizer begins anew.

        Without the statistics the first round's would take their place, and the networks would see another scale.
        """
        self.weights.load_named(self.weights.vector, under("weights", state))
        for name, flat in self.flat.items():
            if not self.optimizers:
                flat.vector.copy_(self.weights.vector)
            elif known := under(name, state):
                flat.load_named(flat.vector, known)
        self._changed()
        if self._observations is not None and (known := under("observations", state)):
            self._observations.restore(known)
            self._see_with_statistics()
        if self.returns is not None and (known := under("returns", state)):
            self.returns.statistics.restore(known)  # who is in mid-episode there is nobody here


class Algorithm:
    """A page: the gradient steps of an update, and their losses."""

    def __init__(self, config: Any, network: Agent, computing: Computing, seed: int) -> None:
        """Have the network learn as `config` says; `seed` is the run's."""
        self.config = config
        self.on = Learning(
            network, self.others(network), computing, seed, self.optimizer(), self.returns_discount(), self.optimizers()
        )
        self.begin()

    # What pages say.

    def others(self, network: Agent) -> dict[str, nn.Module]:
        """Networks besides the one that acts, by name."""
        return {}

    def optimizer(self) -> OptimizerSettings:
        """Which optimizer, and its values."""
        raise NotImplementedError(f"{type(self).__name__} must define optimizer")

    def optimizers(self) -> dict[str, OptimizerSettings]:
        """Likewise of each of the other networks that learns, by name."""
        return {}

    def returns_discount(self) -> float | None:
        """The discount of the returns that rewards are divided by the deviation of; None where they are not."""
        return None

    def begin(self) -> None:
        """Weights were drawn, or taken over from another run."""

    def update(self, round_: Round) -> Story:
        """The gradient steps of an update, in order, and its figures."""
        raise NotImplementedError(f"{type(self).__name__} must define update")

    def own_state(self) -> State:
        """What the page keeps besides, as named arrays."""
        return {}

    def restore_own(self, state: State) -> None:
        """Continue from `own_state`'s arrays."""

    # What the learner asks: `hydrahive.algorithms.base.rule.Rule`.

    @property
    def weights(self) -> FlatWeights:
        """The acting network's."""
        return self.on.weights

    @property
    def network(self) -> Agent:
        """The acting network."""
        return self.on.network

    @property
    def gradient_steps(self) -> int:
        """Taken so far."""
        return self.on.gradient_steps

    def change(self, config: AlgorithmConfig) -> None:
        """Learn with other values from the next update on."""
        assert isinstance(config, type(self.config))
        self.config = config
        self.on.optimizer.set(self.optimizer())
        for name, settings in self.optimizers().items():
            self.on.optimizers[name].set(settings)
        discount = self.returns_discount()
        if self.on.returns is not None and discount is not None:
            self.on.returns.discount = discount

    def learn(self, round_: Round) -> dict[str, float]:
        """Take an update's gradient steps; its figures.

        Raises:
            DivergedError: If a gradient is not finite; the weights are left as the step before made them.
        """
        self.on.normalise(round_)
        story = self.update(round_)
        try:
            step = next(story)
            while True:
                step = story.send(self.on.take(step, self.config))
        except StopIteration as end:
            return {name: float(value) for name, value in end.value.items()}

    def help_from(self, hands: Hands | None) -> None:
        """Have these help with slices' gradients from now on; they change no byte."""
        self.on.help_from(hands)

    def find(self, standing: Standing, work: Work) -> Done:
        """A slice's gradient, for a learner of this algorithm that stands elsewhere."""
        if standing.config != self.config:
            self.config = standing.config
        self.on.stand(standing)
        return self.on.find(work, partial(getattr(self, work.loss), **work.keywords))

    def state(self) -> State:
        """All that the next update depends on, as named arrays."""
        return {**self.on.state(), **self.own_state()}

    def restore(self, state: State, gradient_steps: int) -> None:
        """Continue from `state` after so many gradient steps."""
        self.on.restore(state, gradient_steps)
        self.restore_own(state)

    def judgement(self) -> Judgement | None:
        """What the last update found of replayed rows."""
        return self.on.judgement()

    def load_weights(self, state: State) -> None:
        """Begin version 0 with the weights of `state`."""
        self.on.load_weights(state)
        self.begin()
