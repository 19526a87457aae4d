"""Lidar: how far each ray of each agent sees, in one kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

CLEARANCE = 1.0
"""How far outside of the agent's disc a ray begins, in units."""

TINY = 1e-300
"""Stands for zero in a denominator."""

SLACK = 2e-3
"""How far a direction may be off when rays are picked to be tried, in radians; each is then tried exactly."""


@njit(cache=True)
def scan(
    x: Any,
    y: Any,
    angle: Any,
    agents: int,
    radius: float,
    reach: float,
    low_x: float,
    low_y: float,
    high_x: float,
    high_y: float,
    obstacles: Any,
    directions: Any,
    out: Any,
) -> None:
    """Write how far the rays of a world's agents see, as shares of `reach`: 1 where there is nothing.

    A ray begins `CLEARANCE` outside of the agent's disc. A disc or a rectangle is only tried against the rays that
    its angle lets it meet.

    Args:
        x: `[A]`, the agents' places, in units.
        y: `[A]`, likewise.
        angle: `[A]`, their headings, in radians.
        agents: How many of them are in the world.
        radius: Of an agent, in units.
        reach: How far a ray sees, in units.
        low_x: The walls' inner faces.
        low_y: Likewise.
        high_x: Likewise.
        high_y: Likewise.
        obstacles: `[K, 4]`, rectangles: centre, and half sides.
        directions: `[2, R]`, cosine and sine of each ray's angle from the heading.
        out: `[A, >= R]`, where to write.
    """
    rays = directions.shape[1]
    begin = radius + CLEARANCE
    hits, turned = np.empty((agents, rays)), np.empty((2, agents, rays))
    heading = angle[:agents] - 2.0 * math.pi * np.floor(angle[:agents] / (2.0 * math.pi))
    for i in range(agents):
        cosine, sine = math.cos(heading[i]), math.sin(heading[i])
        right, left, up, down = high_x - x[i], low_x - x[i], high_y - y[i], low_y - y[i]
        for k in range(rays):
            ray_x = cosine * directions[0, k] - sine * directions[1, k]
            ray_y = sine * directions[0, k] + cosine * directions[1, k]
            turned[0, i, k], turned[1, i, k] = ray_x, ray_y
            across = (right if ray_x > 0.0 else left) / (ray_x if ray_x != 0.0 else -TINY)
            along = (up if ray_y > 0.0 else down) / (ray_y if ray_y != 0.0 else -TINY)
            hits[i, k] = min(across, along)
    see_each_other(x, y, heading, radius, begin + reach + radius, turned, hits)
    for i in range(agents):
        for o in range(obstacles.shape[0]):
            dx, dy, half_x, half_y = obstacles[o, 0] - x[i], obstacles[o, 1] - y[i], obstacles[o, 2], obstacles[o, 3]
            around = math.sqrt(half_x * half_x + half_y * half_y)
            square = dx * dx + dy * dy
            if square < (begin + reach + around) ** 2:
                half = half_width(square, around)
                hit_rectangle(dx, dy, half_x, half_y, turn_of(dx, dy) - heading[i], half, turned, hits, i)
        for k in range(rays):
            out[i, k] = min(max((hits[i, k] - begin) / reach, 0.0), 1.0)


@njit(cache=True)
def see_each_other(x: Any, y: Any, heading: Any, radius: float, far: float, turned: Any, hits: Any) -> None:
    """Shorten the rays that other agents stop, of all agents nearer to each other than `far` units.

    The steps are loops of their own, with few branches, for a mispredicted one costs more than a ray: first who is
    near, then in which direction, then which rays meet whom.
    """
    agents, rays = hits.shape
    dx, dy, square = np.empty(agents), np.empty(agents), np.empty(agents)
    bearing, whom = np.empty(agents), np.empty(agents, np.int64)
    # From this distance on a disc is seen under less than the angle between two rays, and one ray may meet it.
    one_ray_square = (
        math.inf if rays < 2 else (radius / math.tan(max(math.pi / rays - 2.0 * SLACK, 1e-9))) ** 2 + radius**2
    )
    for i in range(agents):
        found, here_x, here_y = 0, x[i], y[i]
        for j in range(i + 1, agents):
            away_x, away_y = x[j] - here_x, y[j] - here_y
            dx[found], dy[found], whom[found] = away_x, away_y, j
            square[found] = away_x * away_x + away_y * away_y
            found += square[found] < far * far
        for n in range(found):
            bearing[n] = turn_of(dx[n], dy[n])
        for n in range(found):
            j = whom[n]
            here, there = bearing[n] - heading[i], bearing[n] + math.pi - heading[j]
            if square[n] > one_ray_square:
                hit_far_disc(dx[n], dy[n], square[n], radius, here, turned, hits, i)
                hit_far_disc(-dx[n], -dy[n], square[n], radius, there, turned, hits, j)
            else:
                half = half_width(square[n], radius)
                hit_disc(dx[n], dy[n], square[n], radius, here, half, turned, hits, i)
                hit_disc(-dx[n], -dy[n], square[n], radius, there, half, turned, hits, j)


@njit(cache=True, inline="always")
def turn_of(dx: float, dy: float) -> float:
    """The direction of (dx, dy) in radians, to within `SLACK`: a polynomial costs a third of `atan2`."""
    across, along = abs(dy), abs(dx)
    ratio = min(across, along) / max(across, along, TINY)
    square = ratio * ratio
    turn = ((-0.0464964749 * square + 0.15931422) * square - 0.327622764) * square * ratio + ratio
    turn = math.pi / 2.0 - turn if across > along else turn
    turn = math.pi - turn if dx < 0.0 else turn
    return -turn if dy < 0.0 else turn


@njit(cache=True, inline="always")
def half_width(square: float, radius: float) -> float:
    """At least half the angle, in radians, under which a disc whose centre is sqrt(square) away is seen."""
    outside = square - radius * radius
    # asin(r / d) <= tan of it = r / sqrt(d^2 - r^2)
    return math.pi if outside <= 0.0 else min(math.pi, radius / math.sqrt(outside) + SLACK)


@njit(cache=True, inline="always")
def first_ray(bearing: float, half: float, rays: int) -> tuple[int, int]:
    """The first ray that may meet what is seen around `bearing` from the heading, and how many may."""
    per_radian = rays / (2.0 * math.pi)
    low = math.ceil((bearing - half) * per_radian)
    count = math.floor((bearing + half) * per_radian) - low + 1.0
    return int(low - rays * math.floor((low + 0.5) / rays)), int(min(count, float(rays)))


@njit(cache=True, inline="always")
def hit_far_disc(
    dx: float, dy: float, square: float, radius: float, bearing: float, turned: Any, hits: Any, i: int
) -> None:
    """Shorten the one ray of agent `i` that may meet a disc at (dx, dy) from it."""
    rays = hits.shape[1]
    turns = bearing / (2.0 * math.pi)
    ray = int((turns - np.floor(turns)) * rays + 0.5)
    ray = 0 if ray == rays else ray
    along = dx * turned[0, i, ray] + dy * turned[1, i, ray]
    inside = radius * radius - (square - along * along)
    distance = along - math.sqrt(max(inside, 0.0))
    hits[i, ray] = min(hits[i, ray], distance if inside >= 0.0 else math.inf)


@njit(cache=True, inline="always")
def hit_disc(
    dx: float, dy: float, square: float, radius: float, bearing: float, half: float, turned: Any, hits: Any, i: int
) -> None:
    """Shorten the rays of agent `i` that a disc at (dx, dy) from it stops."""
    rays = hits.shape[1]
    ray, count = first_ray(bearing, half, rays)
    for _ in range(count):
        along = dx * turned[0, i, ray] + dy * turned[1, i, ray]
        inside = radius * radius - (square - along * along)
        if along > 0.0 and inside >= 0.0:
            hits[i, ray] = min(hits[i, ray], along - math.sqrt(inside))
        ray += 1
        if ray == rays:
            ray = 0


@njit(cache=True, inline="always")
def hit_rectangle(
    dx: float, dy: float, half_x: float, half_y: float, bearing: float, half: float, turned: Any, hits: Any, i: int
) -> None:
    """Shorten the rays of agent `i` that a rectangle with its centre at (dx, dy) from it stops."""
    rays = hits.shape[1]
    ray, count = first_ray(bearing, half, rays)
    for _ in range(count):
        hits[i, ray] = min(hits[i, ray], rectangle(dx, dy, half_x, half_y, turned[0, i, ray], turned[1, i, ray]))
        ray += 1
        if ray == rays:
            ray = 0


@njit(cache=True)
def rectangle(dx: float, dy: float, half_x: float, half_y: float, ray_x: float, ray_y: float) -> float:
    """Distance along a ray to a rectangle whose centre lies at (dx, dy); infinity if it passes (slab method)."""
    enter, leave = 0.0, math.inf
    for offset, half, direction in ((dx, half_x, ray_x), (dy, half_y, ray_y)):
        if direction == 0.0:
            if abs(offset) > half:
                return math.inf
            continue
        a, b = (offset - half) / direction, (offset + half) / direction
        enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return enter if enter <= leave else math.inf
