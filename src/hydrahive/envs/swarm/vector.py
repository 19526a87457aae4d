"""The swarm as Gymnasium's `VectorEnv`: worlds times agents, each agent one environment."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pymunk
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from pymunk import batch

from hydrahive.core.state import State
from hydrahive.core.streams import stream_key
from hydrahive.envs.swarm.config import WALL, WALL_DEPTH, Swarm, SwarmStage
from hydrahive.envs.swarm.drawing import Picture, drawn
from hydrahive.envs.swarm.world import (
    AGENT,
    PARKING,
    WORLD,
    X,
    begin_world,
    drive,
    find_touching,
    judge,
    observe,
    rules_of,
)
from hydrahive.envs.vector import SnapshotVectorEnv, take_state

BODY = (
    batch.BodyFields.POSITION | batch.BodyFields.ANGLE | batch.BodyFields.VELOCITY | batch.BodyFields.ANGULAR_VELOCITY
)
MOTION = batch.BodyFields.FORCE | batch.BodyFields.TORQUE

THUMBNAIL_PIXELS = 96
"""Width of the small picture that is shown while the run goes on."""

ELASTICITY = {"agent": 0.2, "wall": 0.5}
FRICTION = {"agent": 0.7, "wall": 0.5}


def observation_space(config: Swarm) -> spaces.Box:
    """What one agent sees: lidar in [0, 1], then velocity, goal and the rest without bounds."""
    low = np.full(config.observation_size, -np.inf, np.float32)
    high = np.full(config.observation_size, np.inf, np.float32)
    low[: config.rays], high[: config.rays] = 0.0, 1.0
    return spaces.Box(low, high, dtype=np.float32)


def action_space(config: Swarm) -> spaces.Box:
    """What one agent does: left and right motor, and what it says."""
    return spaces.Box(-1.0, 1.0, (config.action_size,), np.float32)


class SwarmVector(SnapshotVectorEnv):
    """`worlds` worlds of `config.agents` agents; column `w * agents + i` is agent `i` of world `w`.

    All worlds lie side by side in one Pymunk space, far apart, so that physics and kernels are called once a step.
    A world whose time is up begins anew in the same step, which truncates all its agents. A restored space lacks what
    Pymunk remembers of contacts, so a snapshot is *rebuilt*: whoever wants to continue identically restores, too.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    def __init__(self, worlds: int, config: Swarm) -> None:
        """Lay out the worlds; the first `reset` seeds and fills them."""
        self.config = config
        self.num_envs = worlds * config.agents
        self.single_observation_space: spaces.Box = observation_space(config)
        self.single_action_space: spaces.Box = action_space(config)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        stages = config.worlds()
        widest = max(stage.width for stage in stages)
        self._rules = rules_of(config, widest + 2 * PARKING)
        self._worlds = np.zeros(worlds, WORLD)
        self._agents = np.zeros((worlds, config.agents), AGENT)
        self._bodies = np.zeros((worlds, config.agents, 6))
        self._obstacles = np.zeros((worlds, max(stage.obstacles for stage in stages), 4))
        self._messages = np.zeros((worlds, config.agents, config.channel), np.float32)
        self._touching = np.zeros((worlds, config.agents), np.bool_)
        self._env_steps = 0
        turns = 2 * math.pi * np.arange(config.rays) / config.rays
        self._directions = np.stack([np.cos(turns), np.sin(turns)])
        # Behind the agents' bodies, which come in the order in which they were added, Pymunk lists the ground's.
        self._motion = np.zeros((self.num_envs + 1, 3))
        self._placing = np.zeros((self.num_envs + 1, 6))
        self._build_space()

    def advance(self, env_steps: int) -> None:
        """Worlds that begin from now on are of the stage of a run that has come so far."""
        self._env_steps = env_steps

    def present(self) -> np.ndarray | None:
        """Which agents are in their world."""
        count = self._worlds["agents"]
        if (count == self.config.agents).all():
            return None
        here: np.ndarray = (np.arange(self.config.agents) < count[:, None]).reshape(-1)
        return here

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin every world; with a seed, also its stream anew.

        Args:
            seed: One integer, from which each world derives its own, or one for each agent, of which each world
                takes its first agent's.
            options: Not used.
        """
        if seed is None and not self._worlds["key"].any():
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if seed is not None:
            for w in range(len(self._worlds)):
                first = seed if isinstance(seed, int) else seed[w * self.config.agents] or 0
                self._worlds["key"][w] = stream_key(first, "swarm", *([w] if isinstance(seed, int) else []))[0]
            self._worlds["draws"] = 0
        everyone = np.ones(len(self._worlds), np.bool_)
        self._begin(everyone)
        self._build_space()
        self._messages[:] = 0
        return self._observed(everyone), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Drive for one env step.

        Args:
            actions: `[num_envs, 2 + channel]`, motor commands and messages, clamped to [-1, 1].

        Raises:
            ValueError: If they are of another shape, or not finite.
        """
        actions = self._accepted(actions)
        before = self._bodies[:, :, :2].copy()
        for _ in range(self.config.substeps):
            drive(self._bodies.reshape(-1, 6)[:, 2], actions, self._worlds, self._rules, self._motion)
            batch.set_space_bodies(self._space, MOTION, self._motion_buffer)
            self._space.step(1.0 / self.config.physics_hz)
            self._read_bodies()
        worlds, agents = self._agents.shape
        if self.config.channel:
            self._messages[:] = np.clip(actions[:, 2:], -1.0, 1.0).reshape(worlds, agents, -1)
        rewards = np.zeros((worlds, agents), np.float32)
        everyone = np.ones(worlds, np.bool_)
        find_touching(self._worlds, self._bodies, self._obstacles, self._rules, self._touching)
        judge(self._worlds, self._agents, self._bodies, before, self._obstacles, self._rules, rewards, self._touching)
        observations = self._observed(everyone)
        terminated = np.zeros(self.num_envs, np.bool_)
        over = self._worlds["steps"] >= self.config.time_limit
        present = self.present()
        truncated = np.repeat(over, agents) if present is None else np.repeat(over, agents) & present
        infos: dict[str, Any] = {}
        if over.any():
            infos = self._ended(observations, truncated)
            self._begin(over)
            self._settle(over)
            self._messages[over] = 0
            observations = observations.copy()  # the last ones stay with whoever asked
            self._observe(over, observations)
        return observations, rewards.reshape(-1), terminated, truncated, infos

    def snapshot(self) -> State:
        """All worlds as arrays; what Pymunk remembers of contacts is not among them."""
        return {
            "worlds": _bytes_of(self._worlds).copy(),
            "agents": _bytes_of(self._agents).copy(),
            "bodies": self._bodies.copy(),
            "obstacles": self._obstacles.copy(),
            "messages": self._messages.copy(),
            "env_steps": np.array([self._env_steps], np.int64),
        }

    def restore(self, state: State) -> None:
        """Continue from `snapshot`'s state in a space built anew."""
        take_state(_bytes_of(self._worlds), state, "worlds")
        take_state(_bytes_of(self._agents), state, "agents")
        for name, array in (("bodies", self._bodies), ("obstacles", self._obstacles), ("messages", self._messages)):
            take_state(array, state, name)
        self._env_steps = int(state["env_steps"][0])
        self._build_space()

    def picture(self, world: int = 0) -> Picture:
        """What is to be drawn of a world, with what its agents' lidars meet."""
        lidar = self._observed(np.ones(len(self._worlds), np.bool_)).reshape(*self._agents.shape, -1)
        return self._picture(world, lidar[world, :, : self.config.rays])

    def thumbnail(self, index: int) -> np.ndarray:
        """The world that an agent is in, without lidars."""
        world, nobody_looks = index // self.config.agents, np.zeros((self.config.agents, 0), np.float32)
        return drawn(self._picture(world, nobody_looks), self.config, THUMBNAIL_PIXELS)

    def _picture(self, world: int, lidar: np.ndarray) -> Picture:
        count = int(self._worlds["agents"][world])
        bodies = self._bodies[world, :count].copy()
        bodies[:, X] -= world * float(self._rules["spacing"][0])
        return Picture(
            float(self._worlds["width"][world]),
            float(self._worlds["height"][world]),
            bodies,
            np.stack([self._agents["goal_x"][world, :count], self._agents["goal_y"][world, :count]], axis=1),
            self._obstacles[world, : int(self._worlds["obstacles"][world])].copy(),
            lidar[:count],
        )

    def _accepted(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions, np.float64)
        wanted = (self.num_envs, self.config.action_size)
        if actions.shape != wanted:
            raise ValueError(f"actions of shape {list(actions.shape)} are not accepted; expected {list(wanted)}")
        if not np.isfinite(actions).all():
            row = int(np.argwhere(~np.isfinite(actions))[0][0])
            raise ValueError(
                f"the action of agent {row % self.config.agents} in world {row // self.config.agents} "
                f"is not finite: {actions[row].tolist()}"
            )
        return actions

    def _stage(self) -> SwarmStage:
        return [stage for stage in self.config.worlds() if stage.from_env_steps <= self._env_steps][-1]

    def _begin(self, which: np.ndarray) -> None:
        """Begin some worlds anew, of the present stage."""
        stage = self._stage()
        for w in np.flatnonzero(which):
            world: Any = self._worlds[w]
            world["agents"], world["obstacles"] = stage.agents, stage.obstacles
            world["width"], world["height"] = stage.width, stage.height
            offset = w * float(self._rules["spacing"][0])
            begin_world(
                self._worlds[w : w + 1][0], self._agents[w], self._bodies[w], self._obstacles[w], self._rules[0], offset
            )

    def _settle(self, begun: np.ndarray) -> None:
        """Move the space's bodies to where some worlds began anew, and raise their walls and obstacles."""
        self._placing[:-1] = self._bodies.reshape(-1, 6)
        batch.set_space_bodies(self._space, BODY, self._placing_buffer)
        for w in np.flatnonzero(begun).tolist():
            self._space.remove(*self._solids[w])
            for solid in self._solids[w]:
                solid.body = None  # else the ground keeps it
            self._solids[w] = self._solids_of(w)
            self._space.add(*self._solids[w])

    def _observed(self, which: np.ndarray) -> np.ndarray:
        space = self.single_observation_space
        out = np.zeros((self.num_envs, *space.shape), np.float32)
        self._observe(which, out)
        return out

    def _observe(self, which: np.ndarray, out: np.ndarray) -> None:
        observe(
            self._worlds,
            which,
            self._agents,
            self._bodies,
            self._obstacles,
            self._messages,
            self._rules,
            self._directions,
            out.reshape(*self._agents.shape, -1),
        )

    def _ended(self, observations: np.ndarray, truncated: np.ndarray) -> dict[str, Any]:
        """What is told of the agents whose world is over."""
        goals = self._agents["goals"].reshape(-1)
        with np.errstate(invalid="ignore"):
            efficiency = self._agents["efficiency"].reshape(-1) / goals
        per_episode = {
            "score": goals.astype(np.float64),
            "reached": (goals > 0).astype(np.float64),
            "collisions": self._agents["collisions"].reshape(-1).astype(np.float64),
            "path_efficiency": efficiency,
        }
        told: dict[str, Any] = {name: values.copy() for name, values in per_episode.items()}
        told |= {f"_{name}": truncated.copy() for name in per_episode}
        return {
            "final_obs": observations,
            "_final_obs": truncated.copy(),
            "final_info": told,
            "_final_info": truncated.copy(),
        }

    def _read_bodies(self) -> None:
        self._body_buffer.clear()
        batch.get_space_bodies(self._space, BODY, self._body_buffer)
        read = np.frombuffer(self._body_buffer.float_buf()).reshape(-1, 6)
        self._bodies.reshape(-1, 6)[:] = read[: self.num_envs]

    def _build_space(self) -> None:
        """A space with all worlds as the arrays say."""
        config = self.config
        self._space = pymunk.Space()
        self._space.damping = config.damping
        moment = pymunk.moment_for_circle(config.mass, 0.0, config.radius)
        for x, y, angle, vx, vy, spin in self._bodies.reshape(-1, 6).tolist():
            body = pymunk.Body(config.mass, moment)
            body.position, body.angle, body.velocity, body.angular_velocity = (x, y), angle, (vx, vy), spin
            disc = pymunk.Circle(body, config.radius)
            disc.elasticity, disc.friction = ELASTICITY["agent"], FRICTION["agent"]
            self._space.add(body, disc)
        self._solids = [self._solids_of(w) for w in range(len(self._worlds))]
        for solids in self._solids:
            self._space.add(*solids)
        self._body_buffer, self._motion_buffer, self._placing_buffer = batch.Buffer(), batch.Buffer(), batch.Buffer()
        self._motion_buffer.set_float_buf(self._motion)
        self._placing_buffer.set_float_buf(self._placing)

    def _solids_of(self, w: int) -> list[pymunk.Shape]:
        """A world's walls and obstacles."""
        ground, world = self._space.static_body, self._worlds[w]
        left, width, height = w * float(self._rules["spacing"][0]), float(world["width"]), float(world["height"])
        right, far = left + width, WALL_DEPTH
        boxes = [
            (left - far, -far, left + WALL, height + far),
            (right - WALL, -far, right + far, height + far),
            (left - far, -far, right + far, WALL),
            (left - far, height - WALL, right + far, height + far),
        ]
        for x, y, half_x, half_y in self._obstacles[w, : int(world["obstacles"])].tolist():
            boxes.append((left + x - half_x, y - half_y, left + x + half_x, y + half_y))
        solids: list[pymunk.Shape] = [
            pymunk.Poly(ground, [(low_x, low_y), (high_x, low_y), (high_x, high_y), (low_x, high_y)])
            for low_x, low_y, high_x, high_y in boxes
        ]
        for solid in solids:
            solid.elasticity, solid.friction = ELASTICITY["wall"], FRICTION["wall"]
        return solids


def _bytes_of(records: np.ndarray) -> np.ndarray:
    return records.view(np.uint8).reshape(*records.shape, records.dtype.itemsize)
