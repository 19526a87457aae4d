"""A world of the swarm as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from hydrahive.envs.swarm.config import WALL, Swarm
from hydrahive.envs.swarm.lidar import CLEARANCE
from hydrahive.envs.swarm.world import ANGLE, X, Y

PIXELS = 640
"""Width of a picture."""

BACKGROUND, WALL_COLOUR, OBSTACLE = (18, 22, 30), (70, 80, 100), (92, 104, 128)
GOAL, AGENT, HEADING, RAY, HIT = (46, 213, 115), (255, 230, 109), (18, 22, 30), (38, 46, 60), (238, 82, 83)


@dataclass(frozen=True)
class Picture:
    """What is drawn of a world.

    Attributes:
        width: Of the arena, in units.
        height: Likewise.
        bodies: `[A, 6]`, as `hydrahive.envs.swarm.world` numbers what is known of a body.
        goals: `[A, 2]`.
        obstacles: `[K, 4]`, centre and half sides.
        lidar: `[A, R]`, shares of the range.
    """

    width: float
    height: float
    bodies: np.ndarray
    goals: np.ndarray
    obstacles: np.ndarray
    lidar: np.ndarray


def drawn(picture: Picture, config: Swarm, pixels: int = PIXELS) -> np.ndarray:
    """A world with lidar rays, goals, agents and what is in their way, `uint8 [H, W, 3]`, the larger one the pixels."""
    scale = pixels / max(picture.width, picture.height)
    sides = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    image = Image.new("RGB", sides, WALL_COLOUR)
    draw = ImageDraw.Draw(image)
    inside = [WALL * scale, WALL * scale, (picture.width - WALL) * scale, (picture.height - WALL) * scale]
    draw.rectangle(inside, fill=BACKGROUND)
    begin = config.radius + CLEARANCE
    for body, rays in zip(picture.bodies, picture.lidar, strict=True):
        for k, share in enumerate(rays):
            turn = body[ANGLE] + 2 * math.pi * k / len(rays)
            reach = begin + float(share) * config.lidar_range
            end = (body[X] + math.cos(turn) * reach, body[Y] + math.sin(turn) * reach)
            draw.line([*_scaled((body[X], body[Y]), scale), *_scaled(end, scale)], fill=RAY)
            if share < 1:
                _disc(draw, end, 2.0, scale, HIT)
    for x, y, half_x, half_y in picture.obstacles:
        corners = [*_scaled((x - half_x, y - half_y), scale), *_scaled((x + half_x, y + half_y), scale)]
        draw.rectangle(corners, fill=OBSTACLE)
    for goal, body in zip(picture.goals, picture.bodies, strict=True):
        draw.line([*_scaled((body[X], body[Y]), scale), *_scaled(tuple(goal), scale)], fill=(30, 70, 50))
        _disc(draw, tuple(goal), config.goal_radius / 2, scale, GOAL)
    for body in picture.bodies:
        _disc(draw, (body[X], body[Y]), config.radius, scale, AGENT)
        nose = (body[X] + math.cos(body[ANGLE]) * config.radius, body[Y] + math.sin(body[ANGLE]) * config.radius)
        draw.line([*_scaled((body[X], body[Y]), scale), *_scaled(nose, scale)], fill=HEADING, width=2)
    return np.asarray(image)


def _scaled(place: tuple[float, ...], scale: float) -> tuple[float, float]:
    return place[0] * scale, place[1] * scale


def _disc(
    draw: ImageDraw.ImageDraw, place: tuple[float, ...], radius: float, scale: float, colour: tuple[int, int, int]
) -> None:
    x, y = _scaled(place, scale)
    r = radius * scale
    draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)
