"""The swarm's worlds as arrays, and the kernels that place, drive, judge and describe."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from hydrahive.envs.philox import philox
from hydrahive.envs.swarm.config import MARGIN, OBSTACLE_SIDES, WALL, Swarm
from hydrahive.envs.swarm.lidar import scan

WORLD = np.dtype(
    [
        ("key", np.uint64),  # of this world's own Philox stream
        ("draws", np.uint64),  # how often that stream was drawn from
        ("steps", np.int64),  # env steps since the world began
        ("agents", np.int64),  # how many are in it
        ("obstacles", np.int64),
        ("width", np.float64),
        ("height", np.float64),
    ]
)
"""One world."""

AGENT = np.dtype(
    [
        ("goal_x", np.float64),  # in the world's frame, like all places here
        ("goal_y", np.float64),
        ("distance", np.float64),  # to the goal, after the last step
        ("goals", np.int64),  # reached since the world began
        ("collisions", np.int64),  # steps in which it touched something
        ("path", np.float64),  # driven since the goal was given
        ("straight", np.float64),  # distance to the goal when it was given
        ("efficiency", np.float64),  # sum over reached goals of straight / driven
    ]
)
"""One agent, besides its body."""

RULES = np.dtype(
    [
        ("radius", np.float64),
        ("motor_force", np.float64),
        ("reach", np.float64),
        ("goal_radius", np.float64),
        ("shared_goal", np.bool_),
        ("observe_heading", np.bool_),
        ("channel", np.int64),
        ("neighbours", np.int64),
        ("spacing", np.float64),
        ("goal", np.float64),
        ("distance", np.float64),
        ("shaping", np.float64),
        ("discount", np.float64),
        ("collision", np.float64),
    ]
)
"""The rules as the kernels read them."""

X, Y, ANGLE, VX, VY, SPIN = range(6)
"""What is known of a body: place, heading in radians, velocity in units per second, turning in radians per second."""

PARKING = 2000.0
"""How far outside of its world an agent waits that is not in it, in units."""

TRIES = 10_000
"""Draws after which a thing is placed wherever it fell; a world with room needs a few."""

NEAR = 0.5
"""Distance within which bodies count as touching, in units."""

SPEED_SCALE, SPIN_SCALE, HEIGHT_SCALE, WIDTH_SCALE = 100.0, 10.0, 600.0, 800.0
"""What velocities, turning and goal vectors are divided by in an observation."""


def rules_of(config: Swarm, spacing: float) -> np.ndarray:
    """The config as one record of dtype `RULES`, shape `[1]`; worlds lie `spacing` units apart in one space."""
    rules: Any = np.zeros(1, RULES)
    for name in ("radius", "motor_force", "goal_radius", "shared_goal", "observe_heading", "channel", "neighbours"):
        rules[name] = getattr(config, name)
    rules["reach"], rules["spacing"] = config.lidar_range, spacing
    for name in ("goal", "distance", "shaping", "collision"):
        rules[name] = getattr(config.reward, name)
    rules["discount"] = config.reward.shaping_discount
    record: np.ndarray = rules
    return record


@njit(cache=True)
def uniform(world: Any, low: float, high: float) -> float:
    """A number from the world's stream."""
    bits = philox(world.key, world.draws)
    world.draws += np.uint64(1)
    return low + (high - low) * bits / 4294967296.0


@njit(cache=True)
def is_free(x: float, y: float, clearance: float, world: Any, obstacles: Any) -> bool:
    """Whether a disc of radius `clearance` would touch no obstacle."""
    for o in range(world.obstacles):
        dx = max(abs(x - obstacles[o, 0]) - obstacles[o, 2], 0.0)
        dy = max(abs(y - obstacles[o, 1]) - obstacles[o, 3], 0.0)
        if dx * dx + dy * dy < clearance * clearance:
            return False
    return True


@njit(cache=True)
def place_goal(world: Any, agent: Any, obstacles: Any, clearance: float, x: float, y: float) -> None:
    """Give an agent at (x, y) a goal on free ground."""
    for _ in range(TRIES):
        agent.goal_x = uniform(world, MARGIN, world.width - MARGIN)
        agent.goal_y = uniform(world, MARGIN, world.height - MARGIN)
        if is_free(agent.goal_x, agent.goal_y, clearance, world, obstacles):
            break
    begin_way(agent, x, y)


@njit(cache=True)
def begin_way(agent: Any, x: float, y: float) -> None:
    """Measure the way to a goal from (x, y) on."""
    agent.distance = math.hypot(agent.goal_x - x, agent.goal_y - y)
    agent.straight = agent.distance
    agent.path = 0.0


@njit(cache=True)
def begin_world(world: Any, agents: Any, bodies: Any, obstacles: Any, rules: Any, offset: float) -> None:
    """Draw obstacles, agents at rest with any heading, none touching another, and their goals."""
    world.steps = 0
    for o in range(world.obstacles):
        obstacles[o, 2] = uniform(world, OBSTACLE_SIDES[0], OBSTACLE_SIDES[1]) / 2.0
        obstacles[o, 3] = uniform(world, OBSTACLE_SIDES[0], OBSTACLE_SIDES[1]) / 2.0
        obstacles[o, 0] = uniform(world, MARGIN + obstacles[o, 2], world.width - MARGIN - obstacles[o, 2])
        obstacles[o, 1] = uniform(world, MARGIN + obstacles[o, 3], world.height - MARGIN - obstacles[o, 3])
    for i in range(agents.shape[0]):
        agent, body = agents[i], bodies[i]
        body[ANGLE], body[VX], body[VY], body[SPIN] = 0.0, 0.0, 0.0, 0.0
        agent.goals, agent.collisions, agent.efficiency = 0, 0, 0.0
        if i >= world.agents:
            body[X], body[Y] = offset + 3.0 * rules.radius * i, -PARKING
            continue
        x, y = 0.0, 0.0
        for _ in range(TRIES):
            x, y = uniform(world, MARGIN, world.width - MARGIN), uniform(world, MARGIN, world.height - MARGIN)
            if is_free(x, y, rules.radius + NEAR, world, obstacles) and is_apart(x + offset, y, bodies[:i], rules):
                break
        body[X], body[Y] = x + offset, y
        body[ANGLE] = uniform(world, -math.pi, math.pi)
        if rules.shared_goal and i > 0:
            agent.goal_x, agent.goal_y = agents[0].goal_x, agents[0].goal_y
            begin_way(agent, x, y)
        else:
            place_goal(world, agent, obstacles, rules.radius, x, y)


@njit(cache=True)
def is_apart(x: float, y: float, others: Any, rules: Any) -> bool:
    """Whether an agent there would touch none of the others."""
    apart = 2.0 * rules.radius + NEAR
    for i in range(others.shape[0]):
        dx, dy = others[i, X] - x, others[i, Y] - y
        if dx * dx + dy * dy < apart * apart:
            return False
    return True


@njit(cache=True)
def drive(angles: Any, actions: Any, worlds: Any, rules: Any, out: Any) -> None:
    """Force and torque, `[N, 3]`, of the motors: left and right of the centre, along the heading.

    Commands beyond [-1, 1] are clamped; who is not in a world stands still.
    """
    per_world = angles.shape[0] // worlds.shape[0]
    rule = rules[0]
    for n in range(angles.shape[0]):
        if n % per_world >= worlds[n // per_world].agents:
            out[n, 0], out[n, 1], out[n, 2] = 0.0, 0.0, 0.0
            continue
        left = min(max(actions[n, 0], -1.0), 1.0) * rule.motor_force
        right = min(max(actions[n, 1], -1.0), 1.0) * rule.motor_force
        out[n, 0] = (left + right) * math.cos(angles[n])
        out[n, 1] = (left + right) * math.sin(angles[n])
        out[n, 2] = rule.radius * (left - right)


@njit(cache=True)
def judge(
    worlds: Any, agents: Any, bodies: Any, before: Any, obstacles: Any, rules: Any, rewards: Any, touching: Any
) -> None:
    """After a step: rewards, goals reached and given anew, ways driven.

    Args:
        worlds: `[W]`.
        agents: `[W, A]`.
        bodies: `[W, A, 6]`, now.
        before: `[W, A, 2]`, places before the step.
        obstacles: `[W, K, 4]`.
        rules: `[1]`.
        rewards: `[W, A]`, where to write.
        touching: `[W, A]` bool, who touches something.
    """
    rule = rules[0]
    within = rule.goal_radius + rule.radius
    for w in range(worlds.shape[0]):
        world = worlds[w]
        world.steps += 1
        offset = w * rule.spacing
        moved = False
        for i in range(world.agents):
            agent, body = agents[w, i], bodies[w, i]
            x, y = body[X] - offset, body[Y]
            agent.path += math.hypot(body[X] - before[w, i, 0], y - before[w, i, 1])
            distance = math.hypot(agent.goal_x - x, agent.goal_y - y)
            reward = rule.distance * distance / 1000.0
            reward += rule.shaping * (agent.distance - rule.discount * distance) / 1000.0
            if touching[w, i]:
                agent.collisions += 1
                reward += rule.collision
            agent.distance = distance
            if distance < within and not moved:
                reward += rule.goal
                agent.goals += 1
                agent.efficiency += min(1.0, max(agent.straight - within, 0.0) / max(agent.path, 1e-9))
                place_goal(world, agent, obstacles[w], rule.radius, x, y)
                moved = rule.shared_goal
                if moved:
                    share_goal(agents[w], bodies[w], world.agents, i, offset)
            rewards[w, i] = reward
        for i in range(world.agents, agents.shape[1]):
            rewards[w, i] = 0.0


@njit(cache=True)
def share_goal(agents: Any, bodies: Any, count: int, giver: int, offset: float) -> None:
    """Give all agents of a world the goal of one."""
    for i in range(count):
        if i != giver:
            agents[i].goal_x, agents[i].goal_y = agents[giver].goal_x, agents[giver].goal_y
            begin_way(agents[i], bodies[i, X] - offset, bodies[i, Y])


@njit(cache=True)
def observe(
    worlds: Any,
    chosen: Any,
    agents: Any,
    bodies: Any,
    obstacles: Any,
    messages: Any,
    rules: Any,
    directions: Any,
    out: Any,
) -> None:
    """Write what the agents of the chosen worlds see, `[W, A, D]`."""
    rule = rules[0]
    rays = directions.shape[1]
    for w in range(worlds.shape[0]):
        if not chosen[w]:
            continue
        world, count, offset = worlds[w], worlds[w].agents, w * rule.spacing
        x, y = bodies[w, :, X] - offset, bodies[w, :, Y]
        high_x, high_y = world.width - WALL, world.height - WALL
        scan(
            x,
            y,
            bodies[w, :, ANGLE],
            count,
            rule.radius,
            rule.reach,
            WALL,
            WALL,
            high_x,
            high_y,
            obstacles[w, : world.obstacles],
            directions,
            out[w],
        )
        for i in range(count):
            describe(agents[w, i], bodies[w, i], x[i], y[i], rule, out[w, i, rays:])
            if rule.channel > 0:
                hear(i, x, y, count, messages[w], rule, out[w, i, out.shape[2] - rule.channel * rule.neighbours :])
        for i in range(count, agents.shape[1]):
            out[w, i] = 0.0


@njit(cache=True)
def describe(agent: Any, body: Any, x: float, y: float, rule: Any, out: Any) -> None:
    """Velocity, goal in the body's frame, and if wanted heading and turning."""
    cosine, sine = math.cos(body[ANGLE]), math.sin(body[ANGLE])
    dx, dy = agent.goal_x - x, agent.goal_y - y
    ahead, aside = cosine * dx + sine * dy, cosine * dy - sine * dx
    if rule.observe_heading:
        out[0] = (cosine * body[VX] + sine * body[VY]) / SPEED_SCALE
        out[1] = (cosine * body[VY] - sine * body[VX]) / SPEED_SCALE
    else:
        out[0], out[1] = body[VX] / SPEED_SCALE, body[VY] / SPEED_SCALE
    out[2], out[3] = ahead / WIDTH_SCALE, aside / HEIGHT_SCALE
    if rule.observe_heading:
        out[4], out[5], out[6] = cosine, sine, body[SPIN] / SPIN_SCALE


@njit(cache=True)
def find_touching(worlds: Any, bodies: Any, obstacles: Any, rules: Any, touching: Any) -> None:
    """Write who touches something, bool `[W, A]`."""
    rule = rules[0]
    clear, apart = rule.radius + NEAR, 2.0 * rule.radius + NEAR
    for w in range(worlds.shape[0]):
        world, count = worlds[w], worlds[w].agents
        x, y = bodies[w, :count, X] - w * rule.spacing, bodies[w, :count, Y].copy()
        found = np.zeros(count, np.uint8)
        for i in range(count):
            wall = min(x[i], world.width - x[i], y[i], world.height - y[i]) < WALL + clear
            found[i] |= wall or not is_free(x[i], y[i], clear, world, obstacles[w])
            here_x, here_y, any_other = x[i], y[i], np.uint8(0)
            for j in range(i + 1, count):
                away_x, away_y = x[j] - here_x, y[j] - here_y
                near = np.uint8(away_x * away_x + away_y * away_y < apart * apart)
                found[j] |= near
                any_other |= near
            found[i] |= any_other
        touching[w, :count] = found
        touching[w, count:] = False


@njit(cache=True)
def hear(i: int, x: Any, y: Any, count: int, messages: Any, rule: Any, out: Any) -> None:
    """What the nearest neighbours said, the nearest first; silence (zeros) where there are too few."""
    out[:] = 0.0
    taken = np.zeros(count, np.bool_)
    taken[i] = True
    for n in range(min(rule.neighbours, count - 1)):
        nearest, best = -1, math.inf
        for j in range(count):
            square = (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2
            if not taken[j] and square < best:
                nearest, best = j, square
        taken[nearest] = True
        for c in range(rule.channel):
            out[n * rule.channel + c] = messages[nearest, c]
