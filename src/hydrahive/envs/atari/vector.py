"""Many Atari games as one vector, with snapshots: what was played since a seeded reset is played again."""

from __future__ import annotations

from functools import partial
from typing import Any

import ale_py
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from hydrahive.core.state import State, digest
from hydrahive.core.streams import derived_seed
from hydrahive.envs.atari.config import Atari
from hydrahive.envs.vector import GAME_LENGTH, SnapshotVectorEnv, with_own_metadata

RESEED_AFTER = 3_000
"""Steps since its last seeded reset after which a game's end is followed by another one.

A seeded reset loads the ROM, which takes as long as 300 steps; short games share one. It bounds what a restore plays.
"""

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def emulator(config: Atari, count: int, **drawing: Any) -> AtariVectorEnv:
    """ALE's own vector under the protocol, resetting nothing that it is not told to before the next step."""
    rules = config.rules
    make = partial(
        AtariVectorEnv,
        config.rom,
        count,
        num_threads=1,
        autoreset_mode=AutoresetMode.NEXT_STEP,
        max_num_frames_per_episode=config.max_frames,
        repeat_action_probability=rules.sticky_actions,
        full_action_space=config.full_action_set,
        frameskip=config.frame_skip,
        noop_max=rules.noop_max,
        use_fire_reset=config.fire_on_reset,
        reward_clipping=False,
        **{"stack_num": 1, "img_height": config.size, "img_width": config.size, **drawing},
    )
    made: AtariVectorEnv = with_own_metadata(make)
    return made


class AtariVector(SnapshotVectorEnv):
    """Games in ALE's C++ vector; observations are the last frames, uint8 `[stack, size, size]`, the newest last.

    ALE's state cannot be taken out, but it follows from the seed of a game's last seeded reset and the actions since.
    A snapshot holds these and a digest of the frames that they led to.
    """

    def __init__(self, config: Atari, num_envs: int, *, in_colours: bool = False) -> None:
        """Load the game's ROM `num_envs` times; `in_colours` again, for ALE draws either for agents or for people."""
        self.closed = False
        self._ale: Any = None  # Gymnasium closes what could not be made, too
        self._screen: Any = None
        self.num_envs, self.stack = num_envs, config.stack
        self._life_loss_ends = config.rules.life_loss_ends
        self._ale = emulator(config, num_envs)
        if in_colours:
            self._screen = emulator(config, num_envs, grayscale=False, img_height=210, img_width=160)
        self.picture: np.ndarray | None = None
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_fps": 60 / config.frame_skip}
        shape = (config.stack, config.size, config.size)
        self.single_observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space = self._ale.single_action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._frames = np.zeros((num_envs, *shape), np.uint8)
        self._lives = np.zeros(num_envs, np.int64)
        self._scores = np.zeros(num_envs, np.float64)
        self._lengths = np.zeros(num_envs, np.int64)
        self._seed = 0
        self._seedings = np.zeros(num_envs, np.int64)
        """Seeded resets of each game before the one that its actions count from."""
        self._actions = [bytearray() for _ in range(num_envs)]

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game everywhere.

        Raises:
            ValueError: If `seed` is a list: one number seeds all games, each with a stream of its own.
        """
        if isinstance(seed, list):
            raise ValueError("Atari: one seed for all games, not a list of them")
        self._seed = self._seed + 1 if seed is None else seed
        self._seedings[:] = 0
        self._begin(np.ones(self.num_envs, np.bool_), anew=True)
        return self._frames.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere; a game that is over begins anew in the same step.

        Raises:
            ValueError: If there is no such action, for which ALE would wait for ever.
        """
        self._refuse_unknown(actions)
        for i, action in enumerate(actions.tolist()):
            self._actions[i].append(action)
        return self._advance(actions)

    def _refuse_unknown(self, actions: np.ndarray) -> None:
        count = len(self._ale.ale.get_action_set())
        if len(actions) and not (int(actions.min()) >= 0 and int(actions.max()) < count):
            raise ValueError(f"actions {sorted(set(actions.tolist()))}; the game has {count}, from 0")

    def _advance(
        self, actions: np.ndarray, awaiting: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step everywhere; `awaiting` marks games whose replay has not begun, of which nothing counts."""
        frames, rewards, over, truncated, infos = self._ale.step(actions)
        if self._screen:
            self.picture = self._screen.step(actions)[0][:, 0]
        rewards, over = rewards.astype(np.float64), over.astype(np.bool_)
        truncated = truncated.astype(np.bool_) & ~over
        self._push(frames[:, 0])
        self._scores += rewards
        self._lengths += 1
        lives = infos["lives"].astype(np.int64)
        ended = over | truncated
        lost = (lives < self._lives) & ~ended if self._life_loss_ends else np.zeros_like(over)
        self._lives = lives
        told: dict[str, Any] = {}
        if awaiting is not None:
            ended &= ~awaiting
            lost &= ~awaiting
        if ended.any() or lost.any():
            told = self._told(ended | lost, ended)
            if lost.any():  # the learner's episode begins behind the life, the game goes on
                self._frames[lost, :-1] = 0
            if ended.any():
                last = self.picture
                self._begin_where(ended)
                self.picture = last  # people see how it ended
        return self._frames.copy(), rewards, over | lost, truncated, told

    def _told(self, all_ended: np.ndarray, games_over: np.ndarray) -> dict[str, Any]:
        """What is said of episodes that ended: scores and lengths of whole games, none where only a life was lost."""
        final = {"score": np.where(games_over, self._scores, np.nan), GAME_LENGTH: self._lengths.copy()}
        return {
            "final_obs": self._frames.copy(),
            "_final_obs": all_ended,
            "final_info": final,
            "_final_info": all_ended,
        }

    def _push(self, newest: np.ndarray) -> None:
        self._frames[:, :-1] = self._frames[:, 1:]
        self._frames[:, -1] = newest

    def _begin_where(self, ended: np.ndarray) -> None:
        """Begin games, seeded anew where much was played since they last were."""
        played = np.array([len(actions) for actions in self._actions])
        anew = ended & (played >= RESEED_AFTER)
        self._seedings += anew
        if anew.any():
            self._begin(anew, anew=True)
        if (ended & ~anew).any():
            self._begin(ended & ~anew, anew=False)

    def _begin(self, which: np.ndarray, *, anew: bool) -> None:
        seeds = None
        if anew:
            seeds = np.array([self._game_seed(i) for i in np.flatnonzero(which).tolist()])
            for i in np.flatnonzero(which).tolist():
                self._actions[i] = bytearray()
        options = None if which.all() else {"reset_mask": which}
        frames: np.ndarray
        frames, infos = self._ale.reset(seed=seeds, options=options)
        if self._screen:
            self.picture = self._screen.reset(seed=seeds, options=options)[0][:, 0]
        self._frames[which, :-1] = 0
        self._frames[which, -1] = frames[which, 0]
        self._lives[which] = infos["lives"][which]
        self._scores[which], self._lengths[which] = 0, 0

    def _game_seed(self, i: int) -> int:
        return derived_seed(self._seed, "ale", i, int(self._seedings[i]))

    def thumbnail(self, index: int) -> np.ndarray:
        """The newest frame, in grey."""
        newest: np.ndarray = self._frames[index, -1].copy()
        return newest

    def snapshot(self) -> State:
        """Seeds, the actions since, and a digest of what they led to."""
        return {
            "seed": np.array([self._seed], np.int64),
            "seedings": self._seedings.copy(),
            "counts": np.array([len(actions) for actions in self._actions], np.int64),
            "actions": np.frombuffer(b"".join(self._actions), np.uint8).copy(),
            "frames": self._digest(),
        }

    def _digest(self) -> np.ndarray:
        return np.frombuffer(bytes.fromhex(digest([("frames", self._frames), ("scores", self._scores)])), np.uint8)

    def restore(self, state: State) -> None:
        """Play what was played.

        Raises:
            ValueError: If it leads elsewhere, as with another version of the emulator, or is of other games.
        """
        counts = state["counts"]
        if counts.shape != (self.num_envs,) or len(state["actions"]) != counts.sum():
            raise ValueError(f"state of {len(counts)} games; expected one of {self.num_envs}")
        self._refuse_unknown(state["actions"])
        self._seed, self._seedings = int(state["seed"][0]), state["seedings"].copy()
        played = [actions.astype(np.int64) for actions in np.split(state["actions"], np.cumsum(counts)[:-1])]
        steps = int(counts.max(initial=0))
        first = steps - counts
        """The step in which each game's replay begins, so that all end together."""
        row = np.zeros(self.num_envs, np.int64)
        self._ale.reset()  # ALE wants all to begin once before some do
        for step in range(steps + 1):
            self.still_alive()
            begins = first == step
            if begins.any():
                self._begin(begins, anew=True)
            if step == steps:
                break
            for i in np.flatnonzero(first <= step):
                row[i] = played[i][step - first[i]]
                self._actions[i].append(int(row[i]))
            self._advance(row, first > step)
        if self._digest().tobytes() != state["frames"].tobytes():
            raise ValueError("the games' actions lead elsewhere than before: another version of ALE or of the ROM?")

    def close_extras(self, **kwargs: Any) -> None:
        """Let go of the emulators."""
        self._ale = self._screen = None
