"""Lidar: how far each ray of each agent sees, in one kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

CLEARANCE = 1.0
"""How far outside of the agent's disc a ray begins, in units."""


@njit(cache=True, fastmath=False)
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
    per_radian = rays / (2.0 * math.pi)
    begin = radius + CLEARANCE
    far = begin + reach
    hits = np.empty(rays)
    ray_x, ray_y = np.empty(rays), np.empty(rays)
    for i in range(agents):
        cosine, sine = math.cos(angle[i]), math.sin(angle[i])
        for k in range(rays):
            ray_x[k] = cosine * directions[k, 0] - sine * directions[k, 1]
            ray_y[k] = sine * directions[k, 0] + cosine * directions[k, 1]
            hits[k] = wall(x[i], y[i], ray_x[k], ray_y[k], low_x, low_y, high_x, high_y)
        for j in range(agents):
            if j == i:
                continue
            dx, dy = x[j] - x[i], y[j] - y[i]
            square = dx * dx + dy * dy
            if square >= (far + radius) * (far + radius):
                continue
            distance = math.sqrt(square)
            half = math.pi if distance <= radius else math.asin(radius / distance)
            middle = (math.atan2(dy, dx) - angle[i]) * per_radian
            first, last = math.ceil(middle - half * per_radian), math.floor(middle + half * per_radian)
            for k in range(first, min(last, first + rays - 1) + 1):
                ray = k % rays
                along = dx * ray_x[ray] + dy * ray_y[ray]
                inside = radius * radius - (square - along * along)
                if along > 0.0 and inside >= 0.0:
                    hits[ray] = min(hits[ray], along - math.sqrt(inside))
        for o in range(obstacles.shape[0]):
            centre_x, centre_y, half_x, half_y = obstacles[o]
            dx, dy = centre_x - x[i], centre_y - y[i]
            around = math.sqrt(half_x * half_x + half_y * half_y)
            square = dx * dx + dy * dy
            if square >= (far + around) * (far + around):
                continue
            distance = math.sqrt(square)
            half = math.pi if distance <= around else math.asin(around / distance)
            middle = (math.atan2(dy, dx) - angle[i]) * per_radian
            first, last = math.ceil(middle - half * per_radian), math.floor(middle + half * per_radian)
            for k in range(first, min(last, first + rays - 1) + 1):
                ray = k % rays
                hits[ray] = min(hits[ray], rectangle(dx, dy, half_x, half_y, ray_x[ray], ray_y[ray]))
        for k in range(rays):
            out[i, k] = min(max((hits[k] - begin) / reach, 0.0), 1.0)


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
