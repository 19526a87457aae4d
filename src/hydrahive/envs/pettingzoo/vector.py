"""PettingZoo's parallel environments as Gymnasium's `VectorEnv`: worlds times agents, each agent one environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from pettingzoo.utils.conversions import turn_based_aec_to_parallel_wrapper

from hydrahive.core.errors import ConfigError, NotAsDeclaredError
from hydrahive.core.laid_out import GroupedBox, StatedBox
from hydrahive.core.state import State, nested, under
from hydrahive.core.streams import derived_seed
from hydrahive.envs.flat import MASK, Flattener, as_row
from hydrahive.envs.given import Masks, begun, in_words, is_over, number, stepped
from hydrahive.envs.pettingzoo.groups import members_of
from hydrahive.envs.pettingzoo.states import States
from hydrahive.envs.plain import state as plain_state
from hydrahive.envs.plain.names import Names
from hydrahive.envs.taken import Actions
from hydrahive.envs.vector import SnapshotVectorEnv, refuse_hidden_state, several, take_state
from hydrahive.envs.world import World

TURNS = turn_based_aec_to_parallel_wrapper
"""What PettingZoo puts around an environment in which agents take turns."""


class PettingZooVector(SnapshotVectorEnv):
    """Worlds side by side; column `w * agents + i` is possible agent `i` of world `w`.

    An agent that has left its world is absent until the world begins anew, which it does in the step in which its last
    agent leaves.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
    ends: Callable[[int], object] = staticmethod(lambda world: None)
    """Called with a world whose last agent has left, before it begins anew."""

    def __init__(
        self,
        name: str,
        worlds: Sequence[Any],
        groups: Mapping[str, Sequence[str]] | None = None,
        *,
        captured: bool,
        anew: Callable[[], Any] | None = None,
        team_rewards: bool = False,
        central_state: bool = False,
    ) -> None:
        """Put worlds of one kind side by side.

        Args:
            name: Of their kind, for errors.
            worlds: `pettingzoo.ParallelEnv`s.
            groups: Which agents are alike, by names or patterns; None where all are.
            captured: Whether their state can be taken out.
            team_rewards: Whether each is paid what its group's agents earn on average.
            central_state: Whether what a world says of itself stands behind what its agents see.
            anew: Makes another world in the place of each that is reset with a seed, for one may keep what nobody sees.

        Raises:
            ConfigError: If it cannot, or the groups' spaces cannot be laid out alike.
        """
        self.worlds, self._captured, self._is_paid_as_team = list(worlds), captured, team_rewards
        self._anew: Callable[[], Any] | None = None
        self.agents = list(worlds[0].possible_agents)
        self.num_envs = len(worlds) * len(self.agents)
        members = members_of(groups, self.agents)
        self._group_of = [next(g for g, agents in enumerate(members) if agent in agents) for agent in self.agents]
        self._flats = [Flattener(worlds[0].observation_space(agents[0])) for agents in members]
        self._grouped = None if groups is None else GroupedBox([math.prod(flat.space.shape) for flat in self._flats])
        self._seen: spaces.Box = self._grouped or self._flats[0].space
        self._states = States(name, worlds[0]) if central_state else None
        if self._states is not None:
            self._seen = StatedBox(self._grouped or as_row(self._seen), self._states.space)
        self.single_observation_space = self._seen
        self._name = name
        self._actions = [Actions(worlds[0].action_space(agents[0])) for agents in members]
        self.single_action_space, self._own = _common(name, [taken.space for taken in self._actions])
        self._masks = [Masks(taken.space) for taken in self._actions]
        self.observation_space = several(self.single_observation_space, self.num_envs)
        self.action_space = several(self.single_action_space, self.num_envs)
        shape, dtype = self._seen.shape, self._seen.dtype
        self._observations = np.zeros((len(worlds), len(self.agents), *shape), dtype)
        self._present = np.zeros((len(worlds), len(self.agents)), np.bool_)
        self._dead = np.zeros_like(self._present)
        """Who has been in an episode that goes on without him."""
        self._legal: np.ndarray | None = None
        counted = isinstance(self.single_action_space, spaces.Discrete | spaces.MultiDiscrete)
        if isinstance(worlds[0], TURNS) and not counted:
            accepted = f"counted actions where agents take turns, not {self.single_action_space}"
            raise ConfigError("env.init_args.id", name, accepted)
        self._waiting = _first_only(self.single_action_space) if counted else np.zeros(0, np.bool_)
        self.reset(seed=0)
        self._anew = anew
        self._names = Names.of(self.worlds)
        refuse_hidden_state(self, name)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin every world; with a seed each world derives its own from it."""
        self._legal = None
        for w in range(len(self.worlds)):
            first = seed[w * len(self.agents)] if isinstance(seed, list) else seed
            self._begin(w, None if first is None else derived_seed(first, "world", w), options)
        return self._observations.reshape(self.num_envs, *self._seen.shape).copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every world with the actions of those who are present."""
        rewards = np.zeros(self._present.shape, np.float64)
        terminated, truncated = np.zeros_like(self._present), np.zeros_like(self._present)
        last: np.ndarray = np.full(self.num_envs, None, object)
        chosen = actions.reshape(*self._present.shape, *actions.shape[1:])
        for w, world in enumerate(self.worlds):
            here = [i for i in range(len(self.agents)) if self._present[w, i]]
            acting = {self.agents[i]: self._actions[self._group_of[i]].one(chosen[w, i]) for i in here}
            given = world.step(acting)
            try:
                observations, earned, ended, cut, infos = (_by_agent(told) for told in stepped(given))
            except NotAsDeclaredError as wrong:
                raise wrong.of(self._who(w)) from None
            for i in here:
                agent = self.agents[i]
                try:
                    rewards[w, i] = number(earned.get(agent, 0.0))
                    terminated[w, i], is_cut = is_over(ended.get(agent, False)), is_over(cut.get(agent, False))
                except NotAsDeclaredError as wrong:
                    raise wrong.of(f"{agent} in {self._who(w)}") from None
                vanished = agent not in world.agents and agent not in observations
                truncated[w, i] = (is_cut or vanished) and not terminated[w, i]
            if self._is_paid_as_team:
                self._share(rewards[w], here)
            self._note_posthumous(acting, earned)
            over = terminated[w] | truncated[w]
            self._note_returned(w, over, ended, cut)
            before = self._observations[w].copy() if over.any() else self._observations[w]
            self._see(w, observations, infos)
            for i in np.flatnonzero(over).tolist():
                # Of who is gone without a last look, what he saw before.
                seen = before if observations.get(self.agents[i]) is None else self._observations[w]
                last[w * len(self.agents) + i] = seen[i].copy()
            if not self._present[w].any():
                self.ends(w)
                self._begin(w, None, None)
        gone = (terminated | truncated).reshape(-1)
        told = {"final_obs": last, "_final_obs": gone} if gone.any() else {}
        shown = self._observations.reshape(self.num_envs, *self._seen.shape).copy()
        return shown, rewards.reshape(-1), terminated.reshape(-1), truncated.reshape(-1), told

    def present(self) -> np.ndarray | None:
        """Who is in a world."""
        return None if self._present.all() else self._present.reshape(-1).copy()

    def legal_actions(self) -> np.ndarray | None:
        """What the agents' masks say."""
        return None if self._legal is None else self._legal.reshape(self.num_envs, -1)

    def snapshot(self) -> State:
        """Every attribute of every world, and what its agents see."""
        if not self._captured:
            return {}
        state: State = {
            "observations": self._observations.copy(),
            "present": self._present.copy(),
            "dead": self._dead.copy(),
        }
        if self._legal is not None:
            state["legal"] = self._legal.copy()
        for w, world in enumerate(self.worlds):
            state |= nested(f"world-{w}", plain_state.capture(world, self._names))
        return state

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state; without one, whoever restores begins all episodes anew."""
        if not self._captured:
            return
        take_state(self._observations, state, "observations")
        take_state(self._present, state, "present")
        take_state(self._dead, state, "dead")
        self._legal = state["legal"].copy() if "legal" in state else None
        for w, world in enumerate(self.worlds):
            plain_state.restore(world, under(f"world-{w}", state), self._names)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the worlds."""
        for world in self.worlds:
            world.close()

    def _begin(self, w: int, seed: int | None, options: dict[str, Any] | None) -> None:
        self._dead[w] = False
        if self._anew is not None and seed is not None:
            self.worlds[w].close()
            self.worlds[w] = self._anew()
        given = self.worlds[w].reset(seed=None if seed is None else seed % 2**31, options=options)
        try:
            observations, infos = begun(given)
            self._see(w, _by_agent(observations), infos)
        except NotAsDeclaredError as wrong:
            raise wrong.of(f"{self._who(w)}, when reset,") from None

    def _who(self, w: int) -> str:
        return f"world {w} of {self._name}"

    def _note_returned(self, w: int, over: np.ndarray, ended: dict[str, Any], cut: dict[str, Any]) -> None:
        """Note who has gone, and who stands there again in an episode that goes on, as games have it that respawn."""
        self._dead[w] |= over
        if isinstance(self.worlds[w], TURNS):
            return  # where the dead stay until it would be their turn
        for i in np.flatnonzero(self._dead[w] & ~over).tolist():
            agent = self.agents[i]
            self._dead[w, i] = agent not in self.worlds[w].agents or bool(ended.get(agent) or cut.get(agent))

    def _share(self, rewards: np.ndarray, here: Sequence[int]) -> None:
        """Have those of a group who were there earn the same, in place."""
        for group in set(self._group_of):
            team = [i for i in here if self._group_of[i] == group]
            if team:
                rewards[team] = rewards[team].mean()

    def _note_posthumous(self, acting: Mapping[str, Any], earned: dict[str, Any]) -> None:
        for agent, reward in earned.items():
            if agent in self.agents and agent not in acting and np.any(reward):
                self.remark(
                    f"{agent} of {self._name} is paid after its end, or before it is there, which nobody learns from: "
                    "let it stay until it is paid, or pay those who are there"
                )

    def _turn(self, w: int) -> Any:
        """Whose turn it is in a world; None where all act at once, or nobody is left."""
        world = self.worlds[w]
        return world.aec_env.agent_selection if isinstance(world, TURNS) and world.agents else None

    def _see(self, w: int, observations: dict[str, Any], infos: dict[str, Any]) -> None:
        """Note what the agents of a world see and may do, and who is there."""
        here = set(self.worlds[w].agents)
        turn = self._turn(w)
        if turn is not None:  # PettingZoo looked before it took the dead away
            aec = self.worlds[w].aec_env
            observations, infos = {**observations, turn: aec.observe(turn)}, {**infos, turn: aec.infos.get(turn, {})}
        for i, agent in enumerate(self.agents):
            # Who is dead may stay in a game of turns until it would be his; others may join in mid-episode.
            self._present[w, i] = agent in here and not self._dead[w, i]
            try:
                self._see_one(w, i, observations.get(agent), infos.get(agent) or {}, turn)
            except NotAsDeclaredError as wrong:
                raise wrong.of(f"{agent} in {self._who(w)}") from None
        if self._states is not None:
            shown = [i for i, agent in enumerate(self.agents) if observations.get(agent) is not None]
            self._show_state(w, self._states, shown)

    def _show_state(self, w: int, states: States, shown: list[int]) -> None:
        """Put a world's state behind what its agents see; behind nothing is nothing."""
        rows = self._observations[w, :, -states.size :]
        try:
            state = states.of(self.worlds[w]) if shown else np.zeros(states.size, np.float32)
        except NotAsDeclaredError as wrong:
            if self.worlds[w].agents:
                raise wrong.of(self._who(w)) from None
            self.remark(f"{self._name} {wrong} once all agents have left: the state before it counts as its last")
            state = rows[shown[0]].copy()
        rows[:] = 0
        rows[shown] = state

    def _see_one(self, w: int, i: int, seen: Any, info: dict[str, Any], turn: Any) -> None:
        flat, masks = self._flats[self._group_of[i]], self._masks[self._group_of[i]]
        if seen is None and self._present[w, i]:
            raise NotAsDeclaredError("gave no observation, though it is there")
        shown = np.zeros(1) if seen is None else self._laid_out(i, flat.one(seen))
        if self._states is None:
            self._observations[w, i] = shown
        else:
            self._observations[w, i, : -self._states.size] = shown.ravel()
        mask = flat.mask(seen) if seen is not None and flat.has_mask else info.get(MASK)
        row = self._own[self._group_of[i]] if mask is None else self._among_all(i, masks.row(mask))
        if turn is not None:
            row = self._waiting if self.agents[i] != turn else np.ones_like(self._waiting) if row is None else row
        if row is None:
            if self._legal is not None:
                self._legal[w, i] = True
            return
        if self._legal is None:
            self._legal = np.ones((*self._present.shape, len(row)), np.bool_)
        self._legal[w, i] = row

    def _laid_out(self, i: int, seen: np.ndarray) -> np.ndarray:
        return seen if self._grouped is None else self._grouped.laid_out(seen, self._group_of[i])

    def _among_all(self, i: int, legal: np.ndarray) -> np.ndarray:
        """A mask of an agent's own actions as one of those that any group has."""
        own = self._own[self._group_of[i]]
        if own is None:
            return legal
        row = np.zeros_like(own)
        row[: len(legal)] = legal
        return row


def _by_agent(told: Any) -> dict[str, Any]:
    """What a world gave of its agents, by name.

    Raises:
        NotAsDeclaredError: If it names none.
    """
    if not isinstance(told, dict):
        raise NotAsDeclaredError(f"gave {in_words(told)}; expected a dict by agents")
    return told


def _common(name: str, given: list[Any]) -> tuple[Any, list[np.ndarray | None]]:
    """A space that holds every group's actions, and the masks of their own, where they are not all.

    Raises:
        ConfigError: If there is none.
    """
    if all(space == given[0] for space in given):
        return given[0], [None] * len(given)
    if not all(isinstance(space, spaces.Discrete) and space.start == 0 for space in given):
        listed = ", ".join(map(str, given))
        raise ConfigError("env.init_args.id", name, f"groups whose actions are alike, or Discrete from 0, not {listed}")
    most = max(int(space.n) for space in given)
    return spaces.Discrete(most), [np.arange(most) < int(space.n) for space in given]


def _first_only(space: Any) -> np.ndarray:
    """The mask of someone who may only take the first action, of each choice."""
    counts = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.reshape(-1).tolist()
    return np.concatenate([np.arange(count) == 0 for count in counts])


class WorldView(World):
    """One world of PettingZoo's as a single environment."""

    def __init__(self, vector: PettingZooVector, *, is_drawn: bool) -> None:
        """Show the only world of a vector; `is_drawn` if it was made with a render mode."""
        self._vector = vector
        super().__init__(vector)
        self.metadata = vector.worlds[0].metadata
        self._last: Any = None
        if is_drawn:
            vector.ends = self._keep_last

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the world."""
        super().reset(seed=seed)
        self._last = None
        observations, _ = self._vector.reset(seed=seed, options=options)
        return self._shown(observations), self._told()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step; the reward is the agents' mean, and the first end of an agent ends the episode."""
        self._last = None
        observations, rewards, terminated, truncated, _ = self._vector.step(self._of_agents(actions))
        return (
            self._shown(observations),
            float(rewards.mean()),
            bool(terminated.any()),
            bool(truncated.any()),
            self._told(),
        )

    def render(self) -> Any:
        """As the world draws itself; at the end as it was before it began anew."""
        return self._vector.worlds[0].render() if self._last is None else self._last

    def _keep_last(self, world: int) -> None:
        self._last = self._vector.worlds[world].render()

    def close(self) -> None:
        """Close the world."""
        self._vector.close()

    def _told(self) -> dict[str, Any]:
        legal = self._vector.legal_actions()
        return {} if legal is None else {MASK: self._shown(legal)}
