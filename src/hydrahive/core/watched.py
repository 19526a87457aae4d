"""What somebody wants to see of a run while it goes on, and what he gets: pictures of one environment."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Wish:
    """What somebody watches.

    Attributes:
        env: Which of the run's environments (of worlds with several agents: which world), counted through the shards.
        frames_per_second: How many pictures he takes; 0 for none.
    """

    env: int
    frames_per_second: float


@dataclass(frozen=True)
class Frame:
    """One environment at one moment.

    Attributes:
        env: Which one, as in `Wish`.
        step: Its step, counted from the run's beginning; what lies between two frames was not shown.
        reward: Sum of the rewards of the running episode.
        length: Env steps of the running episode.
        picture: `uint8 [H, W, 3]`, or `[H, W]` in grey.
    """

    env: int
    step: int
    reward: float
    length: int
    picture: np.ndarray

    def as_plain(self) -> dict[str, Any]:
        """As JSON has it."""
        packed = base64.b64encode(zlib.compress(self.picture.tobytes(), 1)).decode()
        facts = {key: value for key, value in vars(self).items() if key != "picture"}
        return facts | {"shape": list(self.picture.shape), "picture": packed}

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Frame:
        """What `as_plain` gave.

        Raises:
            ValueError: If it is not that.
        """
        try:
            pixels = np.frombuffer(zlib.decompress(base64.b64decode(plain["picture"])), np.uint8)
            facts = {key: plain[key] for key in ("env", "step", "reward", "length")}
            return Frame(**facts, picture=pixels.reshape(plain["shape"]))
        except (KeyError, TypeError, zlib.error) as error:
            raise ValueError(f"no frame: {error!r}") from None


def wish_of(plain: dict[str, Any]) -> Wish:
    """A wish as `asdict` made it.

    Raises:
        ValueError: If it is none.
    """
    try:
        return Wish(int(plain["env"]), float(plain["frames_per_second"]))
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"no wish: {error!r}") from None


def together(wishes: tuple[Wish, ...]) -> tuple[Wish, ...]:
    """Each environment once, at the rate of whoever wants most of it; without those that want no frames."""
    rates: dict[int, float] = {}
    for wish in wishes:
        rates[wish.env] = max(rates.get(wish.env, 0.0), wish.frames_per_second)
    return tuple(Wish(env, rate) for env, rate in sorted(rates.items()) if rate > 0)
