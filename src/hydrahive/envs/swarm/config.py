"""The swarm's world, and what its agents see and earn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hydrahive.core.config import EnvConfig, made, require, require_integer, require_number
from hydrahive.core.state import SnapshotKind

WALL = 5.0
"""How far the walls reach into the arena, in units."""

SMALLEST, LARGEST = 1e-3, 1e5
"""Of an agent's and a world's measures, in their units: beyond them nothing is told apart, or too much."""

WALL_DEPTH = 500.0
"""How far walls reach outwards, in units: more than twice as far as any agent gets in a physics step."""

MARGIN = 50.0
"""Distance from the arena's edge within which nothing is placed, in units."""


OBSTACLE_SIDES = (30.0, 90.0)
"""Shortest and longest side of an obstacle, in units."""

OBSTACLE_AREA = OBSTACLE_SIDES[1] ** 2
"""What an obstacle takes at most."""


@dataclass(frozen=True)
class SwarmReward:
    """What an agent earns in a step.

    Attributes:
        goal: Reaching its goal.
        distance: Times the distance to the goal, in thousands of units; Entropy Engine pays -1.
        shaping: Times the potential that is gained, `d - shaping_discount * d'` in thousands of units (Ng et al. 1999).
        shaping_discount: With the learner's discount, shaping leaves the best way to a goal the best, but standing
            still far away pays, and a value function has to learn by how much; 1 pays progress and nothing else.
        collision: Touching another agent, a wall or an obstacle.
    """

    goal: float = 10.0
    distance: float = -1.0
    shaping: float = 0.0
    shaping_discount: float = 0.99
    collision: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is not finite."""
        for key in ("goal", "distance", "shaping", "collision"):
            require_number(key, getattr(self, key))
        require_number("shaping_discount", self.shaping_discount, 0, 1)


@dataclass(frozen=True)
class SwarmStage:
    """How hard the world is from some point of a run on.

    Attributes:
        from_env_steps: Env steps of the run from which on worlds that begin anew are like this.
        agents: How many drive in a world, at most as many as it has; the others wait outside.
        width: Of the arena, in units.
        height: Of the arena, in units.
        obstacles: Rectangles in each world.
    """

    from_env_steps: int = 0
    agents: int = 10
    width: float = 800.0
    height: float = 600.0
    obstacles: int = 0

    def __post_init__(self) -> None:
        """Refuse a world without agents."""
        require_integer("from_env_steps", self.from_env_steps, 0)
        require_integer("agents", self.agents, 1, 200)
        require_number("width", self.width, 0, LARGEST, above=True)
        require_number("height", self.height, 0, LARGEST, above=True)
        require_integer("obstacles", self.obstacles, 0, 50)


@dataclass(frozen=True)
class Swarm(EnvConfig):
    """Discs with two motors, lidar and a goal each; every agent is one environment of the vector.

    Attributes:
        agents: Agents of a world, 1 to 200; the environments of a shard are whole worlds.
        width: Of the arena, in units.
        height: Of the arena, in units.
        radius: Of an agent, in units.
        mass: Of an agent.
        motor_force: Of a motor at full command, in mass times units per second squared.
        damping: Share of its velocity that a body keeps over a second.
        substeps: Physics steps of an env step.
        physics_hz: Physics steps in a second.
        rays: Lidar rays, evenly around, the first one straight ahead.
        lidar_range: How far a ray sees, in units.
        goal_radius: A goal is reached within this and the agent's radius, in units.
        shared_goal: Whether a world's agents have one goal together, which moves when one of them reaches it.
        time_limit: Env steps after which a world begins anew, as a truncation.
        observe_heading: Whether the agent sees its heading, and its velocity in its own frame and how it turns, instead
            of the velocity in the world's frame.
        obstacles: Rectangles in each world, drawn when it begins anew.
        channel: Numbers that each agent says in a step besides driving; its nearest neighbours hear them in the next.
        neighbours: How many of the nearest agents are heard.
        reward: What an agent earns.
        stages: A curriculum: the worlds of a stage replace `agents`, `width`, `height` and `obstacles`; empty for none.
    """

    agents: int = 10
    width: float = 800.0
    height: float = 600.0
    radius: float = 10.0
    mass: float = 1.0
    motor_force: float = 1000.0
    damping: float = 0.5
    substeps: int = 3
    physics_hz: float = 60.0
    rays: int = 32
    lidar_range: float = 300.0
    goal_radius: float = 15.0
    shared_goal: bool = False
    time_limit: int = 200
    observe_heading: bool = False
    obstacles: int = 0
    channel: int = 0
    neighbours: int = 1
    reward: SwarmReward = field(default_factory=SwarmReward)
    stages: list[SwarmStage] = field(default_factory=list)

    numpy_products: ClassVar[bool] = False
    step_weight: ClassVar[int] = 20
    """What stepping one agent costs, in Snake steps."""

    def __post_init__(self) -> None:
        """Refuse worlds that cannot be."""
        require_integer("agents", self.agents, 1, 200)
        require_number("radius", self.radius, SMALLEST, MARGIN - WALL)
        for key in ("mass", "motor_force", "physics_hz", "lidar_range", "goal_radius"):
            require_number(key, getattr(self, key), SMALLEST, LARGEST)
        require_number("damping", self.damping, 0, 1, above=True)
        require_integer("substeps", self.substeps, 1, 100)
        require_integer("rays", self.rays, 1, 360)
        require_integer("time_limit", self.time_limit, 1)
        require_integer("obstacles", self.obstacles, 0, 50)
        require_integer("channel", self.channel, 0, 64)
        require_integer("neighbours", self.neighbours, 1, 16)
        self._refuse_if_faster_than_walls_are_deep()
        begins = [stage.from_env_steps for stage in self.stages]
        in_order = begins == sorted(set(begins)) and begins[:1] in ([], [0])
        require(in_order, "stages", begins, "stages whose from_env_steps begin at 0 and grow")
        for stage in self.worlds():
            most = f"at most {self.agents}, the world's agents"
            require(stage.agents <= self.agents, "stages", stage.agents, most)
            self._refuse_if_crowded(stage)

    def modules(self) -> tuple[str, ...]:
        """Pymunk moves the bodies."""
        return ("pymunk",)

    @property
    def snapshot_kind(self) -> SnapshotKind:
        """Rebuilt: no array holds what Pymunk remembers of contacts."""
        return SnapshotKind.REBUILT

    @property
    def group(self) -> int:
        """The agents of a world."""
        return self.agents

    def worlds(self) -> list[SwarmStage]:
        """The stages, or the one world that there is."""
        return self.stages or [SwarmStage(0, self.agents, self.width, self.height, self.obstacles)]

    @property
    def observation_size(self) -> int:
        """Numbers that an agent sees."""
        return self.rays + (7 if self.observe_heading else 4) + self.channel * self.neighbours

    @property
    def action_size(self) -> int:
        """Numbers that an agent decides on: two motors, and what it says."""
        return 2 + self.channel

    def _refuse_if_faster_than_walls_are_deep(self) -> None:
        """Refuse motors that could drive an agent through a wall between two looks at it."""
        seconds, steps = 1 / self.physics_hz, self.substeps * self.time_limit
        kept = self.damping**seconds
        pushes = (1 - kept**steps) / (1 - kept) if kept < 1 else steps
        furthest = 2 * self.motor_force / self.mass * seconds * pushes * seconds
        accepted = (
            f"less, or more mass, damping or physics_hz: at full speed an agent would go {furthest:,.0f} units in a "
            f"physics step; who gets further than {WALL_DEPTH / 2:g} into a wall is pushed out behind it"
        )
        require(furthest <= WALL_DEPTH / 2, "motor_force", self.motor_force, accepted)

    def _refuse_if_crowded(self, stage: SwarmStage) -> None:
        """Refuse an arena in which the agents and obstacles would not find a place by chance."""
        inside = max(0.0, stage.width - 2 * MARGIN) * max(0.0, stage.height - 2 * MARGIN)
        taken = stage.agents * math.pi * (2 * self.radius) ** 2 + stage.obstacles * OBSTACLE_AREA
        side = max(math.sqrt(2 * taken), OBSTACLE_SIDES[1] if stage.obstacles else 0.0) + 2 * MARGIN
        fits = not stage.obstacles or min(stage.width, stage.height) >= OBSTACLE_SIDES[1] + 2 * MARGIN
        accepted = f"an arena with more room inside its margin of {MARGIN:g}, as {side:.0f} by {side:.0f} has"
        require(2 * taken <= inside and fits, "width", f"{stage.width:g} by {stage.height:g}", accepted)

    def make_vector(self, num_envs: int) -> Any:
        """As many whole worlds as have `num_envs` agents, at least one."""
        return made("hydrahive.envs.swarm.vector:SwarmVector", max(1, num_envs // self.agents), self)

    def make_single(self, render_mode: str | None = None) -> Any:
        """One world, all agents at once, for playing and recording."""
        return made("hydrahive.envs.swarm.view:SwarmView", self, render_mode)
