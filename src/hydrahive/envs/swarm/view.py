"""One world of the swarm for people: all its agents at once, and pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hydrahive.core.streams import derived_seed
from hydrahive.envs.swarm.config import WALL, Swarm
from hydrahive.envs.swarm.lidar import CLEARANCE
from hydrahive.envs.swarm.vector import Picture, SwarmVector
from hydrahive.envs.swarm.world import ANGLE, X, Y
from hydrahive.envs.vector import AT_THE_END

PIXELS = 640
"""Width of a picture."""

BACKGROUND, WALL_COLOUR, OBSTACLE = (18, 22, 30), (70, 80, 100), (92, 104, 128)
GOAL, AGENT, HEADING, RAY, HIT = (46, 213, 115), (255, 230, 109), (18, 22, 30), (38, 46, 60), (238, 82, 83)


class SwarmView:
    """A world as it is played: observations `[A, D]`, actions `[A, ...]`, all agents in one call."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, config: Swarm, render_mode: str | None = None) -> None:
        """Set up a world of the last stage."""
        self.render_mode = render_mode
        self._vector = SwarmVector(1, config)
        self._vector.advance(AT_THE_END)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a world."""
        begun = self._vector.reset(seed=derived_seed(seed or 0, "view"))
        self._shown = self._vector.picture()
        return begun

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Drive; the reward is the agents' mean, and at the end `score` is their mean of goals reached."""
        observations, rewards, _, truncated, infos = self._vector.step(actions)
        is_over = bool(truncated.any())
        info = {"score": float(infos["final_info"]["score"][truncated].mean())} if is_over else {}
        if not is_over:
            self._shown = self._vector.picture()
        return observations, float(rewards.mean()), False, is_over, info

    def render(self) -> np.ndarray:
        """The world, `uint8 [H, W, 3]`; at the end as it was before it began anew."""
        return drawn(self._shown, self._vector.config)

    def close(self) -> None:
        """Nothing to give back."""


def drawn(picture: Picture, config: Swarm) -> np.ndarray:
    """A world with lidar rays, goals, agents and what is in their way, `uint8 [H, W, 3]`."""
    scale = PIXELS / picture.width
    image = Image.new("RGB", (PIXELS, round(picture.height * scale)), WALL_COLOUR)
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
