"""Lidar: how far each ray of each agent sees, in one kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

CLEARANCE = 1.0
"""How far outside of the agent's disc a ray begins, in units."""

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
        directions: `[R, 2]`, cosine and sine of each ray's angle from the heading.
        out: `[A, >= R]`, where to write.
    """
    rays = directions.shape[0]
    begin = radius + CLEARANCE
    hits = np.empty((agents, rays))
    turned = np.empty((agents, rays, 2))
    for i in range(agents):
        cosine, sine = math.cos(angle[i]), math.sin(angle[i])
        for k in range(rays):
            turned[i, k, 0] = cosine * directions[k, 0] - sine * directions[k, 1]
            turned[i, k, 1] = sine * directions[k, 0] + cosine * directions[k, 1]
            hits[i, k] = wall(x[i], y[i], turned[i, k, 0], turned[i, k, 1], low_x, low_y, high_x, high_y)
    far = begin + reach + radius
    for i in range(agents):
        for j in range(i + 1, agents):
            dx, dy = x[j] - x[i], y[j] - y[i]
            square = dx * dx + dy * dy
            if square < far * far:
                bearing, half = turn_of(dx, dy), half_width(square, radius)
                hit_disc(dx, dy, square, radius, bearing - angle[i], half, turned, hits, i)
                hit_disc(-dx, -dy, square, radius, bearing + math.pi - angle[j], half, turned, hits, j)
        for o in range(obstacles.shape[0]):
            dx, dy, half_x, half_y = obstacles[o, 0] - x[i], obstacles[o, 1] - y[i], obstacles[o, 2], obstacles[o, 3]
            around = math.sqrt(half_x * half_x + half_y * half_y)
            square = dx * dx + dy * dy
            if square < (begin + reach + around) ** 2:
                half = half_width(square, around)
                hit_rectangle(dx, dy, half_x, half_y, turn_of(dx, dy) - angle[i], half, turned, hits, i)
        for k in range(rays):
            out[i, k] = min(max((hits[i, k] - begin) / reach, 0.0), 1.0)


@njit(cache=True, inline="always")
def turn_of(dx: float, dy: float) -> float:
    """The direction of (dx, dy) in radians, to within `SLACK`: a polynomial costs a third of `atan2`."""
    across, along = abs(dy), abs(dx)
    ratio = min(across, along) / max(across, along, 1e-300)
    square = ratio * ratio
    turn = ((-0.0464964749 * square + 0.15931422) * square - 0.327622764) * square * ratio + ratio
    if across > along:
        turn = math.pi / 2.0 - turn
    if dx < 0.0:
        turn = math.pi - turn
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
def hit_disc(
    dx: float, dy: float, square: float, radius: float, bearing: float, half: float, turned: Any, hits: Any, i: int
) -> None:
    """Shorten the rays of agent `i` that a disc at (dx, dy) from it stops."""
    rays = hits.shape[1]
    ray, count = first_ray(bearing, half, rays)
    for _ in range(count):
        along = dx * turned[i, ray, 0] + dy * turned[i, ray, 1]
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
        hits[i, ray] = min(hits[i, ray], rectangle(dx, dy, half_x, half_y, turned[i, ray, 0], turned[i, ray, 1]))
        ray += 1
        if ray == rays:
            ray = 0


@njit(cache=True)
def wall(
    x: float, y: float, ray_x: float, ray_y: float, low_x: float, low_y: float, high_x: float, high_y: float
) -> float:
    """Distance from a place inside four walls to the one that a ray meets."""
    nearest = math.inf
    if ray_x > 0.0:
        nearest = (high_x - x) / ray_x
    elif ray_x < 0.0:
        nearest = (low_x - x) / ray_x
    if ray_y > 0.0:
        nearest = min(nearest, (high_y - y) / ray_y)
    elif ray_y < 0.0:
        nearest = min(nearest, (low_y - y) / ray_y)
    return nearest


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
